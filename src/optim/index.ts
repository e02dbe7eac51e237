export type { AdamWOptions, AdamWScalars, AdamWState, AdamWStep } from "./adamw.ts";
export { adamwDefaults, adamwScalars, adamwUpdate, globalNormScale } from "./adamw.ts";
export type { CosineOptions, DecayOptions, RampShape, Schedule, WarmupOptions, WarmupStableDecayOptions } from "./schedules.ts";
export { constant, cosine, linear, warmupStableDecay } from "./schedules.ts";
