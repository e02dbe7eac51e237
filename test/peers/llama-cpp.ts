/**
 * Writes each model as GGUF in every type, loads the files with llama.cpp, and compares it with our engine on the same files:
 * log-probabilities of every token at every position, and the ids of texts. Then the same for models of its own, in float32. The last line is `N passed, N failed`.
 *
 * usage: llama-cpp.ts PEERS MODEL… with PEERS a folder in which node-llama-cpp is installed
 */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { basename, join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { findExportSource, tokenizerOf } from "../../src/cli/export-source.ts";
import { exportGguf } from "../../src/cli/export-gguf.ts";
import { loadModel } from "../../src/engine/load.ts";
import { initParameters, parameterSpecs, parseConfig } from "../../src/model/index.ts";
import { random } from "../../src/random/index.ts";
import { openBackend } from "../../src/runtime/index.ts";
import { createTokenizer, trainBpe } from "../../src/text/index.ts";
import { forwardBackward } from "../../src/train/index.ts";
import { ggufFileTypes, writeCheckpoint, type GgufFileType } from "../../src/weights/index.ts";
import { fixturesDir } from "../fixtures.ts";

/** What is used of node-llama-cpp. */
interface LlamaModule {
  readonly LlamaLogLevel: { readonly error: unknown };
  getLlama(options: object): Promise<{ loadModel(options: object): Promise<LlamaModel> }>;
}
interface LlamaModel {
  readonly tokens: { readonly bos: number | null; readonly shouldPrependBosToken: boolean };
  tokenize(text: string, specialTokens: boolean): number[];
  isEogToken(token: number): boolean;
  createContext(options: object): Promise<{ getSequence(): LlamaSequence; dispose(): Promise<void> }>;
  dispose(): Promise<void>;
}
interface LlamaSequence {
  controlledEvaluate(input: readonly [number, object][]): Promise<{ readonly next: { readonly probabilities: ReadonlyMap<number, number> } }[]>;
  clearHistory(): Promise<void>;
}

const input_ids = [
  [5, 17, 3, 42, 9, 28, 61, 7],
  [11, 2, 80, 33, 4, 19, 6, 50],
];

/**
 * The bars. float32 differs in the order of sums. Weights in float16 and in blocks are multiplied with activations that llama.cpp
 * rounds to float16, or to 8 bits with a scale for 32 or 256: the differences are a small share of what the logits vary by. It
 * is the median position's, since an expert may be chosen the other way where two are close.
 */
const bars: Readonly<Record<GgufFileType, Bar>> = { F32: { most: 1e-3 }, F16: { share: 0.002 }, Q8_0: { share: 0.03 }, Q4_0: { share: 0.03 }, Q4_K_M: { share: 0.03 } };

interface Bar {
  /** Of any log-probability, in nats. */
  readonly most?: number;
  /** Of the standard deviation of a position's log-probabilities. */
  readonly share?: number;
}

const [peers = "", ...models] = process.argv.slice(2);
const entry = createRequire(join(resolve(peers), "package.json")).resolve("node-llama-cpp");
const { getLlama, LlamaLogLevel } = (await import(pathToFileURL(entry).href)) as LlamaModule;
const llama = await getLlama({ gpu: false, build: "never", progressLogs: false, logLevel: LlamaLogLevel.error });
const backend = await openBackend();
const work = mkdtempSync(join(tmpdir(), "longjing-llama-cpp-"));
let [passed, failed] = [0, 0];

const tiny = { vocab_size: 304, hidden_size: 48, intermediate_size: 64, num_hidden_layers: 2, num_attention_heads: 4, num_key_value_heads: 2, max_position_embeddings: 256 };
const latent = { ...tiny, model_type: "deepseek_v3", num_key_value_heads: 4, q_lora_rank: 24, kv_lora_rank: 16, qk_nope_head_dim: 8, qk_rope_head_dim: 8, v_head_dim: 8, n_routed_experts: 8, n_shared_experts: 1, num_experts_per_tok: 2, n_group: 2, topk_group: 1, moe_intermediate_size: 16, first_k_dense_replace: 1 };
const yarn = { rope_type: "yarn", factor: 4, original_max_position_embeddings: 64 };

/** What llama.cpp computes in its own way, and no golden model has. */
const variants: Readonly<Record<string, object>> = {
  "llama-yarn": { ...tiny, model_type: "llama", rope_scaling: yarn },
  "llama-yarn-attention-factor": { ...tiny, model_type: "llama", rope_scaling: { ...yarn, attention_factor: 0.7 } },
  "llama-linear": { ...tiny, model_type: "llama", rope_scaling: { rope_type: "linear", factor: 2 } },
  "llama-biases": { ...tiny, model_type: "llama", attention_bias: true, mlp_bias: true },
  "qwen2-yarn-two-mscales": { ...tiny, model_type: "qwen2", rope_scaling: { ...yarn, mscale: 2, mscale_all_dim: 0.5 } },
  "deepseek-yarn": { ...latent, rope_scaling: yarn },
  "deepseek-yarn-equal-mscales": { ...latent, rope_scaling: { ...yarn, mscale: 0.7, mscale_all_dim: 0.7 } },
  "deepseek-yarn-two-mscales": { ...latent, rope_scaling: { ...yarn, mscale: 1.5, mscale_all_dim: 0.7 } },
  "deepseek-halves": { ...latent, rope_interleave: false, rope_scaling: { ...yarn, mscale: 1, mscale_all_dim: 1 }, rms_norm_eps: 1e-3 },
};

/** A folder with a model of random weights and a vocabulary of our own. */
async function freshModel(name: string, json: object): Promise<string> {
  const { tokenizerJson, tokenizerConfig } = trainBpe(["banana bandana", "a banana, and a bandana"], { vocabSize: 290 });
  const config = parseConfig({ ...json, eos_token_id: createTokenizer(tokenizerJson, tokenizerConfig).eosId }, name);
  const specs = parameterSpecs(config);
  const data = initParameters(specs, 0.3, random(name));
  // Biases and gains start as zeros and ones, which would hide a mistake.
  const tensors = specs.map((spec) => ({ ...spec, data: spec.init === "normal" ? data[spec.name]! : data[spec.name]!.map((value, i) => value + 0.3 * Math.sin(i + spec.name.length)) }));
  const extraFiles = { "tokenizer.json": JSON.stringify(tokenizerJson), "tokenizer_config.json": JSON.stringify(tokenizerConfig) };
  await writeCheckpoint(join(work, name), { config, tensors, dtype: "float32", extraFiles });
  return join(work, name);
}

try {
  for (const model of models) for (const type of Object.keys(ggufFileTypes) as GgufFileType[]) await check(model, type);
  for (const [name, json] of Object.entries(variants)) await check(await freshModel(name, json), "F32");
} finally {
  rmSync(work, { recursive: true });
}
say(`${passed} passed, ${failed} failed`);
process.exit(failed === 0 ? 0 : 1);

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}

