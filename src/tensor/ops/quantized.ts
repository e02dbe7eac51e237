import { apply, contrib, emit, noAttributes, ownDomain, requireShape, sizeOf, type LowerContext, type Op } from "../op.ts";
import { concrete, elements, type NdArray } from "../nd-array.ts";
import type { TensorType, Value } from "../value.ts";
import { siluOp } from "./elementwise.ts";
import { matmul } from "./matmul.ts";

/**
 * A matrix [rows, columns] in blocks of consecutive columns, as ONNX Runtime's MatMulNBits lays it out: element = (q − 2^(bits −
 * 1)) · scale of its block + offset of its block.
 */
export interface QuantizedMatrix {
  /** uint8 [rows, blocks, block_size · bits / 8]: 8 bits each, or 4 bits each, the first of a pair in the low half. */
  readonly blocks: Value;
  /** [rows, blocks] */
  readonly scales: Value;
  /** [rows, blocks]; none for symmetric quantisation. */
  readonly offsets?: Value | undefined;
  /** Products do not round the other operand: slower, and with blocks of 8 bits much slower. Default false. */
  readonly exact?: boolean | undefined;
}

/** How a quantised matrix of so many blocks is stored, from the shapes of its parts. */
function layout(blocks: TensorType, columns: number): { readonly bits: 4 | 8; readonly blockSize: number } {
  const [count, bytes] = [sizeOf(blocks.shape[1], "quantized"), sizeOf(blocks.shape[2], "quantized")];
  const blockSize = columns / count;
  const bits = (8 * bytes) / blockSize;
  requireShape(bits === 4 || bits === 8, "quantized", [blocks.shape, columns], "4 or 8 bits an element");
  return { bits, blockSize };
}

function requireParts(blocks: TensorType, scales: TensorType, where: string): void {
  requireShape(blocks.dtype === "uint8" && blocks.shape.length === 3 && scales.shape.length === 2 && scales.shape.every((d, i) => d === blocks.shape[i]), where, [blocks.shape, scales.shape], "uint8 [rows, blocks, bytes] and [rows, blocks]");
}

function dequantized([blocks, scales, offsets]: readonly [NdArray, NdArray, NdArray?], columns: number): Float64Array {
  const { bits, blockSize } = layout(blocks, columns);
  const rows = blocks.shape[0]!;
  return Float64Array.from({ length: rows * columns }, (_, i) => {
    const byte = blocks.data[Math.floor((i * bits) / 8)]!;
    const q = bits === 8 ? byte : i % 2 === 0 ? byte % 16 : Math.floor(byte / 16);
    const block = Math.floor(i / blockSize);
    return (q - 2 ** (bits - 1)) * scales.data[block]! + (offsets?.data[block] ?? 0);
  });
}

/** `exact` is for the products that a linear layer makes of it. */
type DequantizeAttributes = { readonly columns: number; readonly exact: boolean };

/** blocks, scales (, offsets) → the matrix [rows, columns]. Linear layers multiply by its parts and never form it (nn/linear.ts). */
export const dequantizeOp: Op<DequantizeAttributes> = {
  name: "dequantize",
  infer: ([blocks, scales], { columns }) => {
    requireParts(blocks!, scales!, "dequantize");
    layout(blocks!, columns);
    return [{ shape: [blocks!.shape[0]!, columns], dtype: "float32" }];
  },
  vjp: "none",
  lower: (c) => {
    const { bits, blockSize } = layout(c.inputTypes[0]!, c.attributes.columns);
    const count = c.attributes.columns / blockSize;
    const bytes = emit(c, "Cast", [c.inputs[0]!], { to: 1 });
    const q = bits === 8 ? bytes : halves(c, bytes, [-1, count, blockSize]);
    const centred = emit(c, "Sub", [q, c.float(2 ** (bits - 1))]);
    const column = (name: string): string => emit(c, "Unsqueeze", [name, c.int64([2])]);
    const scaled = emit(c, "Mul", [centred, column(c.inputs[1]!)]);
    const moved = c.inputs[2] === undefined ? scaled : emit(c, "Add", [scaled, column(c.inputs[2])]);
    c.node("Reshape", [moved, c.int64([-1, c.attributes.columns])], c.outputs);
  },
  reference: (parts, { columns }, [out]) => [{ shape: concrete(out!.shape, "dequantize"), dtype: "float32", data: dequantized(parts as [NdArray, NdArray, NdArray?], columns) }],
};

