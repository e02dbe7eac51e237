export { extractMath, verifyMath } from "./math.ts";
export type { Verdict, Verifier } from "./verdict.ts";
