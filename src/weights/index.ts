export { bytesSource } from "./byte-source.ts";
export type { ByteSource } from "./byte-source.ts";
export type { Checkpoint, CheckpointTensor, StoredAs } from "./checkpoint.ts";
export { extractAdapter } from "./extract-adapter.ts";
export type { ExtractedAdapter } from "./extract-adapter.ts";
export { exists, isFile, listFolder, openFileSource, parseJson, readJson, readText, writeFolder, writeNewFile } from "./files.ts";
export {
  narrowBfloat16,
  narrowFloat16,
  narrowFloat8E4M3,
  widenBfloat16,
  widenFloat16,
  widenFloat8E4M3,
  widenFloat8E5M2,
} from "./float-formats.ts";
export { dequantizeFp8, quantizeFp8 } from "./fp8.ts";
export type { BlockSize, Fp8Matrix } from "./fp8.ts";
export type { GenerationConfig } from "./generation-config.ts";
export { encodeBlocks } from "./gguf-encode.ts";
export type { WritableType } from "./gguf-encode.ts";
export type { GgufField } from "./gguf-container.ts";
export { ggufMetadata } from "./gguf-metadata.ts";
export { ggufPlace } from "./gguf-names.ts";
export type { GgufPlace } from "./gguf-names.ts";
export type { GgufParameter } from "./gguf-tensors.ts";
export { ggufFileTypes, ggufParameters, writeGguf } from "./gguf-write.ts";
export type { GgufFileType, GgufToWrite, GgufWritten } from "./gguf-write.ts";
export { openGguf } from "./gguf.ts";
export type { Gguf, GgufTensorInfo, GgufType, GgufValue } from "./gguf.ts";
export type { GgufHeaderOptions } from "./gguf-header.ts";
export { newBlocks, sameLayout, sliceRows } from "./quantized-blocks.ts";
export type { BlockLayout, QuantizedBlocks, ReadRows } from "./quantized-blocks.ts";
export { loraConfigToText, loraScale, parseLoraConfig } from "./lora-config.ts";
export type { LoraConfig } from "./lora-config.ts";
export { mergeAdapter, mergeLora, readAdapter, writeAdapter } from "./lora.ts";
export type { AdapterToWrite, LoraAdapter, LoraTensor } from "./lora.ts";
export { cardTags, modelCardText } from "./model-card.ts";
export type { CardResult, License, ModelCard } from "./model-card.ts";
export { openCheckpoint } from "./open-checkpoint.ts";
export { packedTensors } from "./packed.ts";
export type { PackedMatrix } from "./packed.ts";
export { decodeSafetensors, encodeSafetensors, openSafetensors, safetensorsPieces } from "./safetensors.ts";
export type { Safetensors, SafetensorsDtype, StoredArray, StoredTensor, TensorInfo, TensorToWrite } from "./safetensors.ts";
export { writeCheckpoint } from "./write-checkpoint.ts";
export type { CheckpointToWrite } from "./write-checkpoint.ts";
