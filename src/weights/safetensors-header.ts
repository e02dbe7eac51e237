import { LongjingError } from "../errors/index.ts";

/** Element types and their width in bytes. */
export const elementBytes = {
  F64: 8,
  F32: 4,
  F16: 2,
  BF16: 2,
  F8_E4M3: 1,
  F8_E5M2: 1,
  F8_E8M0: 1,
  I64: 8,
  I32: 4,
  I16: 2,
  I8: 1,
  U8: 1,
  BOOL: 1,
} as const;

export type SafetensorsDtype = keyof typeof elementBytes;

/** Where one tensor lies. */
export interface TensorInfo {
  readonly dtype: SafetensorsDtype;
  readonly shape: readonly number[];
  /** First byte and the byte behind the last, from the start of the data. */
  readonly data_offsets: readonly [begin: number, end: number];
}

export interface SafetensorsHeader {
  readonly metadata: Readonly<Record<string, string>>;
  readonly tensors: ReadonlyMap<string, TensorInfo>;
  /** Tensors whose element type we do not know, which may be as long as they like: their names, and what it is called. */
  readonly unknown: ReadonlyMap<string, string>;
}

/** Most bytes of a header: a quarter of a million tensors. */
export const longestHeader = 2 ** 25;
const deepest = 8;
const highestRank = 32;

/**
 * Reads the JSON header and checks it against the length of the data: every tensor lies inside, as long as its shape says,
 * and together they cover the data without gap or overlap (github.com/huggingface/safetensors, "Format").
 * @param dataLength bytes behind the header
 * @throws LongjingError "bad_file"
 */
export function parseHeader(bytes: Uint8Array, dataLength: number, where: string): SafetensorsHeader {
  const entries = Object.entries(asRecord(parseJson(bytes, where), "The header", where));
  let metadata: Readonly<Record<string, string>> = {};
  const placed: Placed[] = [];
  for (const [name, value] of entries) {
    if (name === "__metadata__") metadata = parseMetadata(value, where);
    else placed.push({ name, ...parseTensor(value, `${where}: ${name}`) });
  }
  checkCoverage(placed, dataLength, where);
  const tensors = placed.filter(isKnown).map(({ name, ...info }): [string, TensorInfo] => [name, info]);
  return { metadata, tensors: new Map(tensors), unknown: new Map(placed.filter((tensor) => !isKnown(tensor)).map(({ name, dtype }) => [name, dtype])) };
}

/** An entry of the header. */
interface Placed extends Omit<TensorInfo, "dtype"> {
  readonly name: string;
  readonly dtype: string;
}

const isDtype = (dtype: string): dtype is SafetensorsDtype => Object.hasOwn(elementBytes, dtype);
const isKnown = (tensor: Placed): tensor is Placed & TensorInfo => isDtype(tensor.dtype);

/** For a tensor of `unknown` that is asked for. */
export function unknownType(dtype: string, where: string): LongjingError {
  return new LongjingError("unsupported", "Unknown element type", { got: dtype, expected: Object.keys(elementBytes).join(" | "), where });
}

/** The number of elements of a shape; undefined when it leaves the exact integers. */
export function elementCount(shape: readonly number[]): number | undefined {
  let count = 1;
  for (const size of shape) {
    count *= size;
    if (!Number.isSafeInteger(count)) return undefined;
  }
  return count;
}

function parseJson(bytes: Uint8Array, where: string): unknown {
  if (bytes[0] !== 0x7b) throw malformed("The header does not begin with {", bytes[0], "a JSON object", where);
  try {
    const text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
    checkKeysAndDepth(text, where);
    return JSON.parse(text);
  } catch (error) {
    if (LongjingError.is(error)) throw error;
    throw new LongjingError("bad_file", "The header is not JSON in UTF-8", { where }, { cause: error });
  }
}

/**
 * JSON.parse keeps the last of two equal keys in silence, so that two readers of one file could see different tensors.
 * Text that is not JSON passes here and fails there.
 */
