import { openedOwnKernels, openOwnKernels } from "./own-kernels.ts";
import type { Backend, OpenBackend } from "./backend.ts";
import { HostTensor, viewOf } from "./lifetime.ts";
import { allocate } from "./memory.ts";
import { ortApi } from "./ort-api.ts";
import { programStore } from "./program-store.ts";
import { createOrtSession, initializerFile, openLibrary, ortProviders, ortTensors, probe } from "./ort-session.ts";

/**
 * Opens ONNX Runtime: on the processor, on a GPU through WebGPU, or its WebAssembly build (slower; for comparison).
 *
 * @throws LongjingError `not_found` or `unsupported` where the library, or an adapter for WebGPU, is missing.
 */
export const openBackend: OpenBackend = async (provider = "cpu") => {
  if (provider === "wasm") return (await import("./web.ts")).webBackend(await import("onnxruntime-web"), provider);
  await openLibrary();
  return nativeBackend(provider);
};

function nativeBackend(provider: keyof typeof ortProviders): Backend {
  const { version, addressOf } = ortApi();
  probe(ortProviders[provider]);
  return {
    provider,
    version,
    initializerFile,
    hasOwnKernels: async () => provider === "cpu" && !("missing" in (await openOwnKernels())),
    ownFunctions: () => openedOwnKernels() ?? null,
    programs: programStore(),
    createSession: (model, options) => createOrtSession(model, ortProviders[provider], options),
    tensor: (dtype, shape, lasting) => {
      const own = lasting && openedOwnKernels();
      const data = allocate(dtype, shape, addressOf, own !== undefined);
      if (lasting === "dense") own?.wishLargePages(data);
      return new HostTensor(ortTensors, dtype, shape, data, own && (() => own.giveBack(data)));
    },
    tensorOver: (...given) => viewOf(ortTensors, ...given),
  };
}
