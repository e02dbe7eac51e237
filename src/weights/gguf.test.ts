import { mkdtemp, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it, onTestFinished } from "vitest";
import { LongjingError } from "../errors/index.ts";
import { bytesSource } from "./byte-source.ts";
import { openFileSource } from "./files.ts";
import { openGguf } from "./gguf.ts";
import { readGgufHeader } from "./gguf-header.ts";
import { mark, type PackedTexts } from "./packed-texts.ts";

const u32 = (value: number): Uint8Array => new Uint8Array(Uint32Array.of(value).buffer);
const u64 = (value: number | bigint): Uint8Array => new Uint8Array(BigUint64Array.of(BigInt(value)).buffer);
const raw = (text: string): Uint8Array => new TextEncoder().encode(text);
const text = (value: string): Uint8Array[] => [u64(raw(value).length), raw(value)];
const concat = (parts: readonly Uint8Array[]): Uint8Array => new Uint8Array(Buffer.concat(parts));

const pair = (key: string, type: number, ...value: Uint8Array[]): Uint8Array => concat([...text(key), u32(type), ...value]);
const tensor = (name: string, sizes: readonly (number | bigint)[], type: number, offset: number | bigint): Uint8Array =>
  concat([...text(name), u32(sizes.length), ...sizes.map(u64), u32(type), u64(offset)]);

interface Parts {
  readonly magic?: string;
  readonly version?: number;
  readonly pairs?: readonly Uint8Array[];
  readonly tensors?: readonly Uint8Array[];
  readonly pairCount?: bigint;
  readonly tensorCount?: bigint;
  readonly alignment?: number;
  readonly data?: Uint8Array;
}

function file({ magic = "GGUF", version = 3, pairs = [], tensors = [], pairCount, tensorCount, alignment = 32, data }: Parts): Uint8Array {
  const header = concat([raw(magic), u32(version), u64(tensorCount ?? tensors.length), u64(pairCount ?? pairs.length), ...pairs, ...tensors]);
  if (data === undefined) return header;
  return concat([header, new Uint8Array((alignment - (header.length % alignment)) % alignment), data]);
}

const open = (bytes: Uint8Array) => openGguf(bytesSource(bytes, "model.gguf"));

async function refusal(bytes: Uint8Array): Promise<LongjingError> {
  const outcome = await open(bytes).then(
    () => null,
    (error: unknown) => error,
  );
  if (!LongjingError.is(outcome)) throw new Error("no error of ours", { cause: outcome });
  return outcome;
}

const one = (sizes: readonly (number | bigint)[], type = 0, offset: number | bigint = 0, data = 64): Uint8Array =>
  file({ tensors: [tensor("a", sizes, type, offset)], data: new Uint8Array(data) });
const keyed = (...pairs: Uint8Array[]): Uint8Array => file({ pairs });

