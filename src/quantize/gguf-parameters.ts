import { narrowFloat16, type GgufParameter } from "../weights/index.ts";
import { blockLength, dequantize, type QuantizedMatrix } from "./grid.ts";
import type { StoredParameter } from "./quantize-model.ts";

/** A parameter as a GGUF file stores it: Q4_0, Q4_1 or Q8_0 by its grid, F16 or F32. */
export function ggufParameter({ spec: { name, shape }, matrix, weights, bits }: StoredParameter): GgufParameter {
  if (matrix === null) return { name, shape, dtype: bits === 16 ? "F16" : "F32", values: async () => weights };
  if (matrix.grid.kind === "minimum") return { name, shape, dtype: "Q4_1", blocks: async () => minimumBlocks(matrix) };
  // What lies on such a grid already, the encoder stores as it is.
  return { name, shape, dtype: matrix.grid.bits === 4 ? "Q4_0" : "Q8_0", values: async () => dequantize(matrix) };
}

const blockBytes = 20;

/** Scale, minimum, then codes: the first 16 in the low halves of 16 bytes, the others in the high ones. */
function minimumBlocks({ codes, scales, mins }: QuantizedMatrix): Uint8Array {
  const bytes = new Uint8Array(scales.length * blockBytes);
  const halves = new Uint16Array(2);
  for (let block = 0; block < scales.length; block++) {
    narrowFloat16(Float32Array.of(scales[block]!, mins[block]!), halves);
    const at = block * blockBytes;
    bytes.set([halves[0]! & 255, halves[0]! >> 8, halves[1]! & 255, halves[1]! >> 8], at);
    const from = block * blockLength;
    for (let j = 0; j < 16; j++) bytes[at + 4 + j] = codes[from + j]! | (codes[from + 16 + j]! << 4);
  }
  return bytes;
}
