/**
 * The few wire types of protobuf that ONNX needs (https://protobuf.dev/programming-guides/encoding). Messages are built from
 * the inside out as lists of chunks, so that tensor data is copied once, into the final bytes.
 */
export type Chunks = readonly Uint8Array[];

const text = new TextEncoder();

function varint(value: number | bigint): Uint8Array {
  if (typeof value === "number" && value >= 0 && value < 2 ** 31) return small(value);
  let rest = BigInt.asUintN(64, BigInt(value)); // negative numbers are written as their 64-bit two's complement
  const bytes: number[] = [];
  while (rest > 0x7fn) {
    bytes.push(Number(rest & 0x7fn) | 0x80);
    rest >>= 7n;
  }
  bytes.push(Number(rest));
  return Uint8Array.from(bytes);
}

/** Tags and most lengths are of one byte. */
const single = Array.from({ length: 0x80 }, (_, value) => Uint8Array.of(value));

function small(value: number): Uint8Array {
  if (value < 0x80) return single[value]!;
  const bytes = new Uint8Array(value < 2 ** 14 ? 2 : value < 2 ** 21 ? 3 : value < 2 ** 28 ? 4 : 5);
  const last = bytes.length - 1;
  for (let i = 0; i < last; i++) bytes[i] = ((value >>> (7 * i)) & 0x7f) | 0x80;
  bytes[last] = value >>> (7 * last);
  return bytes;
}

const tag = (field: number, wireType: number): Uint8Array => varint(field * 8 + wireType);
const size = (chunks: Chunks): number => chunks.reduce((n, c) => n + c.length, 0);

export const int = (field: number, value: number | bigint): Chunks => [tag(field, 0), varint(value)];
export const float = (field: number, value: number): Chunks => [tag(field, 5), new Uint8Array(Float32Array.of(value).buffer)];
export const bytes = (field: number, value: Uint8Array): Chunks => [tag(field, 2), varint(value.length), value];
export const string = (field: number, value: string): Chunks => bytes(field, text.encode(value));
export const message = (field: number, ...parts: readonly Chunks[]): Chunks => {
  const body = parts.flat();
  return [tag(field, 2), varint(size(body)), ...body];
};

export function join(...parts: readonly Chunks[]): Uint8Array {
  const chunks = parts.flat();
  const out = new Uint8Array(size(chunks));
  let at = 0;
  for (const chunk of chunks) {
    out.set(chunk, at);
    at += chunk.length;
  }
  return out;
}
