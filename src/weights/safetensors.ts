import { LongjingError } from "../errors/index.ts";
import { bytesSource } from "./byte-source.ts";
import type { ByteSource } from "./byte-source.ts";
import { checkLength } from "./checkpoint.ts";
import {
  narrowBfloat16,
  narrowFloat16,
  widenBfloat16,
  widenFloat16,
  widenFloat8E4M3,
  widenFloat8E5M2,
  widenFloat8E8M0,
} from "./float-formats.ts";
import { elementBytes, elementCount, longestHeader, parseHeader, unknownType } from "./safetensors-header.ts";
import type { SafetensorsDtype, SafetensorsHeader, TensorInfo } from "./safetensors-header.ts";

export type { SafetensorsDtype, TensorInfo } from "./safetensors-header.ts";

/** Elements as they are stored; the bit patterns of F16, BF16 and F8 are left as they are, BOOL is 0 or 1. */
export type StoredArray =
  Float64Array | Float32Array | Uint16Array | BigInt64Array | Int32Array | Int16Array | Int8Array | Uint8Array;

export interface StoredTensor {
  readonly dtype: SafetensorsDtype;
  readonly shape: readonly number[];
  readonly data: StoredArray;
}

/** An open safetensors file: its header is in memory, its tensors are read when they are asked for. */
export interface Safetensors extends SafetensorsHeader {
  /** @throws LongjingError "not_found"; "unsupported" for an unknown element type; "bad_file" when the file has become shorter */
  read(name: string): Promise<StoredTensor>;
  /**
   * A tensor of floats, widened (F64: rounded) to float32.
   * @param into where the values go; new memory when it is left out
   * @throws LongjingError "not_found"; "shape_mismatch" for another length of `into`; "unsupported" for integers and unknown element types; "bad_file" when the file has become shorter
   */
  readFloat32(name: string, into?: Float32Array): Promise<Float32Array>;
  close(): Promise<void>;
}

/**
 * Reads the header of a safetensors file.
 * @throws LongjingError "bad_file" for whatever is malformed, before memory is taken for it
 */
export async function openSafetensors(source: ByteSource): Promise<Safetensors> {
  const { label } = source;
  if (source.size < 8) throw notSafetensors(`${source.size} bytes`, "8 bytes or more", label);
  const prefix = new Uint8Array(8);
  await source.readInto(prefix, 0);
  const headerLength = new DataView(prefix.buffer).getBigUint64(0, true);
  const most = Math.min(source.size - 8, longestHeader);
  if (headerLength > most) throw notSafetensors(`a header of ${headerLength} bytes`, `${most} bytes at most`, label);
  const header = new Uint8Array(Number(headerLength));
  await source.readInto(header, 8);
  const dataStart = 8 + header.length;
  const { metadata, tensors, unknown } = parseHeader(header, source.size - dataStart, label);
  const find = (name: string): TensorInfo => {
    const info = tensors.get(name);
    if (info !== undefined) return info;
    const dtype = unknown.get(name);
    throw dtype === undefined ? new LongjingError("not_found", "No such tensor", { got: name, where: label }) : unknownType(dtype, `${label}: ${name}`);
  };
  return {
    metadata,
    tensors,
    unknown,
    read: async (name) => readStored(source, dataStart, find(name), name),
    readFloat32: async (name, into) => readFloats(source, dataStart, find(name), name, into),
    close: () => source.close(),
  };
}

/** Opens safetensors bytes in memory. `label` names them in messages. */
export function decodeSafetensors(bytes: Uint8Array, label = "safetensors"): Promise<Safetensors> {
  return openSafetensors(bytesSource(bytes, label));
}

const arrays = {
  F64: Float64Array,
  F32: Float32Array,
  F16: Uint16Array,
  BF16: Uint16Array,
  F8_E4M3: Uint8Array,
  F8_E5M2: Uint8Array,
  F8_E8M0: Uint8Array,
  I64: BigInt64Array,
  I32: Int32Array,
  I16: Int16Array,
  I8: Int8Array,
  U8: Uint8Array,
  BOOL: Uint8Array,
} as const;

async function readStored(source: ByteSource, dataStart: number, info: TensorInfo, name: string): Promise<StoredTensor> {
  const { dtype, shape, data_offsets } = info;
  const bytes = allocate(data_offsets[1] - data_offsets[0], source, name);
  await source.readInto(bytes, dataStart + data_offsets[0]);
  return { dtype, shape, data: new arrays[dtype](bytes.buffer) };
}

type Widen = (from: ArrayBuffer, to: Float32Array) => void;

const widen: Readonly<Partial<Record<SafetensorsDtype, Widen>>> = {
  F64: (from, to) => to.set(new Float64Array(from)),
  F16: (from, to) => widenFloat16(new Uint16Array(from), to),
  BF16: (from, to) => widenBfloat16(new Uint16Array(from), to),
  F8_E4M3: (from, to) => widenFloat8E4M3(new Uint8Array(from), to),
  F8_E5M2: (from, to) => widenFloat8E5M2(new Uint8Array(from), to),
  F8_E8M0: (from, to) => widenFloat8E8M0(new Uint8Array(from), to),
};

/** Elements that are converted at a time, so that a conversion needs little memory beside its result. */
const pieceLength = 2 ** 20;

