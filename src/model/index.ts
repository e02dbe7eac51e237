export type { DeepseekV3Config, LlamaConfig, ModelConfig, ModelType, Qwen2Config, Qwen3Config, Qwen3MoeConfig, RopeConfig } from "./config.ts";
export { configToJson, parseConfig } from "./config.ts";
export type { CacheLayout, CacheValues, Heads, ModelContext, TrainingLayout } from "./context.ts";
export { cacheContext, cacheShape, trainingContext } from "./context.ts";
export type { Hidden, Parameters } from "./decoder.ts";
export { headWeight, hiddenStates, logits, nextTokenHidden, rotaryTables } from "./decoder.ts";
export type { ParameterSpec, Scope } from "./parameters.ts";
export { expertCount, initParameters, isSparse, parameterCount, parameterSpecs, scope } from "./parameters.ts";
