export { blockLength, dequantize, rescale, roundToNearest } from "./grid.ts";
export type { Grid, QuantizedMatrix } from "./grid.ts";
export { quantizeModel } from "./quantize-model.ts";
export type { Calibration, QuantizeOptions, Storage, StoredParameter } from "./quantize-model.ts";
export { ggufParameter } from "./gguf-parameters.ts";
export { folderQuantization, folderTensors } from "./folder-tensors.ts";
