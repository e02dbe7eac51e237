import { describe, expect, test } from "vitest";
import { join, ProtobufWriter } from "./protobuf.ts";

type Field = readonly [field: number, content: bigint | Uint8Array];

/** Fields as https://protobuf.dev/programming-guides/encoding says how to read them, of varints that are as short as they can be. */
function read(bytes: Uint8Array): Field[] {
  let at = 0;
  const varint = (): bigint => {
    let value = 0n;
    for (let shift = 0n; ; shift += 7n) {
      const byte = bytes[at++]!;
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) {
        expect(byte > 0 || shift === 0n).toBe(true);
        return value;
      }
    }
  };
  const fields: Field[] = [];
  while (at < bytes.length) {
    const tag = Number(varint());
    const [field, wireType] = [tag >> 3, tag & 7];
    if (wireType === 0) fields.push([field, BigInt.asIntN(64, varint())]);
    else {
      const size = wireType === 5 ? 4 : Number(varint());
      expect(at + size).toBeLessThanOrEqual(bytes.length);
      fields.push([field, bytes.slice(at, (at += size))]);
    }
  }
  return fields;
}

function written(write: (out: ProtobufWriter) => void): Uint8Array {
  const out = new ProtobufWriter();
  write(out);
  return join(out.pieces());
}

const said = ([, content]: Field): string => new TextDecoder().decode(content as Uint8Array);
const data = (size: number): Uint8Array => Uint8Array.from({ length: size }, (_, i) => (i * 7) % 256);

describe("what is written is read back", () => {
  const numbers = [0, 1, 127, 128, 2 ** 14, 2 ** 31 - 1, 2 ** 31, 2 ** 35, Number.MAX_SAFE_INTEGER];
  test.each([...numbers, ...numbers.map((n) => -n)])("the number %d", (n) => expect(read(written((out) => out.int(20, n)))).toEqual([[20, BigInt(n)]]));

  test("floats", () => {
    const [[field, content]] = read(written((out) => out.float(2, 1e-5))) as [Field];
    expect([field, new DataView((content as Uint8Array).buffer).getFloat32(0, true)]).toEqual([2, Math.fround(1e-5)]);
  });

  test.each(["", "layers.0/weight", "Größe", "龙井", "a🍵", "é".repeat(100), "x".repeat(200_000)])("the text %.20s", (text) => expect(read(written((out) => out.string(3, text))).map(said)).toEqual([text]));

  // Where a length takes another byte, and where what is written outgrows its memory.
  test.each([0, 1, 120, 127, 128, 16_000, 16_384, 100_000, 2 ** 21])("messages within messages, with %d bytes of data among them", (size) => {
    const whole = written((out) =>
      out.message(7, () => {
        out.message(1, () => {
          out.bytes(9, data(size));
          out.string(8, "behind the data");
        });
        out.message(2, () => {});
        out.string(3, "y".repeat(size));
        out.bytes(9, data(3));
      }),
    );
    const [[, outer], ...beside] = read(whole) as [Field, ...Field[]];
    const [inner, empty, text, last, ...more] = read(outer as Uint8Array) as [Field, Field, Field, Field];
    const [within, behind] = read(inner[1] as Uint8Array) as [Field, Field];
    expect([said(behind), empty[1], said(text), last[1], beside, more]).toEqual(["behind the data", data(0), "y".repeat(size), data(3), [], []]);
    expect(Buffer.compare(within[1] as Uint8Array, data(size))).toBe(0);
  });
});

test("data is a piece as it was given, not a copy", () => {
  const out = new ProtobufWriter();
  const given = [data(5), data(300)] as const;
  out.message(1, () => given.forEach((each) => out.bytes(9, each)));
  expect(out.pieces().filter((piece) => given.some((each) => each === piece))).toHaveLength(2);
});