const refused: [name: string, bytes: Uint8Array, message: RegExp][] = [
  ["no bytes", new Uint8Array(0), /not a GGUF/],
  ["another magic", file({ magic: "GGML" }), /not a GGUF/],
  ["a pickle", Uint8Array.from([0x80, 2, 0x8a, 10, ...new Uint8Array(30)]), /not a GGUF/],
  ["2^64 - 1 keys", file({ pairCount: 2n ** 64n - 1n }), /so many metadata keys/],
  ["more keys than bytes", file({ pairCount: 5n, data: new Uint8Array(32) }), /so many metadata keys/],
  ["2^64 - 1 tensors", file({ tensorCount: 2n ** 64n - 1n }), /so many tensors/],
  ["more tensors than bytes", file({ tensorCount: 3n, data: new Uint8Array(40) }), /so many tensors/],
  ["a key twice", keyed(pair("a", 7, Uint8Array.of(1)), pair("a", 7, Uint8Array.of(1))), /key is there twice/],
  ["a key of 2^64 - 1 bytes", file({ pairCount: 1n, data: concat([u64(2n ** 64n - 1n), new Uint8Array(64)]), alignment: 1 }), /too long/],
  ["a key that is not UTF-8", file({ pairCount: 1n, data: concat([u64(1), Uint8Array.of(0xff), u32(4), u32(1)]), alignment: 1 }), /not UTF-8/],
  ["an unknown type of value", keyed(pair("a", 13, u64(0))), /unknown type/],
  ["a text longer than the file", keyed(pair("a", 8, u64(1000))), /before the file does/],
  ["a text of 2^63 bytes", keyed(pair("a", 8, u64(2n ** 63n))), /too long/],
  ["a list of unknown type", keyed(pair("a", 9, u32(77), u64(1), u64(0))), /unknown type/],
  ["a list of lists", keyed(pair("a", 9, u32(9), u64(1), u32(4), u64(0))), /lists/],
  ["a list of 2^64 - 1 flags", keyed(pair("a", 9, u32(7), u64(2n ** 64n - 1n))), /so many elements/],
  ["a list longer than the file", keyed(pair("a", 9, u32(10), u64(2), u64(0))), /so many elements/],
  ["a list of more texts than bytes", keyed(pair("a", 9, u32(8), u64(3), u64(0), u64(0))), /so many elements/],
  ["an alignment of 0", file({ pairs: [pair("general.alignment", 4, u32(0))] }), /alignment/],
  ["an alignment of 48", file({ pairs: [pair("general.alignment", 4, u32(48))] }), /alignment/],
  ["an alignment of 2^31", file({ pairs: [pair("general.alignment", 4, u32(2 ** 31))] }), /alignment/],
  ["an alignment as text", file({ pairs: [pair("general.alignment", 8, ...text("32"))] }), /alignment/],
  ["a tensor twice", file({ tensors: [tensor("a", [1], 0, 0), tensor("a", [1], 0, 32)], data: new Uint8Array(64) }), /tensor is there twice/],
  ["a name of 64 bytes", file({ tensors: [tensor("a".repeat(64), [1], 0, 0)], data: new Uint8Array(32) }), /too long/],
  ["five axes", one([1, 1, 1, 1, 1]), /too many axes/],
  ["2^32 - 1 axes", file({ tensors: [concat([...text("a"), u32(2 ** 32 - 1)])], data: new Uint8Array(32) }), /too many axes/],
  ["a size of 0", one([0]), /impossible size/],
  ["a size of 2^63", one([2n ** 63n]), /impossible size/],
  ["a product beyond 2^53", one([2 ** 27, 2 ** 27]), /overflow/],
  ["a product beyond 2^64 that wraps to 0", one([2n ** 32n, 2n ** 32n]), /overflow/],
  ["bytes beyond 2^53", one([2 ** 52], 0), /overflow/],
  ["a row of half a block", one([48], 2), /whole Q4_0 blocks/],
  ["an offset that is not aligned", one([1], 0, 4), /not aligned/],
  ["an offset beyond the file", one([1], 0, 2 ** 20), /behind the end/],
  ["an offset near 2^64", one([1], 0, 2n ** 64n - 32n), /behind the end/],
  ["a tensor longer than the file", one([17]), /behind the end/],
  ["an overlap", file({ tensors: [tensor("a", [16], 0, 0), tensor("b", [1], 0, 32)], data: new Uint8Array(64) }), /overlap/],
  ["two tensors in one place", file({ tensors: [tensor("a", [1], 0, 0), tensor("b", [1], 0, 0)], data: new Uint8Array(64) }), /overlap/],
];