function checkKeysAndDepth(text: string, where: string): void {
  const open: Set<string>[] = [];
  const colon = /\s*:/y;
  for (let at = 0; at < text.length; at++) {
    const character = text[at];
    if (character === "{" || character === "[") {
      if (open.push(new Set()) > deepest)
        throw malformed("The header nests too deep", `${open.length} levels`, `${deepest} at most`, where);
    } else if (character === "}" || character === "]") {
      open.pop();
    } else if (character === '"') {
      const start = at;
      at = endOfString(text, at);
      colon.lastIndex = at + 1;
      if (!colon.test(text)) continue;
      const key = JSON.parse(text.slice(start, at + 1)) as string;
      const keys = open.at(-1);
      if (keys?.has(key)) throw malformed("The header has a key twice", key, "each key once", where);
      keys?.add(key);
    }
  }
}

/** Index of the quote that closes the string which opens at `start`, or of the last character. */
function endOfString(text: string, start: number): number {
  let at = start + 1;
  while (at < text.length && text[at] !== '"') at += text[at] === "\\" ? 2 : 1;
  return at;
}

function parseMetadata(value: unknown, where: string): Readonly<Record<string, string>> {
  const metadata = asRecord(value, "__metadata__", where);
  for (const [key, text] of Object.entries(metadata)) {
    if (typeof text !== "string")
      throw malformed("__metadata__ holds texts only", typeof text, "string", `${where}: ${key}`);
  }
  return metadata as Readonly<Record<string, string>>;
}

function parseTensor(value: unknown, where: string): Omit<Placed, "name"> {
  const { dtype, shape, data_offsets } = asRecord(value, "A tensor", where);
  if (typeof dtype !== "string") throw malformed("dtype is missing", typeof dtype, "an element type", where);
  if (!isSizes(shape) || shape.length > highestRank) {
    throw malformed("shape is not a shape", undefined, `a list of at most ${highestRank} sizes`, where);
  }
  if (!isSizes(data_offsets) || data_offsets.length !== 2) {
    throw malformed("data_offsets is not a range", undefined, "[begin, end]", where);
  }
  const [begin, end] = data_offsets as readonly number[] as readonly [number, number];
  if (!isDtype(dtype)) {
    if (end < begin) throw malformed("data_offsets is not a range", `${begin} to ${end}`, "[begin, end]", where);
    return { dtype, shape, data_offsets: [begin, end] };
  }
  const needed = elementCount([...shape, elementBytes[dtype]]);
  if (needed === undefined) throw malformed("shape overflows", shape.join(" × "), "fewer than 2^53 bytes", where);
  if (end - begin !== needed)
    throw malformed("data_offsets contradict shape and dtype", `${end - begin} bytes`, `${needed} bytes`, where);
  return { dtype, shape, data_offsets: [begin, end] };
}

function checkCoverage(tensors: readonly Placed[], dataLength: number, where: string): void {
  const ranges = tensors.map(({ name, data_offsets }) => ({ name, begin: data_offsets[0], end: data_offsets[1] }));
  ranges.sort((a, b) => a.begin - b.begin || a.end - b.end);
  let covered = 0;
  for (const { name, begin, end } of ranges) {
    if (begin !== covered) {
      const fault = begin < covered ? "Two tensors overlap" : "There is a gap before a tensor";
      throw malformed(fault, begin, covered, `${where}: ${name}`);
    }
    covered = end;
  }
  if (covered !== dataLength) {
    const hint = covered > dataLength ? "It is truncated: copy or download it again." : "Something was appended to it.";
    throw malformed(
      "The tensors do not end where the file ends",
      `${dataLength} bytes of data`,
      `${covered} bytes`,
      where,
      hint,
    );
  }
}

function isSizes(value: unknown): value is readonly number[] {
  return Array.isArray(value) && value.every((size) => Number.isSafeInteger(size) && size >= 0);
}

function asRecord(value: unknown, what: string, where: string): Readonly<Record<string, unknown>> {
  if (typeof value === "object" && value !== null && !Array.isArray(value))
    return value as Readonly<Record<string, unknown>>;
  throw malformed(
    `${what} is not a JSON object`,
    value === null ? "null" : Array.isArray(value) ? "a list" : typeof value,
    "an object",
    where,
  );
}

function malformed(message: string, got: unknown, expected: unknown, where: string, hint?: string): LongjingError {
  return new LongjingError("bad_file", message, { got, expected, where, ...(hint === undefined ? {} : { hint }) });
}
