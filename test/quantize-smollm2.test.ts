import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { loadTokenizer } from "../src/cli/load-model.ts";
import { ownTexts, textStarts } from "../src/cli/own-text.ts";
import { disposeParameters, loadFrozenModel, loadModel, perplexity } from "../src/engine/index.ts";
import { ggufParameter, quantizeModel, type Calibration, type StoredParameter } from "../src/quantize/index.ts";
import { openCheckpoint, writeGguf } from "../src/weights/index.ts";
import { backend } from "./providers.ts";

/** LONGJING_SMOLLM2 names SmolLM2-135M-Instruct.Q4_1.gguf. */
const path = process.env.LONGJING_SMOLLM2;
const root = join(import.meta.dirname, "..");
const text = (...names: string[]): string => names.map((name) => readFileSync(join(root, name), "utf8")).join("\n");

const calibration = text("test/texts/calibration.txt");
/** Prose and technical English. */
const evaluation = text("test/texts/evaluation.txt", "docs/http-api.md", "docs/architecture.md");

describe.runIf(path !== undefined)("SmolLM2-135M-Instruct", () => {
  let folder: string;
  beforeAll(() => void (folder = mkdtempSync(join(tmpdir(), "quantize-smollm2-"))));
  afterAll(() => rmSync(folder, { recursive: true }));

  const idsOf = async (of: string): Promise<number[]> => (await loadTokenizer(path!)).encode(of);

  async function perplexityOf(load: typeof loadModel | typeof loadFrozenModel, file: string): Promise<number> {
    const on = await backend("cpu");
    const model = await load(on, file);
    const measured = await perplexity(on, model, await idsOf(evaluation));
    disposeParameters(model.parameters);
    return measured.perplexity;
  }

  async function quantized(name: string, calibrated: Calibration | undefined): Promise<string> {
    const checkpoint = await openCheckpoint(path!);
    const { config, generationConfig } = checkpoint;
    const options = { linear: { bits: 4, kind: "symmetric" }, embeddings: { bits: 8, kind: "symmetric" }, head: 16, calibration: calibrated } as const;
    const stored: StoredParameter[] = [];
    for await (const parameter of quantizeModel(config, async (spec) => (await checkpoint.read(spec.name, spec.shape)).data, options)) stored.push(parameter);
    const file = join(folder, `${name}.gguf`);
    await writeGguf(file, { config, generationConfig, metadata: {}, parameters: stored.map(ggufParameter) });
    await checkpoint.close();
    return file;
  }

  test("the file's own blocks, run as they are, predict as well as the same weights in float32", async () => {
    const exact = await perplexityOf(loadModel, path!);
    expect(Math.abs((await perplexityOf(loadFrozenModel, path!)) / exact - 1)).toBeLessThan(0.015);
  }, 300_000);

  test("symmetric blocks of 4 bits lose at most half as much calibrated as to nearest", async () => {
    const exact = await perplexityOf(loadModel, path!);
    const lost = async (file: string): Promise<number> => (await perplexityOf(loadModel, file)) / exact - 1;
    const nearest = await lost(await quantized("nearest", undefined));
    const on = await backend("cpu");
    const model = await loadFrozenModel(on, path!);
    const read = await idsOf(calibration);
    const ids = [...read.slice(0, read.length - (read.length % 512)), ...(await ownTexts(on, model, textStarts(await loadTokenizer(path!)), 21, 512)).flat()];
    disposeParameters(model.parameters);
    const calibrated = await lost(await quantized("calibrated", { backend: on, ids, window: 512 }));
    expect(calibrated).toBeLessThan(nearest / 2);
  }, 1_800_000);
});
