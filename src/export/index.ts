export { causalLmOnnx, type OnnxModel } from "./causal-lm.ts";
