export type { CompiledGrammar } from "./compile.ts";
export { createConstrainer, type CompileSpec, type Constrainer, type ConstraintRequest } from "./constrainer.ts";
export { enforceable } from "./enforceable.ts";
export { compileSpec, type ConstraintSpec, type Surroundings } from "./spec.ts";
export type { ConstrainedTool } from "./tool-calls.ts";