/** Two matrices, a vector and a value of every type. */
const valid = file({
  pairs: [
    pair("u8", 0, Uint8Array.of(200)),
    pair("i8", 1, Uint8Array.of(200)),
    pair("u16", 2, Uint8Array.of(1, 2)),
    pair("i16", 3, Uint8Array.of(255, 255)),
    pair("general.alignment", 4, u32(64)),
    pair("i32", 5, u32(2 ** 32 - 5)),
    pair("f32", 6, new Uint8Array(Float32Array.of(0.1).buffer)),
    pair("flag", 7, Uint8Array.of(1)),
    pair("text", 8, ...text("茶")),
    pair("flags", 9, u32(7), u64(2), Uint8Array.of(1, 0)),
    pair("texts", 9, u32(8), u64(2), ...text("a"), ...text("")),
    pair("u64", 10, u64(2n ** 64n - 1n)),
    pair("i64", 11, u64(2n ** 64n - 7n)),
    pair("f64", 12, new Uint8Array(Float64Array.of(0.1).buffer)),
  ],
  tensors: [tensor("matrix", [2, 3], 0, 0), tensor("blocks", [32, 2], 8, 64), tensor("vector", [3], 1, 192)],
  alignment: 64,
  data: concat([new Uint8Array(Float32Array.of(1, 2, 3, 4, 5, 6).buffer), new Uint8Array(40), Uint8Array.from({ length: 68 }, (_, i) => (i % 34 === 1 ? 0x3c : i % 34 === 0 ? 0 : i)), new Uint8Array(60), Uint8Array.of(0, 0x3c, 0, 0xc0, 0, 0)]),
});

describe("reading refuses", () => {
  it.each(refused)("%s", async (_name, bytes, message) => {
    const error = await refusal(bytes);
    expect(error.message).toMatch(message);
    expect(error.code).toBe("bad_file");
    expect(error.facts.where).toContain("model.gguf");
  });

  it.each([
    ["version 1", file({ version: 1 }), 1],
    ["big-endian byte order", file({ version: 0x03000000 }), "big-endian byte order"],
    ["blocks that it cannot decode", one([256], 23), "IQ4_XS"],
    ["a type of block from the future", one([256], 4000), "type 4000"],
  ])("%s", async (_name, bytes, got) => {
    const error = await refusal(bytes);
    expect([error.code, error.facts.got]).toEqual(["unsupported", got]);
  });

  it("every shorter file", async () => {
    for (let length = 0; length < valid.length; length++) expect((await refusal(valid.subarray(0, length))).code).toBe("bad_file");
  });
});

