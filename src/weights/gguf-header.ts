import { LongjingError } from "../errors/index.ts";
import type { ByteSource } from "./byte-source.ts";
import { blockTypes } from "./gguf-blocks.ts";
import type { GgufType } from "./gguf-blocks.ts";
import { GgufCursor, malformed } from "./gguf-cursor.ts";
import type { PackedNumbers } from "./gguf-cursor.ts";
import type { PackedTexts } from "./packed-texts.ts";
import { elementCount } from "./safetensors-header.ts";

/** A metadata value. Integers that JavaScript's numbers do not hold are bigint; what there is for each token or merge is packed. */
export type GgufValue = string | number | bigint | boolean | readonly GgufValue[] | PackedTexts | PackedNumbers;

/** Where one tensor lies. */
export interface GgufTensorInfo {
  readonly dtype: GgufType;
  /** Row-major, outermost axis first: the reverse of the order in the file. */
  readonly shape: readonly number[];
  /** First byte in the file. */
  readonly offset: number;
  /** In bytes. */
  readonly size: number;
}

export interface GgufHeader {
  readonly version: number;
  readonly metadata: ReadonlyMap<string, GgufValue>;
  readonly tensors: ReadonlyMap<string, GgufTensorInfo>;
}

export interface GgufHeaderOptions {
  /**
   * Most of a header is the tokenizer's lists. "tokens": its lists of texts are passed over and missing in the metadata, but for its tokens,
   * some of which end a text; "none": all of its lists. Default "whole".
   */
  readonly vocabulary?: "whole" | "tokens" | "none";
}

const magic = 0x46554747;
const mostKeys = 2 ** 16;
const mostTensors = 2 ** 16;
/** In all lists together: ten times the largest vocabulary with its merges. */
const mostElements = 2 ** 23;
const longestKey = 2 ** 16 - 1;
const longestText = 2 ** 24;
/** ggml keeps 64 bytes, of which the last is NUL. */
export const longestName = 63;
const highestRank = 4;
const largestAlignment = 2 ** 16;

/**
 * Reads the header of a GGUF file, version 2 or 3 (github.com/ggml-org/ggml, `docs/gguf.md`). Every count, length, size and
 * offset is checked against the file before memory is taken for it; every tensor lies inside, and none over another.
 * @throws LongjingError "bad_file"; "unsupported" for another version, byte order or type of block
 */
export async function readGgufHeader(source: ByteSource, { vocabulary = "whole" }: GgufHeaderOptions = {}): Promise<GgufHeader> {
  const { label, size } = source;
  const cursor = new GgufCursor(source);
  if (size < 24 || (await cursor.u32()) !== magic) throw malformed("This is not a GGUF file", `${size} bytes`, "GGUF", label);
  const version = await cursor.u32();
  if (version !== 2 && version !== 3) {
    const got = version > 0 && (version & 0xffff) === 0 ? "big-endian byte order" : version;
    throw new LongjingError("unsupported", "This GGUF file is of another version", { got, expected: "2 | 3, little-endian", where: label });
  }
  const tensorCount = await cursor.count("tensors", mostTensors, 24);
  const keyCount = await cursor.count("metadata keys", mostKeys, 13);
  const metadata = await readMetadata(cursor, keyCount, vocabulary, label);
  const declared = new Map<string, Declared>();
  for (let i = 0; i < tensorCount; i++) {
    const name = await cursor.text(longestName);
    if (declared.has(name)) throw malformed("A tensor is there twice", name, "each name once", label);
    declared.set(name, await readTensorInfo(cursor, `${label}: ${name}`));
  }
  return { version, metadata, tensors: place(declared, alignmentOf(metadata, label), cursor.position, source) };
}

async function readMetadata(cursor: GgufCursor, count: number, vocabulary: GgufHeaderOptions["vocabulary"], where: string): Promise<ReadonlyMap<string, GgufValue>> {
  const metadata = new Map<string, GgufValue>();
  const seen = new Set<string>();
  const budget = { elements: mostElements };
  for (let i = 0; i < count; i++) {
    const key = await cursor.text(longestKey);
    if (seen.has(key)) throw malformed("A metadata key is there twice", key, "each key once", where);
    seen.add(key);
    const lists = wantedLists(key, vocabulary);
    const value = await readValue(cursor, await cursor.u32(), budget, lists, `${where}: ${key}`);
    if (value !== null) metadata.set(key, value);
  }
  return metadata;
}

type Lists = "all" | "packed" | "numbers" | "none";

/** Some tokens are known by their names alone: those that end a text. */
const tokensKey = "tokenizer.ggml.tokens";
const longKeys = [tokensKey, "tokenizer.ggml.merges", "tokenizer.ggml.token_type", "tokenizer.ggml.scores"];

function wantedLists(key: string, vocabulary: GgufHeaderOptions["vocabulary"]): Lists {
  if (key.startsWith("tokenizer.") && vocabulary !== "whole") return vocabulary === "none" ? "none" : key === tokensKey ? "packed" : "numbers";
  return longKeys.includes(key) ? "packed" : "all";
}

const textType = 8;
const listType = 9;

