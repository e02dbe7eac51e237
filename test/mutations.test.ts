import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { LongjingError } from "../src/errors/index.ts";
import { initParameters, llamaConfig, parameterSpecs, parseConfig } from "../src/model/index.ts";
import { configToText } from "../src/model/config.ts";
import { random } from "../src/random/index.ts";
import { chatRenderer, createTokenizer, ggufTokenizer, longjingTemplate, tokenizerToGguf, trainBpe, type Tokenizer } from "../src/text/index.ts";
import { openGgufCheckpoint } from "../src/weights/gguf-model.ts";
import { loraConfigToText } from "../src/weights/lora-config.ts";
import { bytesSource, encodeSafetensors, openCheckpoint, openGguf, openSafetensors, readAdapter, writeGguf, type Checkpoint } from "../src/weights/index.ts";

/** Files that are tried in all. LONGJING_MUTATIONS sets another number; SEED of a failure is in fast-check's report. */
const mutations = Number(process.env.LONGJING_MUTATIONS ?? 100_000);
/** What any of these files, of a few kilobytes each, may make a process take. */
const mostMemory = 2 ** 30;

// A small model as each kind of file has it.
const files = trainBpe(["tea, water, tea leaves; 12 + 30 = 42"], { vocabSize: 280 });
const plain = createTokenizer(files.tokenizerJson, files.tokenizerConfig);
const config = llamaConfig({ hidden_size: 8, intermediate_size: 8, num_hidden_layers: 1, num_attention_heads: 2 }, plain);
const specs = parameterSpecs(config);
const parameters = initParameters(specs, 0.02, random("mutations"));
const tensors = specs.map(({ name, shape }) => ({ name, dtype: "F32" as const, shape, data: parameters[name]! }));
const adapterTensors = [
  { name: "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight", dtype: "F32" as const, shape: [2, 8], data: new Float32Array(16) },
  { name: "base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight", dtype: "F32" as const, shape: [8, 2], data: new Float32Array(16) },
];

/** Anything but an error of ours fails the test. */
async function orRefused(read: () => unknown): Promise<void> {
  try {
    await read();
  } catch (error) {
    if (!LongjingError.is(error)) throw error;
  }
}

async function readAll(checkpoint: Checkpoint): Promise<void> {
  try {
    for (const name of checkpoint.names) {
      const { shape, data } = await checkpoint.read(name);
      expect(data.length).toBe(shape.reduce((a, b) => a * b, 1));
    }
    for (const { name, shape } of parameterSpecs(checkpoint.config)) checkpoint.info(name, shape);
  } finally {
    await checkpoint.close();
  }
}

function use(tokenizer: Tokenizer): void {
  const { ids } = tokenizer.encodeWithOffsets("tea, 水 <think>12</think>\n");
  tokenizer.decode([...tokenizer.encode("42", { addSpecialTokens: true }), ...ids], { skipSpecialTokens: true });
  if (tokenizer.chatTemplate !== null) chatRenderer(tokenizer.chatTemplate)([{ role: "user", content: "tea?" }], { ...tokenizer.specialTokens, add_generation_prompt: true });
}

/** Bytes that readers take for sizes, counts, offsets, types or the ends of texts. */
const words = [0n, 1n, 2n ** 31n, 2n ** 32n, 2n ** 53n, 2n ** 63n, 2n ** 64n - 1n].map((value) => new Uint8Array(BigUint64Array.of(value).buffer));

/** A few cuts and insertions, most of them in the first `header` bytes. */
function mutatedBytes(valid: Uint8Array, header: number): fc.Arbitrary<Uint8Array> {
  const at = fc.oneof({ arbitrary: fc.nat(header), weight: 4 }, { arbitrary: fc.nat(valid.length), weight: 1 });
  const edit = fc.oneof(
    fc.record({ at, drop: fc.nat(4), insert: fc.uint8Array({ maxLength: 4 }) }),
    fc.record({ at, drop: fc.constant(8), insert: fc.constantFrom(...words) }),
    fc.record({ at, drop: fc.constant(1), insert: fc.constantFrom(..."\"{}[],:\\0912eE-+.").map((char) => new TextEncoder().encode(char)) }),
    fc.record({ at, drop: fc.nat(valid.length), insert: fc.constant(new Uint8Array(0)) }),
  );
  return fc.array(edit, { minLength: 1, maxLength: 4 }).map((edits) => edits.reduce<Uint8Array>((bytes, { at: from, drop, insert }) => Buffer.concat([bytes.subarray(0, from), insert, bytes.subarray(from + drop)]), valid));
}

