export type { Backend, Binding, DeviceTensor, Memory, OpenBackend, Provider, RegroupBlocks, RowFunctions, Session, SessionOptions } from "./backend.ts";
export { openBackend } from "#ort";
export { allocate, compile, runBinding, type Program } from "./compile.ts";