describe("reading", () => {
  it.each([2, 3])("version %i: values of every type", async (version) => {
    const bytes = Uint8Array.from(valid);
    bytes[4] = version;
    const { metadata } = await readGgufHeader(bytesSource(bytes, "model.gguf"));
    expect(Object.fromEntries(metadata)).toEqual({
      u8: 200, i8: -56, u16: 513, i16: -1, "general.alignment": 64, i32: -5, f32: Math.fround(0.1), flag: true, text: "茶",
      flags: [true, false], texts: ["a", ""], u64: 2n ** 64n - 1n, i64: -7, f64: 0.1,
    });
  });

  it("tensors whole and in part, outermost axis first", async () => {
    const opened = await open(valid);
    expect(opened.tensors.get("matrix")).toMatchObject({ dtype: "F32", shape: [3, 2], size: 24 });
    expect(await opened.readFloat32("matrix")).toEqual(Float32Array.of(1, 2, 3, 4, 5, 6));
    expect(await opened.readFloat32("matrix", { entries: [1, 2] })).toEqual(Float32Array.of(3, 4));
    expect(await opened.readFloat32("vector")).toEqual(Float32Array.of(1, -2, 0));
    const into = new Float32Array(5);
    await opened.readFloat32("vector", { into: into.subarray(1, 4) });
    expect(into).toEqual(Float32Array.of(0, 1, -2, 0, 0));
    await expect(opened.readFloat32("vector", { into })).rejects.toMatchObject({ code: "shape_mismatch" });
    const blocks = await opened.readFloat32("blocks");
    expect(blocks.slice(0, 3)).toEqual(Float32Array.of(2, 3, 4));
    expect(await opened.readFloat32("blocks", { entries: [1, 2] })).toEqual(blocks.slice(32));
  });

  it("says which tensor is missing, and which part", async () => {
    const opened = await open(valid);
    await expect(opened.readFloat32("toString")).rejects.toMatchObject({ code: "not_found" });
    for (const part of [[-1, 1], [0, 4], [2, 1]] as const) await expect(opened.readFloat32("matrix", { entries: part })).rejects.toMatchObject({ code: "bad_argument" });
    await expect(opened.readFloat32("vector", { entries: [0, 1] })).rejects.toMatchObject({ code: "bad_argument" });
  });

  it("lists and tensors longer than one window and one piece", async () => {
    const words = Array.from({ length: 300_000 }, (_, i) => `word ${i}`);
    const values = Float32Array.from({ length: 300_000 }, (_, i) => i);
    const parts: Uint8Array[] = words.flatMap(text);
    const header = Buffer.concat([raw("GGUF"), u32(3), u64(1), u64(2), ...text("words"), u32(9), u32(8), u64(words.length), ...parts, ...text("numbers"), u32(9), u32(6), u64(values.length), new Uint8Array(values.buffer), tensor("a", [values.length], 0, 0)]);
    const opened = await open(Buffer.concat([header, new Uint8Array((32 - (header.length % 32)) % 32), new Uint8Array(values.buffer)]));
    expect(opened.metadata.get("words")).toEqual(words);
    expect(opened.metadata.get("numbers")).toEqual([...values]);
    expect(await opened.readFloat32("a")).toEqual(values);
  });

  it("texts with a NUL of their own, empty ones, and one longer than a window", async () => {
    const words = ["a\0b", "", "\0", "茶", "x".repeat(2 ** 20), "", "z"];
    const list = pair("words", 9, u32(8), u64(words.length), ...words.flatMap(text));
    expect((await open(keyed(list))).metadata.get("words")).toEqual(words);
    const broken = keyed(pair("words", 9, u32(8), u64(2), ...text("a"), u64(1), Uint8Array.of(0xe8)));
    expect((await refusal(broken)).message).toMatch(/not UTF-8/);
  });

  it("a vocabulary of which any part is decoded, whatever its texts have in them", async () => {
    const words = ["a\0b", "", "\0xxxxxxx", "茶", "\0", "xxxxxxx", "x".repeat(2 ** 20), "", "\ufeffz"];
    for (const tokens of [words, words.filter((word) => !word.includes(mark)), [], Array.from({ length: 9000 }, (_, i) => `茶${i}`)]) {
      const packed = (await open(keyed(pair("tokenizer.ggml.tokens", 9, u32(8), u64(tokens.length), ...tokens.flatMap(text))))).metadata.get("tokenizer.ggml.tokens") as PackedTexts;
      expect([packed.length, packed.strings()]).toEqual([tokens.length, tokens]);
      for (const indices of [tokens.map((_, i) => i).toReversed(), tokens.length > 2 ? [2, 1] : []]) expect(packed.pick(indices)).toEqual(indices.map((index) => tokens[index]));
    }
    const halves = (await open(keyed(pair("tokenizer.ggml.merges", 9, u32(8), u64(3), ...text("a"), u64(1), Uint8Array.of(0xc3), u64(1), Uint8Array.of(0xa9))))).metadata.get("tokenizer.ggml.merges") as PackedTexts;
    for (const use of [() => halves.bytes, () => halves.strings(), () => halves.pick([1])]) expect(use).toThrow(expect.objectContaining({ code: "bad_file", facts: { where: "model.gguf" } }));
    expect((await refusal(keyed(pair("tokenizer.ggml.merges", 9, u32(8), u64(1), u64(2n ** 63n))))).message).toMatch(/too long/);
  });

  it("numbers for each token as an array of their own type, where there is one", async () => {
    const values = Int32Array.from({ length: 300_000 }, (_, i) => i - 7);
    const bytes = keyed(pair("a", 7, Uint8Array.of(1)), pair("tokenizer.ggml.token_type", 9, u32(5), u64(values.length), new Uint8Array(values.buffer)), pair("tokenizer.ggml.scores", 9, u32(6), u64(2), new Uint8Array(Float32Array.of(0.5, -2).buffer)));
    const { metadata } = await open(bytes);
    expect([metadata.get("tokenizer.ggml.token_type"), metadata.get("tokenizer.ggml.scores")]).toEqual([values, Float32Array.of(0.5, -2)]);
    expect((await open(keyed(pair("tokenizer.ggml.token_type", 9, u32(0), u64(2), Uint8Array.of(1, 3))))).metadata.get("tokenizer.ggml.token_type")).toEqual([1, 3]);
    expect((await refusal(bytes.subarray(0, bytes.length - 4))).code).toBe("bad_file");
  });

  it("without the vocabulary the same, but for the tokenizer's lists of texts other than its tokens", async () => {
    const words = Array.from({ length: 40_000 }, (_, i) => "茶".repeat(i % 40));
    const lists = [pair("tokenizer.ggml.tokens", 9, u32(8), u64(1), ...text("</s>")), pair("tokenizer.ggml.scores", 9, u32(6), u64(1), u32(0)), pair("tokenizer.ggml.merges", 9, u32(8), u64(words.length + 1), ...[...words, "x".repeat(2 ** 20)].flatMap(text))];
    const bytes = file({ pairs: [pair("a", 9, u32(8), u64(1), ...text("kept")), ...lists, pair("tokenizer.ggml.model", 8, ...text("gpt2"))], tensors: [tensor("t", [2], 0, 0)], data: new Uint8Array(8) });
    const [whole, without] = [await open(bytes), await openGguf(bytesSource(bytes, "model.gguf"), { vocabulary: "tokens" })];
    expect([...without.metadata]).toEqual([...whole.metadata].filter(([key]) => key !== "tokenizer.ggml.merges"));
    expect([...without.tensors]).toEqual([...whole.tensors]);
    const bare = await openGguf(bytesSource(bytes, "model.gguf"), { vocabulary: "none" });
    expect([...bare.metadata]).toEqual([...whole.metadata].filter(([key]) => !/^tokenizer\.ggml\.(tokens|scores|merges)$/.test(key)));
    expect([...bare.tensors]).toEqual([...whole.tensors]);
    const refusedToo = async (pairs: Uint8Array[]) => {
      for (const vocabulary of ["tokens", "none"] as const) await expect(openGguf(bytesSource(file({ pairs, data: new Uint8Array(32) }), "model.gguf"), { vocabulary })).rejects.toMatchObject({ code: "bad_file" });
    };
    await refusedToo([pair("tokenizer.a", 9, u32(8), u64(2), u64(1), raw("a"), u64(2n ** 40n))]);
    await refusedToo([pair("tokenizer.a", 9, u32(8), u64(2), u64(1), raw("a"), u64(2 ** 23))]);
    await refusedToo([lists[1]!, lists[1]!]);
  });

  it("from a file what it reads from memory, and notices that the file has shrunk", async () => {
    const folder = await mkdtemp(join(tmpdir(), "longjing-"));
    onTestFinished(() => rm(folder, { recursive: true }));
    const path = join(folder, "model.gguf");
    await writeFile(path, valid);
    const [onDisk, inMemory] = [await openGguf(await openFileSource(path)), await open(valid)];
    onTestFinished(() => onDisk.close());
    expect(onDisk.metadata).toEqual(inMemory.metadata);
    for (const name of inMemory.tensors.keys()) expect(await onDisk.readFloat32(name)).toEqual(await inMemory.readFloat32(name));
    await truncate(path, valid.length - 1);
    await expect(onDisk.readFloat32("vector")).rejects.toMatchObject({ code: "bad_file" });
  });
});
