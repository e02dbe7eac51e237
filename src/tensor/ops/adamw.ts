import { applyAll, emit, mostDimensions, ownDomain, requireShape, sameShape, type LowerContext, type Op } from "../op.ts";
import type { NdArray } from "../nd-array.ts";
import type { Value } from "../value.ts";

type Betas = { readonly beta1: number; readonly beta2: number };

/**
 * One AdamW step of one tensor, on unnormalised moments: gradient, parameter, m, v of one shape, then scalars scale, rate, epsilon and,
 * where the parameter is decayed, decay. With g = gradient · scale it gives
 * parameter · decay − (m′ · rate) / (√v′ + epsilon), m′ = m · beta1 + g and v′ = v · beta2 + g².
 *
 * Our kernel reads and writes each number once, and any output may be the memory of the input that it follows.
 */
export const adamwOp: Op<Betas> = {
  name: "adamw",
  infer: ([gradient, parameter, m, v, ...scalars]) => {
    const tensors = [gradient!, parameter!, m!, v!];
    requireShape(tensors.every((t) => sameShape(t.shape, parameter!.shape)), "adamw", tensors.map((t) => t.shape), "one shape");
    requireShape(scalars.every((s) => s.shape.length === 0) && (scalars.length === 3 || scalars.length === 4), "adamw", scalars.map((s) => s.shape), "scale, rate, epsilon and perhaps decay, as scalars");
    return [parameter!, m!, v!];
  },
  vjp: "none",
  lower: (c) => {
    const { beta1, beta2 } = c.attributes;
    if (c.ownKernels && c.outputTypes[0]!.shape.length <= mostDimensions) c.node("AdamW", c.inputs, c.outputs, { beta1: { float: beta1 }, beta2: { float: beta2 } }, ownDomain);
    else lowerToLibrary(c);
  },
  reference: ([gradient, parameter, m, v, ...scalars], { beta1, beta2 }) => {
    const [scale, rate, epsilon, decay = 1] = scalars.map(({ data }) => data[0]!) as [number, number, number, number?];
    const g = gradient!.data.map((x) => x * scale);
    const nextM = m!.data.map((x, i) => x * beta1 + g[i]!);
    const nextV = v!.data.map((x, i) => x * beta2 + g[i]! * g[i]!);
    const next = parameter!.data.map((x, i) => x * decay - (nextM[i]! * rate) / (Math.sqrt(nextV[i]!) + epsilon));
    return [{ ...parameter!, data: next }, { ...m!, data: nextM }, { ...v!, data: nextV }] satisfies NdArray[];
  },
};

function lowerToLibrary(c: LowerContext<Betas>): void {
  const [gradient, parameter, m, v, scale, rate, epsilon, decay] = c.inputs as [string, string, string, string, string, string, string, string?];
  const [next, nextM, nextV] = c.outputs as [string, string, string];
  const g = emit(c, "Mul", [gradient, scale]);
  c.node("Add", [emit(c, "Mul", [m, c.float(c.attributes.beta1)]), g], [nextM]);
  c.node("Add", [emit(c, "Mul", [v, c.float(c.attributes.beta2)]), emit(c, "Mul", [g, g])], [nextV]);
  const change = emit(c, "Div", [emit(c, "Mul", [nextM, rate]), emit(c, "Add", [emit(c, "Sqrt", [nextV]), epsilon])]);
  c.node("Sub", [decay === undefined ? parameter : emit(c, "Mul", [parameter, decay]), change], [next]);
}

export interface AdamWTensors {
  readonly parameter: Value;
  readonly m: Value;
  readonly v: Value;
}

/** @param decay none for a parameter that is not decayed */
export function adamw(gradient: Value, { parameter, m, v }: AdamWTensors, scalars: { readonly scale: Value; readonly rate: Value; readonly epsilon: Value; readonly decay?: Value | undefined }, { beta1, beta2 }: Betas): AdamWTensors {
  const { scale, rate, epsilon, decay } = scalars;
  const [next, nextM, nextV] = applyAll(adamwOp, [gradient, parameter, m, v, scale, rate, epsilon, ...(decay ? [decay] : [])], { beta1, beta2 }) as [Value, Value, Value];
  return { parameter: next, m: nextM, v: nextV };
}
