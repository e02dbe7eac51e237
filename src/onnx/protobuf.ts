const text = new TextEncoder();

/**
 * Writes the few wire types of protobuf that ONNX needs (https://protobuf.dev/programming-guides/encoding), one field after
 * another. The data that `bytes` is given is not copied: it is a piece of its own.
 */
export class ProtobufWriter {
  #buffer = new Uint8Array(2 ** 16);
  /** How much of the buffer is written. */
  #end = 0;
  /** Data that is not in the buffer, and the place in it where that belongs. */
  readonly #apart: { at: number; readonly data: Uint8Array }[] = [];
  #sizeApart = 0;

  /** @param value a whole number that a double holds exactly */
  int(field: number, value: number): void {
    this.#tag(field, 0);
    this.#varint(value);
  }

  float(field: number, value: number): void {
    this.#tag(field, 5);
    new DataView(this.#buffer.buffer).setFloat32(this.#end, value, true);
    this.#end += 4;
  }

  bytes(field: number, data: Uint8Array): void {
    this.#tag(field, 2);
    this.#varint(data.length);
    this.#apart.push({ at: this.#end, data });
    this.#sizeApart += data.length;
  }

  string(field: number, value: string): void {
    const start = this.#end;
    this.#tag(field, 2, 3 * value.length); // no unit of UTF-16 takes more in UTF-8
    this.#varint(value.length); // of ASCII, which nearly all is
    const { written } = text.encodeInto(value, this.#buffer.subarray(this.#end));
    if (written === value.length) this.#end += written;
    else {
      this.#end = start;
      this.bytes(field, text.encode(value));
    }
  }

  /** @param write writes the fields of the message */
  message(field: number, write: () => void): void {
    this.#tag(field, 2);
    const start = ++this.#end; // most lengths are of one byte
    const countApart = this.#apart.length;
    const sizeApart = this.#sizeApart;
    write();
    const size = this.#end - start + this.#sizeApart - sizeApart;
    let more = 0;
    for (let rest = size; rest > 0x7f; rest = Math.floor(rest / 0x80)) more++;
    if (more > 0) {
      this.#reserve(more);
      this.#buffer.copyWithin(start + more, start, this.#end);
      for (const piece of this.#apart.slice(countApart)) piece.at += more;
    }
    const end = this.#end + more;
    this.#end = start - 1;
    this.#varint(size);
    this.#end = end;
  }

  /** What was written: the concatenation of these. */
  pieces(): readonly Uint8Array[] {
    let from = 0;
    const pieces = this.#apart.flatMap(({ at, data }) => {
      const before = this.#buffer.subarray(from, at);
      from = at;
      return [before, data];
    });
    return [...pieces, this.#buffer.subarray(from, this.#end)];
  }

  /** Starts a field, with room for a number and some more bytes. */
  #tag(field: number, wireType: number, more = 0): void {
    this.#reserve(20 + more);
    this.#varint(field * 8 + wireType);
  }

  /** Groups of seven bits, the lowest first. Negative numbers are written as their 64-bit two's complement, whose tenth group is one bit. */
  #varint(value: number): void {
    let rest = value;
    for (let group = 0; group < 9 && (rest < 0 || rest > 0x7f); group++) {
      this.#buffer[this.#end++] = (rest & 0x7f) | 0x80;
      rest = Math.floor(rest / 0x80);
    }
    this.#buffer[this.#end++] = rest < 0 ? 1 : rest;
  }

  #reserve(size: number): void {
    if (this.#end + size <= this.#buffer.length) return;
    const larger = new Uint8Array(2 * (this.#end + size));
    larger.set(this.#buffer.subarray(0, this.#end));
    this.#buffer = larger;
  }
}

/** The pieces as one. */
export function join(pieces: readonly Uint8Array[]): Uint8Array {
  const out = new Uint8Array(pieces.reduce((size, piece) => size + piece.length, 0));
  let at = 0;
  for (const piece of pieces) {
    out.set(piece, at);
    at += piece.length;
  }
  return out;
}
