import { openedOwnKernels, openOwnKernels } from "./own-kernels.ts";
import type { Backend, OpenBackend } from "./backend.ts";
import { HostTensor } from "./lifetime.ts";
import { allocate, checkMemory } from "./memory.ts";
import { ortApi } from "./ort-api.ts";
import { createOrtSession, ortProviders, ortTensors, probe } from "./ort-session.ts";

/**
 * Opens ONNX Runtime: on the processor, on a GPU through WebGPU, or its WebAssembly build (slower; for comparison).
 *
 * @throws LongjingError `not_found` or `unsupported` where the library, or an adapter for WebGPU, is missing.
 */
export const openBackend: OpenBackend = async (provider = "cpu") => {
  if (provider === "wasm") return (await import("./web.ts")).webBackend(await import("onnxruntime-web"), provider);
  return nativeBackend(provider);
};

function nativeBackend(provider: keyof typeof ortProviders): Backend {
  const { version, addressOf } = ortApi();
  probe(ortProviders[provider]);
  return {
    provider,
    version,
    hasOwnKernels: async () => provider === "cpu" && !("missing" in (await openOwnKernels())),
    get ownFunctions() {
      return openedOwnKernels() ?? null;
    },
    createSession: (model, options) => createOrtSession(model, ortProviders[provider], options),
    tensor: (dtype, shape) => new HostTensor(ortTensors, dtype, shape, allocate(dtype, shape, addressOf)),
    tensorOver: (dtype, shape, data) => {
      checkMemory(dtype, shape, data);
      return new HostTensor(ortTensors, dtype, shape, data);
    },
  };
}
