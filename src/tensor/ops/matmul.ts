import { apply, broadcastShapes, contrib, ownDomain, requireShape, type LowerContext, type Op } from "../op.ts";
import { broadcastIndex, concrete, elements, unravel, type NdArray } from "../nd-array.ts";
import type { Shape, TensorType, Value } from "../value.ts";
import { transpose } from "./shape.ts";

/**
 * How the operands are read. `transX` swaps the last two dimensions. `transBatchX` moves the first dimension to the row
 * position: [rows, batch…, columns] is read as [batch…, rows, columns], so that tensors ordered by time need no transpose.
 */
export interface MatmulOptions {
  readonly transA?: boolean;
  readonly transB?: boolean;
  readonly transBatchA?: boolean;
  readonly transBatchB?: boolean;
  /** Factor on the product. */
  readonly alpha?: number;
}
type Attributes = Required<MatmulOptions> & { readonly [key: string]: boolean | number };

/** The permutation that lays an operand out as [batch…, rows, columns]. */
function layout(rank: number, trans: boolean, transBatch: boolean): number[] {
  let order = Array.from({ length: rank }, (_, i) => i);
  if (transBatch) order = [...order.slice(1, -1), 0, rank - 1];
  if (trans) order = [...order.slice(0, -2), order[rank - 1]!, order[rank - 2]!];
  return order;
}
const laidOut = (shape: Shape, trans: boolean, transBatch: boolean): Shape => layout(shape.length, trans, transBatch).map((i) => shape[i]!);
const inverse = (permutation: readonly number[]): number[] => permutation.map((_, i) => permutation.indexOf(i));

/** Columns up to which our kernel is the faster one: it reads them again for each 32 rows of the result. */
const mostColumns = 1024;

/**
 * aᵀ · b of two matrices, or of lanes of them where b is ordered by its rows: for these we have a kernel. ONNX Runtime's gains little from a
 * second thread where the result is small and each sum long, and is slow where all is small.
 */
function ownProduct({ inputTypes: [a, b, addend], attributes: { transA, transB, transBatchA, transBatchB } }: Pick<LowerContext<Attributes>, "inputTypes" | "attributes">): boolean {
  const [rank, columns] = [a!.shape.length, b!.shape.at(-1)];
  const ordered = rank === 2 ? !transBatchB : rank === 3 && transBatchB && a!.shape[0] === b!.shape[1];
  return transA && !transB && !transBatchA && ordered && addend === undefined && b!.shape.length === rank && typeof columns === "number" && columns <= mostColumns;
}

function lower(c: LowerContext<Attributes>): void {
  const { transA, transB, transBatchA, transBatchB, alpha } = c.attributes;
  const [a, b] = c.inputTypes as [TensorType, TensorType];
  if (c.ownKernels && ownProduct(c)) return c.node("MatMulTransA", c.inputs, c.outputs, { alpha: { float: alpha } }, ownDomain);
  if (a.shape.length === 2 && b.shape.length === 2) return c.node("Gemm", c.inputs, c.outputs, { transA: Number(transA), transB: Number(transB), alpha: { float: alpha } });
  if (!transA && !transB && !transBatchA && !transBatchB && alpha === 1) return c.node("MatMul", c.inputs, c.outputs);
  if (c.target === "cpu") {
    const flags = { transA: Number(transA), transB: Number(transB), transBatchA: Number(transBatchA), transBatchB: Number(transBatchB), alpha: { float: alpha } };
    return c.node("FusedMatMul", c.inputs, c.outputs, flags, contrib);
  }
  const lay = (name: string, rank: number, trans: boolean, transBatch: boolean): string => {
    const perm = layout(rank, trans, transBatch);
    if (perm.every((p, i) => p === i)) return name;
    const out = c.fresh();
    c.node("Transpose", [name], [out], { perm });
    return out;
  };
  const product = alpha === 1 ? c.outputs[0]! : c.fresh();
  c.node("MatMul", [lay(c.inputs[0]!, a.shape.length, transA, transBatchA), lay(c.inputs[1]!, b.shape.length, transB, transBatchB)], [product]);
  if (alpha !== 1) c.node("Mul", [product, c.float(alpha)], c.outputs);
}

