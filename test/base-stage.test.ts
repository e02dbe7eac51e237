import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { deepseekConfig } from "../src/model/index.ts";
import { constant } from "../src/optim/index.ts";
import { random } from "../src/random/index.ts";
import { base, readLog, runRecipe, withoutClock, type BaseOptions, type LogLine, type Recipe } from "../src/train/index.ts";
import { trainWordVocabulary } from "../src/text/index.ts";
import { backend } from "./providers.ts";

const dir = mkdtempSync(join(tmpdir(), "longjing-base-"));
afterAll(() => rmSync(dir, { recursive: true, force: true }));

const steps = 30;

/** A word, said again; of two lengths, so that both buckets are used and documents wait. */
const document: BaseOptions["document"] = (seed, index) => {
  const stream = random("echo", seed, index);
  const word = Array.from({ length: stream.pick([4, 20]) }, () => stream.pick([..."abcd"])).join("");
  return { prompt: word, completion: word };
};

const recipe = (options: Partial<BaseOptions> = {}): Recipe => ({
  name: "echo",
  description: "Says words again",
  tokenizer: () => trainWordVocabulary([], { vocabSize: 280 }),
  model: (tokenizer) => deepseekConfig({ hidden_size: 32, intermediate_size: 48, moe_intermediate_size: 16, num_hidden_layers: 2, num_attention_heads: 2, n_routed_experts: 4, num_experts_per_tok: 1, kv_lora_rank: 16, qk_rope_head_dim: 8, v_head_dim: 16 }, tokenizer),
  stages: [base({ steps, buckets: [{ time: 16, batch: 4 }, { time: 48, batch: 3 }], schedule: constant({ learning_rate: 5e-3 }), document, ...options })],
});

async function train(name: string, recipe: Recipe, { stopAt = Number.POSITIVE_INFINITY, seed = 1 } = {}): Promise<LogLine[]> {
  const stop = new AbortController();
  const folder = join(dir, name);
  await runRecipe(recipe, { backend: await backend("cpu"), dir: folder, resume: true, seed, cores: 1, now: () => 0, signal: stop.signal, report: (event) => "step" in event && event.step >= stopAt && stop.abort() });
  return withoutClock(readLog(join(folder, "log.jsonl"))) as LogLine[];
}
const mean = (lines: readonly LogLine[], metric: string): number => lines.reduce((sum, line) => sum + (line[metric] as number), 0) / lines.length;

describe("base", () => {
  test("resumed, with documents waiting, equals a run that was never stopped", async () => {
    const straight = await train("straight", recipe());
    await train("stopped", recipe(), { stopAt: 7 });
    await train("stopped", recipe(), { stopAt: 19 });
    expect(await train("stopped", recipe())).toEqual(straight);
    const weights = (name: string): Buffer => readFileSync(join(dir, name, "checkpoints", `base-step-${steps}`, "model.safetensors"));
    expect(weights("stopped").equals(weights("straight"))).toBe(true);
    expect(new Set(straight.filter((l) => l["type"] === "metrics").map((l) => l["row_length"]))).toEqual(new Set([16, 48]));
  });

  test("the loss is the sum of its parts, each with its weight", async () => {
    const lines = (await train("parts", recipe({ mtp_loss_weight: () => 0.5, sequence_balance_coef: 0.25 }))).filter((l) => l["type"] === "metrics");
    for (const line of lines) {
      const [nll, mtp, balance] = [line["nll"], line["mtp_loss"], line["balance_loss"]] as [number, number, number];
      expect(line["loss"]).toBeCloseTo(nll + 0.5 * mtp + 0.25 * balance, 4);
    }
  });

  test("the router's bias spreads the load, and nothing does without it", async () => {
    // A step that is small beside the spread of the scores: a large one moves every token to the next expert at once.
    const options = { steps: 150, buckets: [{ time: 48, batch: 4 }], sequence_balance_coef: 0 };
    const late = async (bias_update_speed: number): Promise<number> => {
      const violations = [];
      for (const seed of [1, 2, 3]) {
        const lines = await train(`speed-${bias_update_speed}-${seed}`, recipe({ ...options, bias_update_speed }), { seed });
        violations.push(mean(lines.filter((l) => l["type"] === "metrics").slice(-20), "max_violation/mean"));
      }
      return violations.reduce((a, b) => a + b) / violations.length;
    };
    expect(await late(0.001)).toBeLessThan(0.75 * (await late(0)));
  }, 60_000);

  test("refuses documents of which none fits", async () => {
    await expect(train("long", recipe({ buckets: [{ time: 2, batch: 1 }] }))).rejects.toThrow(/No document fits/);
  });
});
