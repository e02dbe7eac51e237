import { contrib, mostDimensions, ownDomain, requireShape, type Op } from "../op.ts";
import type { NdArray } from "../nd-array.ts";
import type { TensorType } from "../value.ts";
import { rmsNormalizeOp } from "./normalize.ts";

/** Ops that only `fuse` makes, of what has been traced already: nothing differentiates them. */

type Epsilon = { readonly epsilon: number };

const scaledBy = (x: NdArray, gain: NdArray): NdArray => ({ ...x, data: x.data.map((value, i) => value * gain.data[i % gain.data.length]!) });
const requireGain = (x: TensorType, gain: TensorType): void => requireShape(gain.shape.length === 1 && gain.shape[0] === x.shape.at(-1), "rmsNorm", [x.shape, gain.shape], "a gain for each column");
const normalized = (x: NdArray, { epsilon }: Epsilon, type: TensorType): NdArray => rmsNormalizeOp.reference([x], { epsilon }, [type])[0]!;

/** x / rms(x) · gain over the last axis. */
export const rmsNormOp: Op<Epsilon> = {
  name: "rmsNorm",
  infer: ([x, gain]) => {
    requireGain(x!, gain!);
    return [x!];
  },
  vjp: "none",
  lower: (c) => {
    const epsilon = { float: c.attributes.epsilon };
    // ONNX Runtime's wakes a thread for a few rows.
    if (c.ownKernels && c.inputTypes[0]!.shape.length <= mostDimensions) return c.node("RMSNorm", c.inputs, c.outputs, { epsilon }, ownDomain);
    c.node("SimplifiedLayerNormalization", c.inputs, c.outputs, { axis: -1, epsilon, stash_type: 1 });
  },
  reference: ([x, gain], attributes, [type]) => [scaledBy(normalized(x!, attributes, type!), gain!)],
};

/** rmsNorm(a + b), and a + b: where a block's result meets what it skips. */
export const addRmsNormOp: Op<Epsilon> = {
  name: "addRmsNorm",
  infer: ([a, b, gain]) => {
    requireShape(a!.shape.every((d, i) => d === b!.shape[i]), "addRmsNorm", [a!.shape, b!.shape], "equal shapes");
    requireGain(a!, gain!);
    return [a!, a!];
  },
  vjp: "none",
  lower: (c) => {
    const [y, sum] = c.outputs as [string, string];
    if (c.target === "cpu") return c.node("SkipSimplifiedLayerNormalization", c.inputs, [y, "", "", sum], { epsilon: { float: c.attributes.epsilon } }, contrib);
    c.node("Add", c.inputs.slice(0, 2), [sum]);
    c.node("SimplifiedLayerNormalization", [sum, c.inputs[2]!], [y], { axis: -1, epsilon: { float: c.attributes.epsilon }, stash_type: 1 });
  },
  reference: ([a, b, gain], attributes, [type]) => {
    const sum: NdArray = { ...a!, data: a!.data.map((value, i) => value + b!.data[i]!) };
    return [scaledBy(normalized(sum, attributes, type!), gain!), sum];
  },
};