function reference(a: NdArray, b: NdArray, t: Attributes, out: TensorType): NdArray {
  const lay = (x: NdArray, trans: boolean, transBatch: boolean): { shape: number[]; at: (coordinates: number[]) => number } => {
    const order = layout(x.shape.length, trans, transBatch);
    const shape = order.map((i) => x.shape[i]!);
    return { shape, at: (coordinates) => x.data[broadcastIndex(inverse(order).map((i) => coordinates[i]!), x.shape)]! };
  };
  const A = lay(a, t.transA, t.transBatchA);
  const B = lay(b, t.transB, t.transBatchB);
  const shape = concrete(out.shape, "matmul");
  const K = A.shape.at(-1)!;
  const clamp = (batch: readonly number[], of: readonly number[]): number[] => of.slice(0, -2).map((d, i) => (d === 1 ? 0 : batch[batch.length - (of.length - 2) + i]!));
  const data = Float64Array.from({ length: elements(shape) }, (_, i) => {
    const at = unravel(i, shape);
    const [row, column] = at.slice(-2) as [number, number];
    const batch = at.slice(0, -2);
    let sum = 0;
    for (let k = 0; k < K; k++) sum += A.at([...clamp(batch, A.shape), row, k]) * B.at([...clamp(batch, B.shape), k, column]);
    return sum * t.alpha;
  });
  return { shape, dtype: "float32", data };
}

/** op(a) · op(b) · alpha, over matrices in the last two dimensions; leading dimensions broadcast. A third operand, of the result's shape in two dimensions or of a row's, is added. */
export const matmulOp: Op<Attributes> = {
  name: "matmul",
  infer: ([a, b, c], { transA, transB, transBatchA, transBatchB }) => {
    requireShape(a!.shape.length >= 2 && b!.shape.length >= 2, "matmul", [a!.shape, b!.shape], "at least two dimensions each");
    const A = laidOut(a!.shape, transA, transBatchA);
    const B = laidOut(b!.shape, transB, transBatchB);
    requireShape(A.at(-1) === B.at(-2), "matmul", [A, B], "columns of a = rows of b");
    const shape = [...broadcastShapes(A.slice(0, -2), B.slice(0, -2), "matmul"), A.at(-2)!, B.at(-1)!];
    if (c) requireShape(shape.length === 2 && fitsAddend(shape, c.shape), "matmul", c.shape, `an addend of shape ${JSON.stringify(shape)}, or of its rows'`);
    return [{ shape, dtype: a!.dtype }];
  },
  vjp: ({ inputs: [a, b, c], cotangents: [ct], attributes: { transA, transB, transBatchA, transBatchB, alpha }, wanted }) => {
    // With A = op(a), B = op(b): dA = dY Bᵀ and dB = Aᵀ dY, each read back through the layout of its operand.
    const dA = (): Value => {
      const d = transA ? matmul(b!, ct!, { transA: transB, transB: true, transBatchA: transBatchB, alpha }) : matmul(ct!, b!, { transB: !transB, transBatchB, alpha });
      return transBatchA ? transpose(d, inverse(layout(a!.shape.length, false, true))) : d;
    };
    const dB = (): Value => {
      const d = transB ? matmul(ct!, a!, { transA: true, transB: transA, transBatchB: transBatchA, alpha }) : matmul(a!, ct!, { transA: !transA, transBatchA, alpha });
      return transBatchB ? transpose(d, inverse(layout(b!.shape.length, false, true))) : d;
    };
    return [wanted[0] ? dA() : null, wanted[1] ? dB() : null, ...(c ? [ct!] : [])];
  },
  lower,
  reference: ([a, b, c], t, [out]) => {
    const y = reference(a!, b!, t, out!);
    return [c ? { ...y, data: y.data.map((v, i) => v + c.data[i % c.data.length]!) } : y];
  },
};

export function matmul(a: Value, b: Value, { transA = false, transB = false, transBatchA = false, transBatchB = false, alpha = 1 }: MatmulOptions = {}): Value {
  return apply(matmulOp, [a, b], { transA, transB, transBatchA, transBatchB, alpha });
}

/** Whether a 2-D product of this shape may have an addend of that one, in one kernel. */
export const fitsAddend = (product: Shape, addend: Shape): boolean => addend.length > 0 && addend.length <= product.length && addend.every((d, i) => d === product[product.length - addend.length + i]);

/** a 2-D product with such an addend. */
export const matmulAdd = (product: Value, addend: Value): Value => apply(matmulOp, [...product.node.inputs.slice(0, 2), addend], product.node.attributes as Attributes);

/** The operands of a `matmulAdd`, whose value is op(a) · op(b) · alpha + addend; null for any other value. */
export function matmulAddOperands({ node }: Value): (Required<MatmulOptions> & { readonly a: Value; readonly b: Value; readonly addend: Value }) | null {
  const [a, b, addend] = node.inputs;
  return node.op.name === matmulOp.name && addend ? { ...(node.attributes as Attributes), a: a!, b: b!, addend } : null;
}
