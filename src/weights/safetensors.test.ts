import { mkdtemp, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, it, onTestFinished } from "vitest";
import { LongjingError } from "../errors/index.ts";
import { openFileSource } from "./files.ts";
import { decodeSafetensors, encodeSafetensors, openSafetensors, safetensorsPieces } from "./safetensors.ts";
import type { TensorToWrite } from "./safetensors.ts";

/** A file of any header and any number of data bytes. */
function file(header: string, dataLength = 0, declaredLength?: bigint): Uint8Array {
  const json = new TextEncoder().encode(header);
  const bytes = new Uint8Array(8 + json.length + dataLength);
  new DataView(bytes.buffer).setBigUint64(0, declaredLength ?? BigInt(json.length), true);
  bytes.set(json, 8);
  return bytes;
}

const entry = (dtype: string, shape: unknown, data_offsets: unknown): string =>
  JSON.stringify({ dtype, shape, data_offsets });

async function refusal(bytes: Uint8Array): Promise<LongjingError> {
  const outcome = await decodeSafetensors(bytes, "model.safetensors").then(
    () => null,
    (error: unknown) => error,
  );
  if (!LongjingError.is(outcome)) throw new Error("no error of ours", { cause: outcome });
  return outcome;
}

const sample: readonly TensorToWrite[] = [
  { name: "weight", dtype: "F32", shape: [2, 3], data: Float32Array.of(1, -2, 0.5, -0, Infinity, 1e-40) },
  { name: "half", dtype: "F16", shape: [3], data: Float32Array.of(1, -0.25, 65504) },
  { name: "brain", dtype: "BF16", shape: [1, 1], data: Float32Array.of(-2.5) },
  { name: "ids", dtype: "I64", shape: [2], data: BigInt64Array.of(-(2n ** 63n), 2n ** 63n - 1n) },
  { name: "counts", dtype: "I32", shape: [], data: Int32Array.of(-7) },
  { name: "bytes", dtype: "U8", shape: [3], data: Uint8Array.of(0, 255, 7) },
  { name: "empty", dtype: "F32", shape: [0, 4], data: new Float32Array(0) },
];

const refused: [name: string, bytes: Uint8Array, message: RegExp][] = [
  ["no bytes", new Uint8Array(0), /whole safetensors/],
  ["a length without a header", file("{}").subarray(0, 9), /whole safetensors/],
  ["a header longer than the file", file("{}", 0, 3n), /whole safetensors/],
  ["a header of 2^64 - 1 bytes", file("{}", 0, 2n ** 64n - 1n), /whole safetensors/],
  ["a pickle", Uint8Array.from([0x80, 2, 0x8a, 10, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a]), /whole safetensors/],
  ["an empty header", file(""), /begin with/],
  ["a list", file("[]"), /begin with/],
  ["space before the header", file(" {}"), /begin with/],
  ["broken JSON", file("{"), /not JSON/],
  ["text behind the header", file("{}x"), /not JSON/],
  ["broken UTF-8", Uint8Array.from([...file('{"a":1}').subarray(0, 10), 0xff, ...file('{"a":1}').subarray(11)]), /not JSON/],
  ["a NUL in the padding", file("{}\0"), /not JSON/],
  ["endless nesting", file(`{"a":${"[".repeat(100_000)}${"]".repeat(100_000)}}`), /nests too deep/],
  ["one name twice", file(`{"a":${entry("U8", [1], [0, 1])},"a":${entry("U8", [1], [0, 1])}}`, 1), /key twice/],
  [
    "one name twice, once escaped",
    file(`{"a":${entry("U8", [1], [0, 1])},"\\u0061"${" ".repeat(99)}:${entry("U8", [1], [0, 1])}}`, 1),
    /key twice/,
  ],
  ["one field twice", file('{"a":{"dtype":"U8","dtype":"F32","shape":[1],"data_offsets":[0,1]}}', 1), /key twice/],
  ["a tensor that is no object", file('{"a":[0]}'), /not a JSON object/],
  ["metadata that is no object", file('{"__metadata__":null}'), /not a JSON object/],
  ["metadata that is no text", file('{"__metadata__":{"a":1}}'), /texts only/],
  ["no element type", file('{"a":{"shape":[],"data_offsets":[0,0]}}'), /dtype is missing/],
  ["a negative size", file(`{"a":${entry("U8", [-1], [0, 0])}}`), /not a shape/],
  ["a fractional size", file(`{"a":${entry("U8", [0.5], [0, 0])}}`), /not a shape/],
  ["a size as text", file(`{"a":${entry("U8", ["1"], [0, 1])}}`, 1), /not a shape/],
  ["too many axes", file(`{"a":${entry("U8", Array(33).fill(1), [0, 1])}}`, 1), /not a shape/],
  ["a product beyond 2^53", file(`{"a":${entry("F32", [2 ** 27, 2 ** 27], [0, 4])}}`, 4), /overflows/],
  ["a product beyond 2^64 that wraps to 0", file(`{"a":${entry("F32", [2 ** 32, 2 ** 32], [0, 0])}}`), /overflows/],
  ["bytes beyond 2^53", file(`{"a":${entry("F64", [2 ** 52], [0, 8])}}`, 8), /overflows/],
  ["one offset", file(`{"a":${entry("U8", [1], [1])}}`, 1), /not a range/],
  ["offsets below 0", file(`{"a":${entry("U8", [1], [-1, 0])}}`, 1), /not a range/],
  ["offsets beyond 2^53", file(`{"a":${entry("U8", [1], [2 ** 53, 2 ** 53 + 2])}}`, 1), /not a range/],
  ["offsets the wrong way round", file(`{"a":${entry("U8", [0], [1, 0])}}`, 1), /contradict/],
  ["fewer bytes than the shape has", file(`{"a":${entry("F32", [2], [0, 4])}}`, 4), /contradict/],
  ["more bytes than the shape has", file(`{"a":${entry("F16", [2], [0, 8])}}`, 8), /contradict/],
  ["a tensor beyond the end", file(`{"a":${entry("U8", [9], [0, 9])}}`, 8), /do not end/],
  ["bytes behind the last tensor", file(`{"a":${entry("U8", [8], [0, 8])}}`, 9), /do not end/],
  ["bytes of no tensor", file("{}", 1), /do not end/],
  ["a gap", file(`{"a":${entry("U8", [1], [0, 1])},"b":${entry("U8", [1], [2, 3])}}`, 3), /gap/],
  ["a gap at the start", file(`{"a":${entry("U8", [1], [1, 2])}}`, 2), /gap/],
  ["an overlap", file(`{"a":${entry("U8", [2], [0, 2])},"b":${entry("U8", [2], [1, 3])}}`, 3), /overlap/],
  ["two tensors in one place", file(`{"a":${entry("U8", [2], [0, 2])},"b":${entry("U8", [2], [0, 2])}}`, 2), /overlap/],
];

