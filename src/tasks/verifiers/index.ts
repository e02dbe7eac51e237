export { verifyExact, type ExactOptions } from "./exact.ts";
export { verifyJson } from "./json-schema.ts";
export { extractMath, verifyMath } from "./math.ts";
export { verifyPattern } from "./pattern.ts";
export { verifyQuantity, type QuantityOptions } from "./quantity.ts";
export type { Verdict, Verifier } from "./verdict.ts";
