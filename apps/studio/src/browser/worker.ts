/// <reference lib="webworker" />
import webgpuBuild from "onnxruntime-web/ort-wasm-simd-threaded.asyncify.wasm?url";
import wasmBuild from "onnxruntime-web/ort-wasm-simd-threaded.wasm?url";
import { compileSpec } from "../../../../src/constrain/index.ts";
import { Generator } from "../../../../src/engine/generator.ts";
import { ModelRunner } from "../../../../src/engine/model-runner.ts";
import { parameterSpecs, parseConfig, type ModelConfig } from "../../../../src/model/index.ts";
import { openBackend } from "../../../../src/runtime/web.ts";
import type { DeviceTensor, Provider } from "../../../../src/runtime/backend.ts";
import { chatEvents } from "../../../../src/serve/chat-events.ts";
import { parseChatRequest } from "../../../../src/serve/chat-request.ts";
import { toChunks } from "../../../../src/serve/chat-wire.ts";
import type { ServedModel } from "../../../../src/serve/model.ts";
import { textInterface } from "../../../../src/serve/text-interface.ts";
import { createTokenizer, type Tokenizer } from "../../../../src/text/index.ts";
import { bytesSource } from "../../../../src/weights/byte-source.ts";
import { openSafetensors } from "../../../../src/weights/safetensors.ts";
import type { ChatChunk } from "../api.ts";
import type { Asked, Compute, Told } from "./protocol.ts";

// The whole engine in a worker of the page: the same requests, events and chunks as the server's, from files beside the page.
declare const self: DedicatedWorkerGlobalScope;

/** By what computes them, and their folder. */
const models = new Map<string, Promise<ServedModel>>();
const running = new Map<number, AbortController>();
const tell = (told: Told): void => self.postMessage(told);

self.addEventListener("message", ({ data }: MessageEvent<Asked>) => {
  if (data.type === "abort") running.get(data.id)?.abort();
  else void answer(data);
});

async function answer({ id, path, options, compute }: Extract<Asked, { type: "chat" }>): Promise<void> {
  const abort = new AbortController();
  running.set(id, abort);
  try {
    const model = await find(path, compute);
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
function find(path: string, compute: Compute): Promise<ServedModel> {
  const key = `${compute} ${path}`;
  const found = models.get(key) ?? load(path, compute);
  models.set(key, found);
  found.catch(() => models.delete(key));
  return found;
}

/** Files of a model, read. */
interface Stored {
  readonly config: ModelConfig;
  readonly tokenizer: Tokenizer;
  readonly weights: Awaited<ReturnType<typeof openSafetensors>>;
}

async function load(path: string, compute: Compute): Promise<ServedModel> {
  const stored = await read(path);
  const { provider, runner } = await runnerOf(stored, compute);
  return {
    id: path,
    created: 0,
    system_fingerprint: provider,
    engine: new Generator(runner, {}),
    ...textInterface(stored.tokenizer, [], async (...asked) => compileSpec(...asked)),
  };
}

async function read(path: string): Promise<Stored> {
  const file = async (name: string): Promise<Response> => {
    const response = await fetch(new URL(`${path}/${name}`, self.location.href));
    if (!response.ok) throw new Error(`${name} of the model cannot be had: ${response.status}`);
    return response;
  };
  const json = async (name: string): Promise<unknown> => (await file(name)).json();
  const [config, tokenizer, tokenizerConfig, weights] = await Promise.all([json("config.json"), json("tokenizer.json"), json("tokenizer_config.json"), file("model.safetensors").then((r) => r.arrayBuffer())]);
  return {
    config: parseConfig(config, `${path}/config.json`),
    tokenizer: createTokenizer(tokenizer, tokenizerConfig),
    weights: await openSafetensors(bytesSource(new Uint8Array(weights), `${path}/model.safetensors`)),
  };
}

interface Ready {
  readonly provider: Provider;
  readonly runner: ModelRunner;
}

/**
 * A small model's step takes a GPU longer than a processor, a large one's less: where there is a GPU that is none in software, both
 * are tried.
 */
async function runnerOf(stored: Stored, compute: Compute): Promise<Ready> {
  if (compute !== "auto") return open(stored, compute);
  const wasm = await open(stored, "wasm");
  const adapter = await (navigator as { gpu?: { requestAdapter(): Promise<{ readonly info: { readonly isFallbackAdapter?: boolean } } | null> } }).gpu?.requestAdapter();
  if (!adapter || adapter.info.isFallbackAdapter) return wasm;
  // A driver may lack what a model needs.
  const webgpu = await open(stored, "webgpu").catch(() => null);
  if (webgpu === null) return wasm;
  const [faster, other] = (await secondsOf(webgpu)) < (await secondsOf(wasm)) ? [webgpu, wasm] : [wasm, webgpu];
  await other.runner.dispose();
  return faster;
}

async function open({ config, weights }: Stored, provider: "webgpu" | "wasm"): Promise<Ready> {
  // The builds of ONNX Runtime that the page brings, wherever the page lies.
  const { env } = provider === "webgpu" ? await import("onnxruntime-web/webgpu") : await import("onnxruntime-web/wasm");
  env.wasm.wasmPaths = { wasm: new URL(provider === "webgpu" ? webgpuBuild : wasmBuild, self.location.href).href };
  const backend = await openBackend(provider);
  const frozen: Record<string, DeviceTensor> = {};
  for (const { name, shape } of parameterSpecs(config)) {
    const tensor = backend.tensor("float32", shape);
    await weights.readFloat32(name, tensor.data);
    frozen[name] = tensor;
  }
  const runner = new ModelRunner(backend, config, { max_num_seqs: 1, max_model_len: Math.min(config.max_position_embeddings, 2048), frozen, session: { resident: true } });
  return { provider, runner };
}

/** What some tokens take, one after another, behind one that is not counted. */
async function secondsOf({ runner }: Ready): Promise<number> {
  const tokens = 16;
  for (const past of [0, 1]) await runner.extend({}, 0, past, [0], 1, false);
  const start = performance.now();
  for (let t = 0; t < tokens; t++) await runner.extend({}, 0, 2 + t, [0], 1, false);
  return (performance.now() - start) / 1000;
}