async function readFloats(source: ByteSource, dataStart: number, info: TensorInfo, name: string, into?: Float32Array): Promise<Float32Array> {
  const { dtype, data_offsets } = info;
  const convert = widen[dtype];
  if (convert === undefined && dtype !== "F32") {
    throw new LongjingError("unsupported", "A tensor of floats was asked for", {
      got: dtype,
      where: `${source.label}: ${name}`,
    });
  }
  const width = elementBytes[dtype];
  const length = (data_offsets[1] - data_offsets[0]) / width;
  const values = into ?? new Float32Array(allocate(length * 4, source, name).buffer);
  checkLength(values, length, `${source.label}: ${name}`);
  if (convert === undefined) {
    await source.readInto(new Uint8Array(values.buffer, values.byteOffset, values.byteLength), dataStart + data_offsets[0]);
    return values;
  }
  for (let at = 0; at < values.length; at += pieceLength) {
    const to = values.subarray(at, at + pieceLength);
    const piece = new Uint8Array(to.length * width);
    await source.readInto(piece, dataStart + data_offsets[0] + at * width);
    convert(piece.buffer, to);
  }
  return values;
}

/** What one array can hold in every supported version of Node. */
const largestTensor = 2 ** 32 - 1;

function allocate(bytes: number, source: ByteSource, name: string): Uint8Array<ArrayBuffer> {
  if (bytes <= largestTensor) return new Uint8Array(bytes);
  throw new LongjingError("too_large", "The tensor does not fit into one array", {
    got: `${bytes} bytes`,
    expected: `${largestTensor} at most`,
    where: `${source.label}: ${name}`,
  });
}

/** A tensor to be written. Floats are narrowed to `dtype`, integers are written as they are. */
export type TensorToWrite = { readonly name: string; readonly shape: readonly number[] } & (
  | { readonly dtype: "F32" | "BF16" | "F16"; readonly data: Float32Array }
  | { readonly dtype: "I64"; readonly data: BigInt64Array }
  | { readonly dtype: "I32"; readonly data: Int32Array }
  | { readonly dtype: "U8"; readonly data: Uint8Array }
);

/** transformers refuses a file that does not say which framework's layout it has. */
const defaultMetadata: Readonly<Record<string, string>> = { format: "pt" };

// Wide elements first, so that each tensor is aligned to its element; within a type by name. It is the order of the
// reference implementation, whose bytes ours equal.
const order: readonly SafetensorsDtype[] = ["I64", "F32", "I32", "BF16", "F16", "U8"];

/**
 * The bytes of a safetensors file in pieces, the same for the same tensors in any order. A piece is valid until the next
 * is taken.
 * @throws LongjingError "bad_argument" for a name twice or a shape that is not the data's, before the first piece
 */
export function* safetensorsPieces(
  tensors: Iterable<TensorToWrite>,
  metadata = defaultMetadata,
): Generator<Uint8Array, void> {
  const sorted = [...tensors].toSorted(
    (a, b) => order.indexOf(a.dtype) - order.indexOf(b.dtype) || (a.name < b.name ? -1 : 1),
  );
  yield encodeHeader(sorted, metadata);
  for (const tensor of sorted) yield* dataPieces(tensor);
}

/** The bytes of a safetensors file, the same for the same tensors in any order. */
export function encodeSafetensors(tensors: Iterable<TensorToWrite>, metadata = defaultMetadata): Uint8Array<ArrayBuffer> {
  const pieces = Array.from(safetensorsPieces(tensors, metadata), (piece) => piece.slice());
  const bytes = new Uint8Array(pieces.reduce((sum, piece) => sum + piece.length, 0));
  let at = 0;
  for (const piece of pieces) {
    bytes.set(piece, at);
    at += piece.length;
  }
  return bytes;
}

function encodeHeader(sorted: readonly TensorToWrite[], metadata: Readonly<Record<string, string>>): Uint8Array {
  const entries: [string, unknown][] = Object.keys(metadata).length > 0 ? [["__metadata__", metadata]] : [];
  const names = new Set(["__metadata__"]);
  let begin = 0;
  for (const { name, dtype, shape, data } of sorted) {
    if (names.has(name)) throw new LongjingError("bad_argument", "Two tensors have one name", { got: name });
    names.add(name);
    if (elementCount(shape) !== data.length) {
      throw new LongjingError("bad_argument", "A shape is not its data's", {
        got: shape,
        expected: `${data.length} elements`,
        where: name,
      });
    }
    const end = begin + data.length * elementBytes[dtype];
    entries.push([name, { dtype, shape, data_offsets: [begin, end] }]);
    begin = end;
  }
  const json = new TextEncoder().encode(
    `{${entries.map(([name, value]) => `${JSON.stringify(name)}:${JSON.stringify(value)}`).join(",")}}`,
  );
  const length = Math.ceil(json.length / 8) * 8;
  if (length > longestHeader) {
    throw new LongjingError("too_large", "Too many tensors for one file", {
      got: `a header of ${length} bytes`,
      expected: `${longestHeader} at most`,
    });
  }
  const bytes = new Uint8Array(8 + length).fill(0x20);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(length), true);
  bytes.set(json, 8);
  return bytes;
}

function* dataPieces({ dtype, data }: TensorToWrite): Generator<Uint8Array, void> {
  if (dtype !== "BF16" && dtype !== "F16") {
    yield new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
    return;
  }
  const narrow = dtype === "BF16" ? narrowBfloat16 : narrowFloat16;
  const scratch = new Uint16Array(Math.min(pieceLength, data.length));
  for (let at = 0; at < data.length; at += pieceLength) {
    const from = data.subarray(at, at + pieceLength);
    const to = scratch.subarray(0, from.length);
    narrow(from, to);
    yield new Uint8Array(to.buffer, 0, to.byteLength);
  }
}

function notSafetensors(got: string, expected: string, where: string): LongjingError {
  return new LongjingError("bad_file", "This is not a whole safetensors file", { got, expected, where });
}
