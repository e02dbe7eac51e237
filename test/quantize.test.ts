import { mkdtempSync, readdirSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { initParameters, llamaConfig, parameterCount, parameterSpecs } from "../src/model/index.ts";
import { folderQuantization, folderTensors, ggufParameter, quantizeModel, type Grid, type StoredParameter } from "../src/quantize/index.ts";
import { random } from "../src/random/index.ts";
import { openCheckpoint, writeCheckpoint, writeGguf } from "../src/weights/index.ts";
import { fixture, hasFixture } from "./fixtures.ts";
import { longjing } from "./launcher.ts";
import { backend } from "./providers.ts";

const texts = { calibration: join(import.meta.dirname, "texts", "calibration.txt"), evaluation: join(import.meta.dirname, "texts", "evaluation.txt") };
let folder: string;
beforeAll(() => void (folder = mkdtempSync(join(tmpdir(), "quantize-"))));
afterAll(() => rmSync(folder, { recursive: true }));

const models = readdirSync(fixture("models")).filter((name) => hasFixture("models", name, "config.json"));
const symmetric: Grid = { bits: 4, kind: "symmetric" };

async function quantized(name: string, linear: Grid, calibrated: boolean): Promise<StoredParameter[]> {
  const checkpoint = await openCheckpoint(fixture("models", name));
  const { vocab_size } = checkpoint.config;
  const ids = Array.from({ length: 300 }, (_, i) => (i * 31 + (i % 7)) % vocab_size);
  const options = { linear, embeddings: symmetric, head: symmetric, calibration: calibrated ? { backend: await backend("cpu"), ids, window: 32 } : undefined };
  const stored: StoredParameter[] = [];
  for await (const parameter of quantizeModel(checkpoint.config, async ({ name: of, shape }) => (await checkpoint.read(of, shape)).data, options)) stored.push(parameter);
  await checkpoint.close();
  return stored;
}

describe.each(models)("%s", (name) => {
  test("is calibrated whole: every parameter once, and to nearest only what is looked up", async () => {
    const stored = await quantized(name, symmetric, true);
    const { config, close } = await openCheckpoint(fixture("models", name));
    await close();
    expect(stored.map(({ spec }) => spec.name).sort()).toEqual(parameterSpecs(config).map((spec) => spec.name).sort());
    for (const { spec, method, bits } of stored) {
      const wanted = spec.quantizable || /embed_tokens|lm_head/.test(spec.name);
      const fits = spec.shape.at(-1)! % 32 === 0;
      expect([spec.name, method, bits]).toEqual([spec.name, !wanted ? "none" : !fits ? "unfit" : spec.name.includes("embed_tokens") ? "rtn" : "gptq", !wanted ? 32 : fits ? 4 : 16]);
    }
  }, 60_000);
});

describe.each([["symmetric", 4], ["minimum", 4], ["symmetric", 8]] as const)("%s blocks of %d bits", (kind, bits) => {
  const config = llamaConfig({ hidden_size: 64, intermediate_size: 96, num_hidden_layers: 2, num_attention_heads: 4, num_key_value_heads: 2 }, { vocabSize: 80, bosId: 1, eosId: 2, padId: 2 });
  const weights = initParameters(parameterSpecs(config), 0.1, random("quantize file"));

  test.each([true, false])("a GGUF file holds them value for value; calibrated: %j", async (calibrated) => {
    const ids = Array.from({ length: 128 }, (_, i) => (i * i + 3 * i) % 80);
    const options = { linear: { bits, kind }, embeddings: { bits, kind }, head: 16, calibration: calibrated ? { backend: await backend("cpu"), ids, window: 64 } : undefined } as const;
    const stored: StoredParameter[] = [];
    for await (const parameter of quantizeModel(config, async ({ name }) => weights[name]!, options)) stored.push(parameter);
    const path = join(folder, `${kind}${bits}${calibrated}.gguf`);
    await writeGguf(path, { config, generationConfig: null, metadata: {}, parameters: stored.map(ggufParameter) });
    const read = await openCheckpoint(path);
    expect(stored.filter(({ matrix }) => matrix !== null)).toHaveLength(1 + 2 * 7);
    // Of zeros the sign may differ.
    for (const { spec, weights: kept } of stored) expect((await read.read(spec.name, spec.shape)).data.every((value, i) => value === kept[i]), spec.name).toBe(true);
    await read.close();
  });
});

describe.each([["symmetric", 4], ["zero_point", 4], ["symmetric", 8], ["zero_point", 8]] as const)("%s groups of %d bits", (kind, bits) => {
  // Rows that are no multiple of what a word holds: the last zero points are padded.
  const config = llamaConfig({ hidden_size: 64, intermediate_size: 96, num_hidden_layers: 1, num_attention_heads: 2, num_key_value_heads: 1 }, { vocabSize: 77, bosId: 1, eosId: 2, padId: 2 });
  const untied = { ...config, tie_word_embeddings: false };
  const weights = initParameters(parameterSpecs(untied), 0.1, random("quantize folder"));

  test.each([["tied", config], ["untied", untied]] as const)("a folder holds them value for value, whole and in blocks; head %s", async (tie, of) => {
    const grid = { bits, kind } as const;
    const stored: StoredParameter[] = [];
    for await (const parameter of quantizeModel(of, async ({ name }) => weights[name]!, { linear: grid, embeddings: 32, head: grid })) stored.push(parameter);
    const path = join(folder, `${kind}${bits}${tie}`);
    await writeCheckpoint(path, { config: of, dtype: "float16", tensors: [], stored: stored.flatMap(folderTensors), quantization_config: folderQuantization(grid, stored) });
    const read = await openCheckpoint(path);
    expect(read.config).toEqual(of);
    expect(read.names).toEqual(parameterSpecs(of).map((spec) => spec.name).toSorted());
    for (const { spec, weights: kept, matrix } of stored) {
      const { data } = await read.read(spec.name, spec.shape);
      // The sum of a code's and a zero's multiple of the scale is rounded once more or less.
      expect(data.every((value, i) => Math.abs(value - kept[i]!) <= 2 ** -20), spec.name).toBe(true);
      const blocks = await read.readBlocks(spec.name, spec.shape);
      expect(blocks === null).toBe(matrix === null);
      if (blocks) expect([blocks.rows, blocks.columns, blocks.bits, blocks.offsets === null]).toEqual([...spec.shape, bits, kind === "symmetric"]);
    }
    await read.close();
  });
});

describe("longjing quantize", () => {
  const model = fixture("models", models.find((name) => name === "qwen3") ?? models[0]!);
  const run = (...args: string[]) => longjing(["quantize", model, ...args, "--json"]);

  test("reports what was stored, and what it costs and saves", async () => {
    const out = join(folder, "report.gguf");
    const { code, stdout, stderr } = await run(out, "--calibrate", texts.calibration, "--calibration-tokens", "12288", "--perplexity", texts.evaluation);
    expect([code, stderr.includes("error")]).toEqual([0, false]);
    const report = JSON.parse(stdout) as { calibration_tokens: number; own_tokens: number; stored: { tensors: number; weights: number }[]; before: Figures; after: Figures };
    const { config, close } = await openCheckpoint(out);
    await close();
    const specs = parameterSpecs(config);
    const sum = (of: (kind: { tensors: number; weights: number }) => number): number => report.stored.reduce((total, kind) => total + of(kind), 0);
    expect([sum((kind) => kind.tensors), sum((kind) => kind.weights)]).toEqual([specs.length, parameterCount(specs)]);
    expect(report.calibration_tokens).toBeGreaterThan(0);
    // Half are from the text at most, and whole windows make up the rest.
    expect(report.calibration_tokens).toBeLessThanOrEqual(6144);
    expect(report.calibration_tokens + report.own_tokens).toBeLessThanOrEqual(12_288);
    expect(report.own_tokens).toBeGreaterThan(0);
    expect(report.before.bytes).toBe(statSync(join(model, "model.safetensors")).size);
    expect(report.after.bytes).toBe(statSync(out).size);
    for (const { perplexity, decode_tokens_per_second, prefill_tokens_per_second } of [report.before, report.after]) {
      expect(perplexity.perplexity).toBeCloseTo(Math.exp(perplexity.nll), 6);
      expect(perplexity.tokens).toBe(report.before.perplexity.tokens);
      expect(decode_tokens_per_second).toBeGreaterThan(0);
      expect(prefill_tokens_per_second).toBeGreaterThan(0);
    }
    const evaluated = await longjing(["eval", out, "--perplexity", texts.evaluation, "--json"]);
    expect(JSON.parse(evaluated.stdout)).toMatchObject({ perplexity: report.after.perplexity.perplexity });
    // Without rounding of what meets the blocks it is another number, and nearly the same.
    const unrounded = JSON.parse((await longjing(["eval", out, "--perplexity", texts.evaluation, "--dtype", "float32", "--json"])).stdout) as { perplexity: number };
    expect(unrounded.perplexity).not.toBe(report.after.perplexity.perplexity);
    expect(unrounded.perplexity / report.after.perplexity.perplexity).toBeCloseTo(1, 1);
    expect((await run(out)).code).not.toBe(0);
  }, 120_000);

  test("writes a folder that is opened again, 8 bits with zero points too", async () => {
    const out = join(folder, "asymmetric8");
    const { code, stdout } = await run(out, "--bits", "8", "--asymmetric", "--perplexity", texts.evaluation);
    expect(code).toBe(0);
    const { before, after, stored } = JSON.parse(stdout) as { before: Figures; after: Figures; stored: { type: string; method: string }[] };
    expect(stored).toContainEqual(expect.objectContaining({ type: "int8", method: "rtn" }));
    expect(Math.abs(after.perplexity.nll - before.perplexity.nll)).toBeLessThan(0.02 * before.perplexity.nll);
    expect((await longjing(["chat", out, "--max-tokens", "2", "--json"], "hi\n")).code).toBe(0);
  }, 120_000);

  test.each([
    [["folder", "--embeddings", "8"], "unsupported"],
    [["folder", "--head", "8"], "unsupported"],
    [["x.gguf", "--bits", "8", "--asymmetric"], "unsupported"],
    [["x.gguf", "--calibrate", "nowhere.txt"], "not_found"],
    [["x.gguf", "--calibrate", texts.evaluation, "--perplexity", texts.evaluation], "bad_argument"],
  ])("%j is refused with %s", async (args, expected) => {
    const { code, stderr } = await run(...args);
    expect(code).not.toBe(0);
    expect(JSON.parse(stderr)).toMatchObject({ error: { code: expected } });
  });
});

interface Figures {
  readonly bytes: number;
  readonly perplexity: { readonly perplexity: number; readonly nll: number; readonly tokens: number };
  readonly decode_tokens_per_second: number;
  readonly prefill_tokens_per_second: number;
}
