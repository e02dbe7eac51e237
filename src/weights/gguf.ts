import { LongjingError } from "../errors/index.ts";
import type { ByteSource } from "./byte-source.ts";
import { checkLength } from "./checkpoint.ts";
import { blockTypes } from "./gguf-blocks.ts";
import { readGgufHeader } from "./gguf-header.ts";
import type { GgufHeader, GgufHeaderOptions, GgufTensorInfo } from "./gguf-header.ts";

export type { GgufType } from "./gguf-blocks.ts";
export type { GgufTensorInfo, GgufValue } from "./gguf-header.ts";

/** An open GGUF file: its header is in memory, its tensors are read when they are asked for. */
export interface Gguf extends GgufHeader {
  /** Names the file in messages: a path. */
  readonly label: string;
  /**
   * A tensor, or entries [begin, end) of its outermost axis, as float32.
   * @param into where the values go; new memory when it is left out
   * @throws LongjingError "not_found"; "bad_argument" for entries that it does not have; "shape_mismatch" for another length of `into`; "too_large"; "bad_file" when the
   *   file has become shorter
   */
  readFloat32(name: string, options?: { readonly entries?: readonly [begin: number, end: number] | undefined; readonly into?: Float32Array | undefined }): Promise<Float32Array>;
  /**
   * The bytes of a matrix's blocks, or of entries [begin, end) of its outermost axis, some whole rows at a time. They are `take`'s
   * until it returns.
   * @throws LongjingError as `readFloat32` does
   */
  eachRows(name: string, take: (bytes: Uint8Array, firstRow: number) => void, entries?: readonly [begin: number, end: number]): Promise<void>;
  /** Where the same lies, for whoever reads it by other means: the file and the first byte in it; null for what is no file. */
  placeOf(name: string, entries?: readonly [begin: number, end: number]): { readonly descriptor: number; readonly offset: number } | null;
  close(): Promise<void>;
  /** Absent where the source cannot be. */
  readonly reopen?: (() => Promise<void>) | undefined;
}

/**
 * Reads the header of a GGUF file.
 * @throws LongjingError "bad_file" for whatever is malformed, before memory is taken for it; "unsupported"
 */
export async function openGguf(source: ByteSource, options: GgufHeaderOptions = {}): Promise<Gguf> {
  const header = await readGgufHeader(source, options);
  let scratch = new Uint8Array(0);
  const find = (name: string, entries?: readonly [number, number]): GgufTensorInfo => {
    const info = header.tensors.get(name);
    if (info === undefined) throw new LongjingError("not_found", "No such tensor", { got: name, where: source.label });
    return entries === undefined ? info : part(info, entries, `${source.label}: ${name}`);
  };
  return {
    ...header,
    label: source.label,
    readFloat32: async (name, { entries, into } = {}) => readBlocks(source, find(name, entries), into, `${source.label}: ${name}`),
    eachRows: async (name, take, entries) => {
      const { dtype, shape, offset, size } = find(name, entries);
      const { elements, bytes } = blockTypes[dtype];
      const rowBytes = (shape.at(-1)! / elements) * bytes;
      const rows = size / rowBytes;
      const most = Math.max(1, Math.floor(rowsAtOnce / rowBytes));
      const whole = scratch.length < most * rowBytes ? new Uint8Array(most * rowBytes) : scratch;
      scratch = new Uint8Array(0); // another call that begins meanwhile takes its own
      for (let row = 0; row < rows; row += most) {
        const piece = whole.subarray(0, Math.min(most, rows - row) * rowBytes);
        await source.readInto(piece, offset + row * rowBytes);
        take(piece, row);
      }
      scratch = whole;
    },
    placeOf: (name, entries) => (source.descriptor === undefined ? null : { descriptor: source.descriptor, offset: find(name, entries).offset }),
    close: () => source.close(),
    reopen: source.reopen,
  };
}

function part(info: GgufTensorInfo, [begin, end]: readonly [number, number], where: string): GgufTensorInfo {
  const [outer = 1, ...inner] = info.shape;
  // A row is whole blocks, an element of a vector is not.
  if (inner.length === 0 || !(begin >= 0 && begin <= end && end <= outer)) {
    throw new LongjingError("bad_argument", "The tensor has no such part", { got: [begin, end], expected: `within [0, ${outer}] of a matrix`, where });
  }
  const each = info.size / outer;
  return { ...info, shape: [end - begin, ...inner], offset: info.offset + begin * each, size: (end - begin) * each };
}

/** Bytes of rows that are read at a time: few enough to stay in a processor's cache until they are used. */
const rowsAtOnce = 2 ** 19;
/** Elements that are decoded at a time, whole blocks of any type. */
const pieceLength = 2 ** 18;
/** What one array can hold in every supported version of Node. */
const mostElements = 2 ** 30 - 1;

async function readBlocks(source: ByteSource, { dtype, shape, offset }: GgufTensorInfo, into: Float32Array | undefined, where: string): Promise<Float32Array> {
  const { elements, bytes, decode } = blockTypes[dtype];
  const length = shape.reduce((product, size) => product * size, 1);
  if (length > mostElements) {
    throw new LongjingError("too_large", "The tensor does not fit into one array", { got: `${length} elements`, expected: `${mostElements} at most`, where });
  }
  const values = into ?? new Float32Array(length);
  checkLength(values, length, where);
  const scratch = new Uint8Array((Math.min(pieceLength, length) / elements) * bytes);
  for (let at = 0; at < length; at += pieceLength) {
    const to = values.subarray(at, at + pieceLength);
    const from = scratch.subarray(0, (to.length / elements) * bytes);
    await source.readInto(from, offset + (at / elements) * bytes);
    decode(from, to);
  }
  return values;
}