async function check(path: string, type: GgufFileType): Promise<void> {
  const name = `${basename(resolve(path))} as ${type}`;
  try {
    const source = await findExportSource(path);
    const out = join(work, `${passed + failed}.gguf`);
    await exportGguf(source, { out, type, dtype: "float32", rank: 1 });
    const model = await llama.loadModel({ modelPath: out, gpuLayers: 0 });
    const said = [await sameLogits(out, model, bars[type]), await sameTokens(source.path, model)];
    await model.dispose();
    passed++;
    say(`llama.cpp: ${name}: ${said.join(", ")}`);
  } catch (error) {
    failed++;
    say(`FAILED: llama.cpp: ${name}: ${String(error)}`);
  }
}

async function sameLogits(file: string, model: LlamaModel, { most = Infinity, share = Infinity }: Bar): Promise<string> {
  const { config, parameters } = await loadModel(backend, file);
  const { logits } = await forwardBackward(backend, config, parameters, input_ids);
  const context = await model.createContext({ contextSize: 32, threads: 2, flashAttention: false, experimentalKvCacheKeyType: "F32", experimentalKvCacheValueType: "F32" });
  const sequence = context.getSequence();
  const next = { generateNext: { probabilities: true, options: { temperature: 1, topK: 0, topP: 1, minP: 0 } } };
  let largest = 0;
  const shares: number[] = [];
  for (const [b, row] of input_ids.entries()) {
    await sequence.clearHistory();
    const theirs = await sequence.controlledEvaluate(row.map((id) => [id, next]));
    for (const [t, { next: { probabilities } }] of theirs.entries()) {
      const at = (b * row.length + t) * config.vocab_size;
      const ours = logSoftmax(logits.subarray(at, at + config.vocab_size));
      const differences = ours.map((value, id) => value - Math.log(probabilities.get(id)!));
      largest = differences.reduce((a, d) => Math.max(a, Math.abs(d)), largest);
      shares.push(deviation(differences) / deviation(ours));
    }
  }
  await context.dispose();
  const median = shares.toSorted((a, b) => a - b)[shares.length >> 1]!;
  const said = `${input_ids.flat().length} × ${config.vocab_size} log-probabilities differ by ${largest.toExponential(1)} at most, ${(median * 100).toFixed(3)} % in the median`;
  if (!(largest <= most && median <= share)) throw new Error(`${said}; the bar is ${most === Infinity ? `${share * 100} %` : most.toExponential(0)}`);
  return said;
}