/** @param lists which of them are wanted; null stands for those that are not */
async function readValue(cursor: GgufCursor, type: number, budget: { elements: number }, lists: Lists, where: string): Promise<GgufValue | null> {
  if (type === textType) return cursor.text(longestText);
  if (type !== listType) return cursor.scalar(type, where);
  const inner = await cursor.u32();
  if (inner === listType) throw malformed("A list holds lists", "a list", "a list of numbers, flags or texts", where);
  const count = await cursor.count("elements", budget.elements, inner === textType ? 8 : cursor.scalarBytes(inner, where));
  budget.elements -= count;
  if (inner !== textType && lists !== "none") return (lists === "all" ? null : await cursor.packedNumbers(inner, count)) ?? cursor.scalars(inner, count);
  if (inner === textType && lists === "packed") return cursor.packedTexts(count, longestText);
  if (inner === textType && lists === "all") return cursor.texts(count, longestText);
  if (inner === textType) await cursor.skipTexts(count, longestText);
  else await cursor.skipScalars(inner, count);
  return null;
}

interface Declared {
  readonly dtype: GgufType;
  readonly shape: readonly number[];
  /** From the start of the data. */
  readonly offset: bigint;
  readonly size: number;
}

/** ggml's types by their numbers, of which `blockTypes` has those that we decode. */
export const typeNames: readonly string[] =
  "F32 F16 Q4_0 Q4_1 Q4_2 Q4_3 Q5_0 Q5_1 Q8_0 Q8_1 Q2_K Q3_K Q4_K Q5_K Q6_K Q8_K IQ2_XXS IQ2_XS IQ3_XXS IQ1_S IQ4_NL IQ3_S IQ2_S IQ4_XS I8 I16 I32 I64 F64 IQ1_M BF16".split(" ");

async function readTensorInfo(cursor: GgufCursor, where: string): Promise<Declared> {
  const rank = await cursor.u32();
  if (rank > highestRank) throw malformed("A tensor has too many axes", rank, `${highestRank} at most`, where);
  const reversed: number[] = [];
  for (let axis = 0; axis < rank; axis++) {
    const size = await cursor.u64();
    if (size === 0n || size > BigInt(Number.MAX_SAFE_INTEGER)) throw malformed("A tensor has an impossible size", String(size), "1 to 2^53", where);
    reversed.push(Number(size));
  }
  const type = await cursor.u32();
  const dtype = typeNames[type] ?? `type ${type}`;
  if (!isGgufType(dtype)) throw new LongjingError("unsupported", "Unknown type of block", { got: dtype, expected: Object.keys(blockTypes).join(" | "), where });
  const block = blockTypes[dtype];
  const width = reversed[0] ?? 1;
  if (width % block.elements !== 0) throw malformed(`A row is not whole ${dtype} blocks`, width, `a multiple of ${block.elements}`, where);
  const size = elementCount([width / block.elements, block.bytes, ...reversed.slice(1)]);
  const elements = elementCount(reversed);
  if (size === undefined || elements === undefined) throw malformed("The sizes of a tensor overflow", reversed.join(" × "), "fewer than 2^53 elements", where);
  return { dtype, shape: reversed.toReversed(), offset: await cursor.u64(), size };
}

const isGgufType = (name: string): name is GgufType => Object.hasOwn(blockTypes, name);

function alignmentOf(metadata: ReadonlyMap<string, GgufValue>, where: string): number {
  const alignment = metadata.get("general.alignment") ?? 32;
  const acceptable = typeof alignment === "number" && alignment >= 1 && alignment <= largestAlignment && Number.isInteger(Math.log2(alignment));
  if (acceptable) return alignment;
  throw malformed("general.alignment is not acceptable", typeof alignment === "object" ? "a list" : String(alignment), `a power of two, ${largestAlignment} at most`, where);
}

/** Checks where the tensors lie and turns their offsets into positions in the file. */
function place(declared: ReadonlyMap<string, Declared>, alignment: number, headerEnd: number, source: ByteSource): ReadonlyMap<string, GgufTensorInfo> {
  const start = Math.ceil(headerEnd / alignment) * alignment;
  const tensors = new Map<string, GgufTensorInfo>();
  for (const [name, { offset, ...rest }] of declared) {
    const where = `${source.label}: ${name}`;
    if (offset % BigInt(alignment) !== 0n) throw malformed("A tensor is not aligned", String(offset), `a multiple of ${alignment}`, where);
    const end = BigInt(start) + offset + BigInt(rest.size);
    if (end > BigInt(source.size)) {
      throw new LongjingError("bad_file", "A tensor ends behind the end of the file", { got: `${source.size} bytes`, expected: `${end} bytes or more`, where, hint: "It is truncated: copy or download it again." });
    }
    tensors.set(name, { ...rest, offset: start + Number(offset) });
  }
  let covered = 0;
  for (const [name, { offset, size }] of [...tensors].toSorted(([, a], [, b]) => a.offset - b.offset)) {
    if (offset < covered) throw malformed("Two tensors overlap", offset, `${covered} or more`, `${source.label}: ${name}`);
    covered = offset + size;
  }
  return tensors;
}
