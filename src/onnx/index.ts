export { onnxPieces, toOnnx, type StoredData } from "./lower.ts";
