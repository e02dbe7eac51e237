export { verifyExact, type ExactOptions } from "./exact.ts";
export { verifyJson } from "./json-schema.ts";
export { verifyMath } from "./math.ts";
export { extractMath } from "./math-extract.ts";
export { verifyPattern } from "./pattern.ts";
export { verifyQuantity, type QuantityOptions } from "./quantity.ts";
export type { Verdict, Verifier } from "./verdict.ts";
