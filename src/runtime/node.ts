import type { Backend, OpenBackend, Provider } from "./backend.ts";
import { HostTensor } from "./lifetime.ts";
import { allocate, checkMemory } from "./memory.ts";
import { ortApi } from "./ort-api.ts";
import { createOrtSession, type OrtProvider, ortTensors, probe } from "./ort-session.ts";

/**
 * Opens ONNX Runtime: on the processor, on a GPU through WebGPU, or its WebAssembly build (slower; for comparison).
 *
 * @throws LongjingError `not_found` or `unsupported` where the library, or an adapter for WebGPU, is missing.
 */
export const openBackend: OpenBackend = async (provider = "cpu") => {
  if (provider === "wasm") return (await import("./web.ts")).webBackend(await import("onnxruntime-web"), provider);
  const name = provider === "webgpu" ? "WebGPU" : undefined;
  if (name) probe(name);
  return nativeBackend(provider, name);
};

function nativeBackend(provider: Provider, name: OrtProvider): Backend {
  const { version, addressOf } = ortApi();
  return {
    provider,
    version,
    createSession: (model, options) => createOrtSession(model, name, options),
    tensor: (dtype, shape) => new HostTensor(ortTensors, dtype, shape, allocate(dtype, shape, addressOf)),
    tensorOver: (dtype, shape, data) => {
      checkMemory(dtype, shape, data);
      return new HostTensor(ortTensors, dtype, shape, data);
    },
  };
}
