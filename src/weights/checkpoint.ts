import { LongjingError } from "../errors/index.ts";
import type { ModelConfig } from "../model/config.ts";
import type { GenerationConfig } from "./generation-config.ts";
import type { BlockLayout, QuantizedBlocks, ReadRows } from "./quantized-blocks.ts";
import type { GgufType } from "./gguf-blocks.ts";
import type { GgufValue } from "./gguf-header.ts";
import type { SafetensorsDtype } from "./safetensors-header.ts";

/** How a tensor is stored. */
export interface StoredAs {
  readonly shape: readonly number[];
  readonly dtype: SafetensorsDtype | GgufType;
}

export interface CheckpointTensor extends StoredAs {
  /** Widened from `dtype`, row-major. */
  readonly data: Float32Array;
}

/**
 * An open Hugging Face folder or GGUF file: configurations are in memory, tensors are read when they are asked for, under
 * the names that `parameterSpecs` gives them.
 */
export interface Checkpoint {
  readonly path: string;
  readonly config: ModelConfig;
  /** What a GGUF file says beside its tensors, as much of it as was asked for. */
  readonly metadata?: ReadonlyMap<string, GgufValue>;
  /** null when the checkpoint has none. */
  readonly generationConfig: GenerationConfig | null;
  /** Of all tensors, sorted. */
  readonly names: readonly string[];
  /**
   * Shape and element type without the data.
   * @param shape what the caller will take
   * @throws LongjingError "not_found", "shape_mismatch"
   */
  info(name: string, shape?: readonly number[]): StoredAs;
  /**
   * @param into where the values go, of as many elements; new memory when it is left out
   * @throws LongjingError "not_found", "shape_mismatch", "unsupported" (integers) or "bad_file", with file and tensor
   */
  read(name: string, shape?: readonly number[], into?: Float32Array): Promise<CheckpointTensor>;
  /** How the blocks are made up that a matrix is stored in, where kernels can run them as they are; null elsewhere. */
  blockLayout(name: string): BlockLayout | null;
  /**
   * A matrix in the blocks that it is stored in, where it has a layout; null elsewhere.
   * @param into where they go, of that layout; new memory when it is left out
   * @param readRows how rows of a GGUF file's blocks get there, by default in plain loops; it may be called again before it is done
   */
  readBlocks(name: string, shape?: readonly number[], into?: QuantizedBlocks, readRows?: ReadRows): Promise<QuantizedBlocks | null>;
  close(): Promise<void>;
  /** Opens its file again, for what is read later. Absent where that is not done. @throws LongjingError "not_found", "bad_file" where it has changed */
  readonly reopen?: (() => Promise<void>) | undefined;
}

/** @throws LongjingError "shape_mismatch" unless a tensor has the shape that its reader will take, if it says one */
export function checkShape(got: readonly number[], expected: readonly number[] | undefined, where: string): void {
  if (expected === undefined || (expected.length === got.length && expected.every((size, axis) => size === got[axis]))) return;
  throw new LongjingError("shape_mismatch", "The tensor has another shape", { got, expected, where });
}

/** @throws LongjingError "shape_mismatch" unless memory that a tensor is to be read into has as many elements */
export function checkLength(into: Float32Array, length: number, where: string): void {
  if (into.length !== length) throw new LongjingError("shape_mismatch", "The memory is not as long as the tensor", { got: `${into.length} elements`, expected: `${length} elements`, where });
}
