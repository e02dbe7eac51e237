export { toOnnx } from "./lower.ts";