/** Stands for lists within lists, deeper than JSON.stringify can write. */
const nested = "@nested@";
const hostile: readonly unknown[] = [null, true, false, 0, -1, 0.5, 1e308, -1e308, 2 ** 31, 2 ** 53, 1e-320, "", "a", "../../etc/passwd", "__proto__", "toString", "\0", "\ud800", "x".repeat(10_000), "(a+)+$", "(", "{{ range(10**9) }}", [], [[]], {}, { length: 2 ** 32 }, nested, Array(5000).fill(0)];

/** Every place in a JSON value, as the path to it. */
function places(value: unknown, path: readonly string[] = []): (readonly string[])[] {
  const inside = typeof value === "object" && value !== null ? Object.entries(value).flatMap(([key, child]) => places(child, [...path, key])) : [];
  return [path, ...inside];
}

type Json = Record<string, unknown>;

/** The same value with one place replaced, renamed or gone. */
function changed(json: unknown, path: readonly string[], how: number, put: unknown): unknown {
  const [key, ...rest] = path;
  if (key === undefined) return put;
  const copy: Json = Array.isArray(json) ? ([...(json as unknown[])] as unknown as Json) : { ...(json as Json) };
  if (rest.length > 0 || how > 1) copy[key] = changed(copy[key], rest, how, put);
  else if (how === 0) delete copy[key];
  else copy[`${key} `] = copy[key];
  return copy;
}

/** Text that is no longer the JSON it was: by structure, or by bytes. */
function mutatedJson(text: string): fc.Arbitrary<string> {
  const json: unknown = JSON.parse(text);
  // The thousands of entries of one list are a few of all places.
  const all = places(json).filter((path) => path.length < 3 || !/^(?:vocab|merges|added_tokens)$/.test(path[path.length - 2]!) || Number(path.at(-1)) < 4);
  const edits = fc.array(fc.tuple(fc.constantFrom(...all), fc.nat(9), fc.constantFrom(...hostile)), { minLength: 1, maxLength: 3 });
  const structural = edits.map((list) => {
    let value = json;
    for (const [path, how, put] of list) if (path.every((key, i) => Object.hasOwn(Object(path.slice(0, i).reduce<unknown>((at, k) => Object(at)[k], value)), key))) value = changed(value, path, how, put);
    return (JSON.stringify(value) ?? "null").replaceAll(`"${nested}"`, "[".repeat(50_000) + "]".repeat(50_000));
  });
  return fc.oneof({ arbitrary: structural, weight: 4 }, { arbitrary: mutatedBytes(new TextEncoder().encode(text), text.length).map((bytes) => new TextDecoder().decode(bytes)), weight: 1 });
}

/** A parser, of what JSON.parse lets through. */
const parsing = (parse: (json: unknown) => unknown) => (text: string): Promise<void> => {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    return Promise.resolve();
  }
  return orRefused(() => parse(json));
};

let folder: string;
beforeAll(async () => void (folder = await mkdtemp(join(tmpdir(), "longjing-"))));
afterAll(() => rm(folder, { recursive: true }));

/** Tries `share` of all mutations. */
async function tries<T>(share: number, mutated: fc.Arbitrary<T>, read: (file: T) => Promise<void>): Promise<void> {
  const before = process.memoryUsage.rss();
  let most = 0;
  await fc.assert(
    fc.asyncProperty(mutated, async (file) => {
      await read(file);
      most = Math.max(most, process.memoryUsage.rss());
    }),
    { numRuns: Math.ceil(mutations * share) },
  );
  expect(most - before).toBeLessThan(mostMemory);
}