/** Bytes as floats → their two halves side by side. WebGPU has no kernels for uint8, so this is arithmetic. */
function halves(c: LowerContext<DequantizeAttributes>, bytes: string, shape: readonly number[]): string {
  const high = emit(c, "Floor", [emit(c, "Mul", [bytes, c.float(1 / 16)])]);
  const low = emit(c, "Sub", [bytes, emit(c, "Mul", [high, c.float(16)])]);
  const axis = c.int64([3]);
  const pairs = emit(c, "Concat", [emit(c, "Unsqueeze", [low, axis]), emit(c, "Unsqueeze", [high, axis])], { axis: 3 });
  return emit(c, "Reshape", [pairs, c.int64(shape)]);
}

/**
 * x [rows, columns] · matrixᵀ → [rows, matrix rows], from blocks, scales (, offsets). Unless `exact`, kernels round x to 8 bits for each
 * block too, as llama.cpp does: without that they are several times slower on few rows.
 */
export const matmulQuantizedOp: Op<{ readonly exact: boolean }> = {
  name: "matmulQuantized",
  infer: ([x, blocks, scales, offsets]) => {
    requireParts(blocks!, scales!, "matmulQuantized");
    if (offsets) requireParts(blocks!, offsets, "matmulQuantized");
    requireShape(x!.shape.length === 2, "matmulQuantized", x!.shape, "[rows, columns]");
    layout(blocks!, sizeOf(x!.shape[1], "matmulQuantized"));
    return [{ shape: [x!.shape[0]!, blocks!.shape[0]!], dtype: "float32" }];
  },
  vjp: ({ inputs: [x, blocks, scales, offsets], cotangents: [ct] }) => [matmul(ct!, dequantize({ blocks: blocks!, scales: scales!, offsets }, sizeOf(x!.shape[1], "matmulQuantized"))), null, null, ...(offsets ? [null] : [])],
  lower: (c) => {
    const columns = sizeOf(c.inputTypes[0]!.shape[1], "matmulQuantized");
    const shape = layout(c.inputTypes[1]!, columns);
    if (c.ownKernels && !c.attributes.exact && c.stored.slice(1).every(Boolean) && inTiles(columns, shape.blockSize)) c.node("MatMulBlocks", c.inputs, c.outputs, {}, ownDomain);
    else lowerToLibrary(c, columns, shape);
  },
  reference: ([x, ...parts], _, [out]) => {
    const shape = concrete(out!.shape, "matmulQuantized") as [number, number];
    const K = x!.shape[1]!;
    const w = dequantized(parts as [NdArray, NdArray, NdArray?], K);
    const dot = (row: number, column: number): number => {
      let total = 0;
      for (let k = 0; k < K; k++) total += x!.data[row * K + k]! * w[column * K + k]!;
      return total;
    };
    return [{ shape, dtype: "float32", data: Float64Array.from({ length: elements(shape) }, (_, i) => dot(Math.floor(i / shape[1]), i % shape[1])) }];
  },
};

/** What our own kernels take (kernels/blocks.h): tiles of 32 columns, with one scale or two. */
const inTiles = (columns: number, blockSize: number): boolean => columns % 32 === 0 && (blockSize === 16 || blockSize % 32 === 0);

/** ONNX Runtime's product takes no offsets. One is the same for a whole block, so it multiplies the sum of x over the block. */
function lowerToLibrary(c: LowerContext<{ readonly exact: boolean }>, columns: number, { bits, blockSize }: ReturnType<typeof layout>): void {
  const [x, blocks, scales, offsets] = c.inputs as [string, string, string, string?];
  const attributes = { K: columns, N: sizeOf(c.outputTypes[0]!.shape[1], "matmulQuantized"), bits, block_size: blockSize, accuracy_level: c.attributes.exact ? 1 : 4 };
  if (offsets === undefined) return c.node("MatMulNBits", [x, blocks, scales], c.outputs, attributes, contrib);
  const product = c.fresh();
  c.node("MatMulNBits", [x, blocks, scales], [product], attributes, contrib);
  const inBlocks = emit(c, "Reshape", [x, c.int64([-1, columns / blockSize, blockSize])]);
  const sums = emit(c, "ReduceSum", [inBlocks, c.int64([2])], { keepdims: 0 });
  c.node("Gemm", [sums, offsets, product], c.outputs, { transB: 1 });
}

