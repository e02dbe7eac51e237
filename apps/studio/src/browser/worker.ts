/// <reference lib="webworker" />
import wasm from "onnxruntime-web/ort-wasm-simd-threaded.wasm?url";
import { compileSpec } from "../../../../src/constrain/index.ts";
import { Generator } from "../../../../src/engine/generator.ts";
import { ModelRunner } from "../../../../src/engine/model-runner.ts";
import { parameterSpecs, parseConfig } from "../../../../src/model/index.ts";
import { openBackend } from "../../../../src/runtime/web.ts";
import type { DeviceTensor } from "../../../../src/runtime/backend.ts";
import { chatEvents } from "../../../../src/serve/chat-events.ts";
import { parseChatRequest } from "../../../../src/serve/chat-request.ts";
import { toChunks } from "../../../../src/serve/chat-wire.ts";
import type { ServedModel } from "../../../../src/serve/model.ts";
import { textInterface } from "../../../../src/serve/text-interface.ts";
import { createTokenizer } from "../../../../src/text/index.ts";
import { bytesSource } from "../../../../src/weights/byte-source.ts";
import { openSafetensors } from "../../../../src/weights/safetensors.ts";
import type { ChatChunk } from "../api.ts";
import type { Asked, Told } from "./protocol.ts";

// The whole engine in a worker of the page: the same requests, events and chunks as the server's, from files beside the page.
declare const self: DedicatedWorkerGlobalScope;

const models = new Map<string, Promise<ServedModel>>();
const running = new Map<number, AbortController>();
const tell = (told: Told): void => self.postMessage(told);

self.addEventListener("message", ({ data }: MessageEvent<Asked>) => {
  if (data.type === "abort") running.get(data.id)?.abort();
  else void answer(data);
});

async function answer({ id, path, options }: Extract<Asked, { type: "chat" }>): Promise<void> {
  const abort = new AbortController();
  running.set(id, abort);
  try {
    const model = await find(path);
    const { events } = await chatEvents(model, parseChatRequest({ ...options, stream: true }), abort.signal);
    const head = { id: `chatcmpl-${id}`, created: model.created, model: model.id, system_fingerprint: model.system_fingerprint };
    for await (const chunk of toChunks(head, 1, events)) tell({ id, type: "chunk", chunk: chunk as unknown as ChatChunk });
    tell({ id, type: "end" });
  } catch (error) {
    tell({ id, type: "error", message: error instanceof Error ? error.message : String(error) });
  } finally {
    running.delete(id);
  }
}

/** Loaded once; a load that failed is tried again when it is next asked for. */
function find(path: string): Promise<ServedModel> {
  const found = models.get(path) ?? load(path);
  models.set(path, found);
  found.catch(() => models.delete(path));
  return found;
}

async function load(path: string): Promise<ServedModel> {
  const file = async (name: string): Promise<Response> => {
    const response = await fetch(new URL(`${path}/${name}`, self.location.href));
    if (!response.ok) throw new Error(`${name} of the model cannot be had: ${response.status}`);
    return response;
  };
  const [configJson, tokenizerJson, tokenizerConfig, weights] = await Promise.all([file("config.json").then((r) => r.json()), file("tokenizer.json").then((r) => r.json()), file("tokenizer_config.json").then((r) => r.json()), file("model.safetensors").then((r) => r.arrayBuffer())]);
  const config = parseConfig(configJson, `${path}/config.json`);
  const tokenizer = createTokenizer(tokenizerJson, tokenizerConfig);
  // The build of ONNX Runtime that the page brings, wherever the page lies.
  const { env } = await import("onnxruntime-web/wasm");
  env.wasm.wasmPaths = { wasm: new URL(wasm, self.location.href).href };
  const backend = await openBackend("wasm");
  const stored = await openSafetensors(bytesSource(new Uint8Array(weights), `${path}/model.safetensors`));
  const frozen: Record<string, DeviceTensor> = {};
  for (const { name, shape } of parameterSpecs(config)) {
    const tensor = backend.tensor("float32", shape);
    await stored.readFloat32(name, tensor.data);
    frozen[name] = tensor;
  }
  const runner = new ModelRunner(backend, config, { max_num_seqs: 1, max_model_len: Math.min(config.max_position_embeddings, 2048), frozen });
  return {
    id: path,
    created: 0,
    system_fingerprint: "browser",
    engine: new Generator(runner, {}),
    ...textInterface(tokenizer, [], async (...asked) => compileSpec(...asked)),
  };
}