describe("a mutated file is read, or refused by an error of ours:", { timeout: 3_600_000 }, () => {
  test("GGUF, its model and its tokenizer", async () => {
    const tokenizer = tokenizerToGguf({ ...files, tokenizerConfig: { ...files.tokenizerConfig, chat_template: longjingTemplate } }, config.vocab_size);
    const path = join(folder, "model.gguf");
    await writeGguf(path, { config, generationConfig: null, metadata: tokenizer, parameters: specs.map(({ name, shape }) => ({ name, shape, dtype: "F32", values: async () => parameters[name]! })) });
    const valid = await readFile(path);
    const read = async (bytes: Uint8Array): Promise<void> => {
      await orRefused(async () => readAll(await openGgufCheckpoint(bytesSource(bytes, "model.gguf"))));
      await orRefused(async () => use(ggufTokenizer((await openGguf(bytesSource(bytes, "model.gguf"))).metadata, "model.gguf")));
    };
    await readAll(await openGgufCheckpoint(bytesSource(valid, "model.gguf")));
    use(ggufTokenizer((await openGguf(bytesSource(valid, "model.gguf"))).metadata, "model.gguf"));
    await tries(0.25, mutatedBytes(valid, valid.length - specs.reduce((sum, { shape }) => sum + 4 * shape.reduce((a, b) => a * b, 1), 0)), read);
  });

  test("safetensors", async () => {
    const valid = encodeSafetensors(tensors);
    const headerBytes = 8 + Number(new DataView(valid.buffer, valid.byteOffset).getBigUint64(0, true));
    await tries(0.25, mutatedBytes(valid, headerBytes), (bytes) =>
      orRefused(async () => {
        const opened = await openSafetensors(bytesSource(bytes, "model.safetensors"));
        for (const [name, { shape }] of opened.tensors) expect((await opened.readFloat32(name)).length).toBe(shape.reduce((a, b) => a * b, 1));
      }),
    );
  });

  test("config.json", () => tries(0.2, mutatedJson(configToText(config, "float32")), parsing((json) => parameterSpecs(parseConfig(json, "config.json")))));
  test("tokenizer.json", () => tries(0.15, mutatedJson(JSON.stringify(files.tokenizerJson)), parsing((json) => use(createTokenizer(json, files.tokenizerConfig)))));
  test("tokenizer_config.json", () => tries(0.08, mutatedJson(JSON.stringify({ ...files.tokenizerConfig, chat_template: longjingTemplate })), parsing((json) => use(createTokenizer(files.tokenizerJson, json)))));

  test("the index and other files of a folder", async () => {
    const index = { metadata: { total_size: 1 }, weight_map: Object.fromEntries(specs.map(({ name }, i) => [name, `${i % 2}.safetensors`])) };
    const texts: Record<string, string> = { "config.json": configToText(config, "float32"), "generation_config.json": JSON.stringify({ eos_token_id: [1, 2], temperature: 0.7, do_sample: true }), "model.safetensors.index.json": JSON.stringify(index) };
    for (const [name, text] of Object.entries(texts)) await writeFile(join(folder, name), text);
    for (const shard of [0, 1]) await writeFile(join(folder, `${shard}.safetensors`), encodeSafetensors(tensors.filter((_, i) => i % 2 === shard)));
    await readAll(await openCheckpoint(folder));
    for (const [name, text] of Object.entries(texts)) {
      await tries(0.01, mutatedJson(text), async (mutated) => {
        await writeFile(join(folder, name), mutated);
        await orRefused(async () => readAll(await openCheckpoint(folder)));
      });
      await writeFile(join(folder, name), text);
    }
  });

  test("a LoRA adapter's configuration and weights", async () => {
    const text = loraConfigToText({ r: 2, lora_alpha: 4, use_rslora: false, target_modules: ["q_proj"], rank_pattern: { q_proj: 2 }, alpha_pattern: {} });
    const weights = encodeSafetensors(adapterTensors);
    const [configPath, weightsPath] = [join(folder, "adapter_config.json"), join(folder, "adapter_model.safetensors")];
    await writeFile(configPath, text);
    await writeFile(weightsPath, weights);
    const read = (): Promise<void> => orRefused(() => readAdapter(folder, specs));
    await readAdapter(folder, specs);
    await tries(0.02, mutatedJson(text), (mutated) => writeFile(configPath, mutated).then(read));
    await writeFile(configPath, text);
    await tries(0.02, mutatedBytes(weights, weights.length - 128), (mutated) => writeFile(weightsPath, mutated).then(read));
  });
});
