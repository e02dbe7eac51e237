import { apply, broadcastShapes, contrib, lift, noAttributes, requireShape, type NoAttributes, type Op, type Operand, type VjpContext } from "../op.ts";
import { broadcastIndex, concrete, elements, unravel, type NdArray } from "../nd-array.ts";
import type { DType, TensorType, Value } from "../value.ts";

type Rule = Op<NoAttributes>["vjp"];

function unary(name: string, onnx: string, f: (x: number) => number, vjp: Rule): Op<NoAttributes> {
  return {
    name,
    infer: ([x]) => [x as TensorType],
    vjp,
    lower: (c) => c.node(onnx, c.inputs, c.outputs),
    reference: ([x]) => [{ ...(x as NdArray), data: (x as NdArray).data.map(f) }],
  };
}

function binary(name: string, onnx: string, f: (a: number, b: number) => number, vjp: Rule, dtype?: DType): Op<NoAttributes> {
  return {
    name,
    infer: ([a, b]) => {
      requireShape(a!.dtype === b!.dtype, name, [a!.dtype, b!.dtype], "one element type");
      return [{ shape: broadcastShapes(a!.shape, b!.shape, name), dtype: dtype ?? a!.dtype }];
    },
    vjp,
    lower: (c) => c.node(onnx, c.inputs, c.outputs),
    reference: ([a, b], _, [out]) => [zip(a!, b!, out!, f)],
  };
}

function zip(a: NdArray, b: NdArray, out: TensorType, f: (a: number, b: number) => number): NdArray {
  const shape = concrete(broadcastShapes(a.shape, b.shape, "zip"), "zip");
  const data = new Float64Array(elements(shape));
  for (let i = 0; i < data.length; i++) {
    const at = unravel(i, shape);
    data[i] = f(a.data[broadcastIndex(at, a.shape)]!, b.data[broadcastIndex(at, b.shape)]!);
  }
  return { shape, dtype: out.dtype, data };
}

/** The parts of a rule's context that a one-output op needs. */
function parts<A>({ inputs, outputs, cotangents, wanted }: VjpContext<A>): { a: Value; b: Value; y: Value; ct: Value; wanted: readonly boolean[] } {
  return { a: inputs[0]!, b: inputs[1]!, y: outputs[0]!, ct: cotangents[0]!, wanted };
}
const rule =
  (f: (p: ReturnType<typeof parts>) => readonly (Value | null)[]): Rule =>
  (context) =>
    f(parts(context));

export const addOp = binary("add", "Add", (a, b) => a + b, rule(({ ct }) => [ct, ct]));
export const subOp = binary("sub", "Sub", (a, b) => a - b, rule(({ ct, wanted }) => [ct, wanted[1] ? neg(ct) : null]));
export const mulOp = binary("mul", "Mul", (a, b) => a * b, rule(({ a, b, ct, wanted }) => [wanted[0] ? mul(ct, b) : null, wanted[1] ? mul(ct, a) : null]));
export const divOp = binary("div", "Div", (a, b) => a / b, rule(({ b, y, ct, wanted }) => {
  const quotient = div(ct, b); // d(a/b) = da/b − (a/b) db/b
  return [quotient, wanted[1] ? neg(mul(quotient, y)) : null];
}));
/** Where both are equal, the gradient goes to the first, as in ONNX Runtime's own training rules. */
export const minOp = binary("min", "Min", Math.min, rule(({ a, b, ct }) => {
  const first = cast(lessOrEqual(a, b), "float32");
  return [mul(ct, first), mul(ct, sub(1, first))];
}));
export const maxOp = binary("max", "Max", Math.max, rule(({ a, b, ct }) => {
  const first = cast(lessOrEqual(b, a), "float32");
  return [mul(ct, first), mul(ct, sub(1, first))];
}));
export const equalOp = binary("equal", "Equal", (a, b) => Number(a === b), "none", "bool");
export const lessOp = binary("less", "Less", (a, b) => Number(a < b), "none", "bool");
export const lessOrEqualOp = binary("lessOrEqual", "LessOrEqual", (a, b) => Number(a <= b), "none", "bool");