describe("reading refuses", () => {
  it.each(refused)("%s", async (_name, bytes, message) => {
    const error = await refusal(bytes);
    expect(error.code).toBe("bad_file");
    expect(error.message).toMatch(message);
    expect(error.facts.where).toContain("model.safetensors");
  });

  it.each(["F4", "toString", "f32"])("the element type %s, when that tensor is read", async (dtype) => {
    const opened = await decodeSafetensors(file(`{"a":${entry(dtype, [6], [0, 3])},"b":${entry("U8", [2], [3, 5])}}`, 5), "model.safetensors");
    expect([...opened.tensors.keys(), ...opened.unknown]).toStrictEqual(["b", ["a", dtype]]);
    await expect(opened.read("b")).resolves.toMatchObject({ shape: [2] });
    for (const read of [opened.read, opened.readFloat32]) await expect(read("a")).rejects.toMatchObject({ code: "unsupported", facts: { got: dtype, where: "model.safetensors: a" } });
    expect((await refusal(file(`{"a":${entry(dtype, [6], [3, 0])}}`, 3))).code).toBe("bad_file");
  });

  it("any change of any bytes with an error of ours, or reads what is inside", async () => {
    const valid = encodeSafetensors(sample);
    const edit = fc.record({ at: fc.nat(valid.length), drop: fc.nat(4), insert: fc.uint8Array({ maxLength: 4 }) });
    await fc.assert(
      fc.asyncProperty(fc.array(edit, { minLength: 1, maxLength: 4 }), async (edits) => {
        let bytes: Uint8Array = valid;
        for (const { at, drop, insert } of edits)
          bytes = Uint8Array.from([...bytes.subarray(0, at), ...insert, ...bytes.subarray(at + drop)]);
        try {
          const opened = await decodeSafetensors(bytes);
          for (const [name, { data_offsets }] of opened.tensors) {
            expect((await opened.read(name)).data.byteLength).toBe(data_offsets[1] - data_offsets[0]);
          }
        } catch (error) {
          if (!LongjingError.is(error)) throw error;
        }
      }),
      { numRuns: 2000 },
    );
  });

  it("every shorter file", async () => {
    const valid = encodeSafetensors(sample);
    for (let length = 0; length < valid.length; length++)
      expect((await refusal(valid.subarray(0, length))).code).toBe("bad_file");
  });
});

describe("reading", () => {
  it("accepts a file without tensors, and names of any text", async () => {
    expect((await decodeSafetensors(file("{}  "))).tensors.size).toBe(0);
    const names = ["__proto__", "constructor", "", "权重", 'quote " and : colon', "\u0000", "0"];
    const opened = await decodeSafetensors(
      encodeSafetensors(names.map((name) => ({ name, dtype: "U8", shape: [1], data: Uint8Array.of(names.indexOf(name)) }))),
    );
    expect([...opened.tensors.keys()].toSorted()).toStrictEqual(names.toSorted());
    for (const [i, name] of names.entries()) expect((await opened.read(name)).data).toStrictEqual(Uint8Array.of(i));
  });

  it("says which tensor is missing, and which is not of floats", async () => {
    const opened = await decodeSafetensors(encodeSafetensors(sample), "model.safetensors");
    for (const name of ["absent", "toString", "__metadata__"])
      await expect(opened.read(name)).rejects.toMatchObject({ code: "not_found" });
    await expect(opened.readFloat32("ids")).rejects.toMatchObject({
      code: "unsupported",
      facts: { where: "model.safetensors: ids" },
    });
  });

  it("reads from a file what it reads from memory, and notices that the file has shrunk", async () => {
    const folder = await mkdtemp(join(tmpdir(), "longjing-"));
    onTestFinished(() => rm(folder, { recursive: true }));
    const path = join(folder, "model.safetensors");
    const bytes = encodeSafetensors(sample);
    await writeFile(path, bytes);
    const [onDisk, inMemory] = [await openSafetensors(await openFileSource(path)), await decodeSafetensors(bytes)];
    onTestFinished(() => onDisk.close());
    expect(onDisk.tensors).toStrictEqual(inMemory.tensors);
    for (const { name } of sample) expect(await onDisk.read(name)).toStrictEqual(await inMemory.read(name));
    await truncate(path, bytes.length - 1);
    await expect(onDisk.read("bytes")).rejects.toMatchObject({ code: "bad_file" });
  });
});