/** silu(x · gateᵀ) · (x · upᵀ): inputs x, the parts of the gate, those of the up matrix. What `fuse` makes of the two products and their gating. */
export const gatedMatmulQuantizedOp: Op<{ readonly gateParts: number }> = {
  name: "gatedMatmulQuantized",
  infer: (inputs, { gateParts }) => matmulQuantizedOp.infer([inputs[0]!, ...inputs.slice(1, 1 + gateParts)], { exact: false }),
  vjp: "none",
  lower: (c) => {
    const { gateParts } = c.attributes;
    const columns = sizeOf(c.inputTypes[0]!.shape[1], "gatedMatmulQuantized");
    const fits = [1, 1 + gateParts].every((at) => inTiles(columns, layout(c.inputTypes[at]!, columns).blockSize));
    const gate = c.inputs.slice(1, 1 + gateParts);
    if (c.ownKernels && c.stored.slice(1).every(Boolean) && fits) return c.node("GatedMatMulBlocks", [c.inputs[0]!, ...gate, ...(gateParts === 2 ? [""] : []), ...c.inputs.slice(1 + gateParts)], c.outputs, {}, ownDomain);
    const product = (from: number, to?: number): string => {
      const out = c.fresh();
      matmulQuantizedOp.lower({ ...c, attributes: { exact: false }, inputs: [c.inputs[0]!, ...c.inputs.slice(from, to)], inputTypes: [c.inputTypes[0]!, ...c.inputTypes.slice(from, to)], stored: c.stored.slice(from - 1, to), outputs: [out] });
      return out;
    };
    const gating = c.fresh();
    siluOp.lower({ ...c, attributes: noAttributes, inputs: [product(1, 1 + gateParts)], outputs: [gating] });
    c.node("Mul", [gating, product(1 + gateParts)], c.outputs);
  },
  reference: ([x, ...parts], { gateParts }, [out]) => {
    const product = (of: readonly NdArray[]): NdArray => matmulQuantizedOp.reference([x!, ...of], { exact: false }, [out!])[0]!;
    const [gate, up] = [product(parts.slice(0, gateParts)), product(parts.slice(gateParts))];
    return [{ ...gate, data: gate.data.map((g, i) => (g / (1 + Math.exp(-g))) * up.data[i]!) }];
  },
};

type GatherAttributes = { readonly columns: number; readonly exact: boolean };

/** ids [n], blocks, scales (, offsets) → those rows of the matrix, [n, columns]. With `exact` nothing else reads it in tiles. */
export const gatherQuantizedOp: Op<GatherAttributes> = {
  name: "gatherQuantized",
  infer: ([ids, blocks, scales], { columns }) => {
    requireParts(blocks!, scales!, "gatherQuantized");
    requireShape(ids!.shape.length === 1, "gatherQuantized", ids!.shape, "[n]");
    layout(blocks!, columns);
    return [{ shape: [ids!.shape[0]!, columns], dtype: "float32" }];
  },
  vjp: "none",
  lower: (c) => {
    const { columns, exact } = c.attributes;
    const [ids, ...parts] = c.inputs as [string, ...string[]];
    const { bits, blockSize } = layout(c.inputTypes[1]!, columns);
    if (c.ownKernels && !exact && c.stored.slice(1).every(Boolean) && inTiles(columns, blockSize)) return c.node("GatherBlocks", c.inputs, c.outputs, { bits: { float: bits } }, ownDomain);
    const rows = parts.map((part) => emit(c, "Gather", [part, ids], { axis: 0 }));
    const inputTypes = c.inputTypes.slice(1).map((type) => ({ ...type, shape: [c.inputTypes[0]!.shape[0]!, ...type.shape.slice(1)] }));
    dequantizeOp.lower({ ...c, attributes: c.attributes, inputs: rows, inputTypes, stored: rows.map(() => false) });
  },
  reference: ([ids, ...parts], { columns }, [out]) => {
    const whole = dequantized(parts as [NdArray, NdArray, NdArray?], columns);
    const shape = concrete(out!.shape, "gatherQuantized");
    return [{ shape, dtype: "float32", data: Float64Array.from({ length: elements(shape) }, (_, i) => whole[ids!.data[Math.floor(i / columns)]! * columns + (i % columns)]!) }];
  },
};

/** Rows of a matrix in blocks at ids [n], [n, columns]. */
export const gatherQuantized = ({ blocks, scales, offsets, exact = false }: QuantizedMatrix, ids: Value, columns: number): Value => apply(gatherQuantizedOp, [ids, blocks, scales, ...(offsets ? [offsets] : [])], { columns, exact });

/** The matrix itself, [rows, columns]. */
export const dequantize = ({ blocks, scales, offsets, exact = false }: QuantizedMatrix, columns: number): Value => apply(dequantizeOp, [blocks, scales, ...(offsets ? [offsets] : [])], { columns, exact });

/** The parts of a matrix that is stored in blocks; null for any other value. */
export function quantizedMatrix({ node }: Value): QuantizedMatrix | null {
  const [blocks, scales, offsets] = node.inputs;
  return node.op.name === dequantizeOp.name ? { blocks: blocks!, scales: scales!, offsets, exact: (node.attributes as DequantizeAttributes).exact } : null;
}

/** x [rows, columns] · matrixᵀ. */
export const matmulQuantized = (x: Value, { blocks, scales, offsets, exact = false }: QuantizedMatrix): Value => apply(matmulQuantizedOp, [x, blocks, scales, ...(offsets ? [offsets] : [])], { exact });
