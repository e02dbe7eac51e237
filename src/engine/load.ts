import { parameterSpecs, type ModelConfig, type ParameterSpec } from "../model/index.ts";
import type { Backend, DeviceTensor } from "../runtime/index.ts";
import { openCheckpoint, type GenerationConfig } from "../weights/index.ts";
import type { ParameterTensors } from "./model-parameters.ts";

export interface LoadedModel {
  readonly config: ModelConfig;
  readonly generationConfig: GenerationConfig | null;
  readonly specs: readonly ParameterSpec[];
  readonly parameters: ParameterTensors;
}

/** Reads a Hugging Face folder or a GGUF file into tensors of the backend, float32 whatever the file holds. */
export async function loadModel(backend: Backend, path: string): Promise<LoadedModel> {
  const checkpoint = await openCheckpoint(path);
  try {
    const specs = parameterSpecs(checkpoint.config);
    const parameters: Record<string, DeviceTensor> = {};
    for (const { name, shape } of specs) {
      // Before memory is taken for it: a configuration may say anything.
      checkpoint.info(name, shape);
      const tensor = backend.tensor("float32", shape);
      await checkpoint.read(name, shape, tensor.data as Float32Array);
      parameters[name] = tensor;
    }
    return { config: checkpoint.config, generationConfig: checkpoint.generationConfig, specs, parameters };
  } finally {
    await checkpoint.close();
  }
}