const shape = fc.array(fc.nat(3), { maxLength: 3 });
const float32 = (kind: "F32" | "BF16" | "F16") =>
  shape.chain((sizes) => {
    const length = sizes.reduce((product, size) => product * size, 1);
    return fc.float32Array({ minLength: length, maxLength: length }).map((data) => ({ dtype: kind, shape: sizes, data }));
  });
const anyTensors = fc
  .array(fc.tuple(fc.string({ unit: "grapheme" }), fc.oneof(float32("F32"), float32("BF16"), float32("F16"))), {
    maxLength: 8,
  })
  .map((named) => named.filter(([name], i) => name !== "__metadata__" && named.findIndex(([other]) => other === name) === i))
  .map((named): TensorToWrite[] => named.map(([name, tensor]) => ({ name, ...tensor })));

describe("writing", () => {
  it("is undone by reading", async () => {
    const opened = await decodeSafetensors(encodeSafetensors(sample, { note: "ünï 中文" }));
    expect(opened.metadata).toStrictEqual({ note: "ünï 中文" });
    for (const { name, dtype, shape: sizes, data } of sample) {
      expect(opened.tensors.get(name)).toMatchObject({ dtype, shape: sizes });
      const read = dtype === "F16" || dtype === "BF16" ? await opened.readFloat32(name) : (await opened.read(name)).data;
      expect(read).toStrictEqual(data);
    }
  });

  it("gives equal bytes for equal tensors in any order, and again for what is read back", async () => {
    await fc.assert(
      fc.asyncProperty(anyTensors, async (tensors) => {
        const bytes = encodeSafetensors(tensors);
        expect(encodeSafetensors(tensors.toReversed())).toStrictEqual(bytes);
        const opened = await decodeSafetensors(bytes);
        const again = tensors.map(async ({ name, shape: sizes, dtype }) => ({
          name,
          shape: sizes,
          dtype: dtype as "F32",
          data: await opened.readFloat32(name),
        }));
        expect(encodeSafetensors(await Promise.all(again))).toStrictEqual(bytes);
      }),
    );
  });

  it("aligns the data to 8 bytes, and every tensor to its elements", async () => {
    await fc.assert(
      fc.asyncProperty(anyTensors, async (tensors) => {
        const bytes = encodeSafetensors(tensors);
        expect(Number(new DataView(bytes.buffer).getBigUint64(0, true)) % 8).toBe(0);
        const width = { F32: 4, F16: 2, BF16: 2 } as Record<string, number>;
        for (const { dtype, data_offsets } of (await decodeSafetensors(bytes)).tensors.values())
          expect(data_offsets[0] % (width[dtype] as number)).toBe(0);
      }),
    );
  });

  it("converts tensors longer than one piece as it converts short ones", async () => {
    const data = Float32Array.from({ length: 2 ** 20 + 3 }, (_, i) => (i % 2048) / 8 - 100);
    for (const dtype of ["BF16", "F16"] as const) {
      const long = await (
        await decodeSafetensors(encodeSafetensors([{ name: "a", dtype, shape: [data.length], data }]))
      ).readFloat32("a");
      const period = await (
        await decodeSafetensors(encodeSafetensors([{ name: "a", dtype, shape: [2048], data: data.slice(0, 2048) }]))
      ).readFloat32("a");
      expect(long.every((value, i) => value === period[i % 2048])).toBe(true);
    }
  });

  it.each<[string, TensorToWrite[]]>([
    ["one name twice", [sample[0], sample[0]] as TensorToWrite[]],
    ["the name of the metadata", [{ name: "__metadata__", dtype: "U8", shape: [0], data: new Uint8Array(0) }]],
    ["a shape that is not the data's", [{ name: "a", dtype: "F32", shape: [3], data: new Float32Array(2) }]],
    ["a shape beyond 2^53", [{ name: "a", dtype: "F32", shape: [2 ** 32, 2 ** 32], data: new Float32Array(0) }]],
  ])("refuses %s before the first byte", (_name, tensors) => {
    expect(() => safetensorsPieces(tensors).next()).toThrow(expect.objectContaining({ code: "bad_argument" }));
  });
});
