export { causalLmOnnx, type ExportedWeights, type OnnxModel, type OnnxOptions } from "./causal-lm.ts";
export { inBlocks } from "./in-blocks.ts";