/** Root mean square about the mean. */
function deviation(values: Float64Array): number {
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  return Math.sqrt(values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length);
}

function logSoftmax(logits: Float32Array): Float64Array {
  const values = Float64Array.from(logits);
  const peak = values.reduce((a, b) => Math.max(a, b));
  const norm = peak + Math.log(values.reduce((sum, value) => sum + Math.exp(value - peak), 0));
  return values.map((value) => value - norm);
}

/** Texts of the golden tokenizers' cases; llama.cpp normalises nothing, so that those count which are normalised already. */
function texts(): string[] {
  const folder = join(fixturesDir(), "tokenizers");
  const cases = readdirSync(folder).flatMap((name) => (JSON.parse(readFileSync(join(folder, name, "cases.json"), "utf8")) as { cases: { text: string }[] }).cases);
  return [...new Set(cases.map(({ text }) => text))].filter((text) => text === text.normalize("NFC"));
}

async function sameTokens(path: string, model: LlamaModel): Promise<string> {
  const { tokenizerJson, tokenizerConfig } = await tokenizerOf(path);
  const tokenizer = createTokenizer(tokenizerJson, tokenizerConfig);
  const special = Object.values(tokenizer.specialTokens).filter((token) => token !== null).join("Hello, 世界! 12345 + <think>");
  const all = [...texts(), special, `${special} it's\n\n\t  we'LL`];
  for (const text of all) {
    const [ours, theirs] = [tokenizer.encode(text), [...model.tokenize(text, true)]];
    if (JSON.stringify(ours) !== JSON.stringify(theirs)) throw new Error(`${JSON.stringify(text)} has other ids: ${JSON.stringify(theirs)}, ours ${JSON.stringify(ours)}`);
  }
  const begins = tokenizer.bosId !== null && tokenizer.encode("a", { addSpecialTokens: true })[0] === tokenizer.bosId;
  if (model.tokens.shouldPrependBosToken !== begins) throw new Error(`BOS is ${begins ? "not " : ""}put before a text`);
  if (tokenizer.eosId !== null && !model.isEogToken(tokenizer.eosId)) throw new Error("The end token does not end a text");
  return `${all.length} texts with the same ids`;
}