export const negOp = unary("neg", "Neg", (x) => -x, rule(({ ct }) => [neg(ct)]));
export const expOp = unary("exp", "Exp", Math.exp, rule(({ y, ct }) => [mul(ct, y)]));
export const logOp = unary("log", "Log", Math.log, rule(({ a, ct }) => [div(ct, a)]));
export const sqrtOp = unary("sqrt", "Sqrt", Math.sqrt, rule(({ y, ct }) => [div(mul(ct, 0.5), y)]));
export const reciprocalOp = unary("reciprocal", "Reciprocal", (x) => 1 / x, rule(({ y, ct }) => [neg(mul(ct, mul(y, y)))]));
export const sigmoidOp = unary("sigmoid", "Sigmoid", (x) => 1 / (1 + Math.exp(-x)), rule(({ y, ct }) => [mul(ct, mul(y, sub(1, y)))]));
export const absOp = unary("abs", "Abs", Math.abs, rule(({ a, ct }) => [mul(ct, apply(signOp, [a], noAttributes))]));
export const signOp = unary("sign", "Sign", Math.sign, "none");

/** x · sigmoid(x), in one pass where the provider has the kernel (contrib QuickGelu with alpha 1). */
export const siluOp: Op<NoAttributes> = {
  ...unary("silu", "QuickGelu", (x) => x / (1 + Math.exp(-x)), rule(({ a, y, ct }) => {
    const s = sigmoid(a); // y' = s + y (1 − s)
    return [mul(ct, add(s, mul(y, sub(1, s))))];
  })),
  lower: (c) => {
    if (c.target === "cpu") return c.node("QuickGelu", c.inputs, c.outputs, { alpha: { float: 1 } }, contrib);
    const s = c.fresh();
    c.node("Sigmoid", c.inputs, [s]);
    c.node("Mul", [c.inputs[0]!, s], c.outputs);
  },
};

/** Passes the value, stops the gradient. */
export const stopGradientOp = unary("stopGradient", "Identity", (x) => x, "none");

const onnxType: Record<DType, number> = { float32: 1, uint8: 2, int32: 6, int64: 7, bool: 9 };
export const castOp: Op<{ to: DType }> = {
  name: "cast",
  infer: ([x], { to }) => [{ shape: x!.shape, dtype: to }],
  vjp: ({ inputs, cotangents }) => [inputs[0]!.dtype === "float32" ? cotangents[0]! : null],
  lower: (c) => c.node("Cast", c.inputs, c.outputs, { to: onnxType[c.attributes.to] }),
  reference: ([x], { to }) => [{ ...x!, dtype: to, data: to === "float32" ? x!.data : x!.data.map(to === "bool" ? (v) => Number(v !== 0) : Math.trunc) }],
};

/** condition ? a : b, element by element. */
export const whereOp: Op<NoAttributes> = {
  name: "where",
  infer: ([condition, a, b]) => [{ shape: broadcastShapes(condition!.shape, broadcastShapes(a!.shape, b!.shape, "where"), "where"), dtype: a!.dtype }],
  vjp: ({ inputs: [condition], cotangents: [ct], wanted }) => [null, wanted[1] ? where(condition!, ct!, 0) : null, wanted[2] ? where(condition!, 0, ct!) : null],
  lower: (c) => c.node("Where", c.inputs, c.outputs),
  reference: ([condition, a, b], _, [out]) => {
    const shape = concrete(out!.shape, "where");
    const pick = (i: number): number => {
      const at = unravel(i, shape);
      const from = condition!.data[broadcastIndex(at, condition!.shape)] ? a! : b!;
      return from.data[broadcastIndex(at, from.shape)]!;
    };
    return [{ shape, dtype: out!.dtype, data: Float64Array.from({ length: elements(shape) }, (_, i) => pick(i)) }];
  },
};

const two = (op: Op<NoAttributes>) => (a: Operand, b: Operand): Value => apply(op, [lift(a), lift(b)], noAttributes);
const one = (op: Op<NoAttributes>) => (x: Value): Value => apply(op, [x], noAttributes);

export const add = two(addOp);
export const sub = two(subOp);
export const mul = two(mulOp);
export const div = two(divOp);
export const minimum = two(minOp);
export const maximum = two(maxOp);
export const equal = two(equalOp);
export const less = two(lessOp);
export const lessOrEqual = two(lessOrEqualOp);
export const neg = one(negOp);
export const exp = one(expOp);
export const log = one(logOp);
export const sqrt = one(sqrtOp);
export const reciprocal = one(reciprocalOp);
export const sigmoid = one(sigmoidOp);
export const silu = one(siluOp);
export const abs = one(absOp);
export const stopGradient = one(stopGradientOp);
export const cast = (x: Value, to: DType): Value => (x.dtype === to ? x : apply(castOp, [x], { to }));
export const where = (condition: Value, a: Operand, b: Operand): Value => apply(whereOp, [condition, lift(a), lift(b)], noAttributes);
