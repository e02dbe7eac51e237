export type { Backend, Binding, DeviceTensor, Drawn, LoadValues, Memory, OpenBackend, OwnFunctions, Provider, RowMath, Session, SessionOptions } from "./backend.ts";
export { openBackend } from "#ort";
export { allocate, compile, runBinding, usesOwnKernels, type Program } from "./compile.ts";
