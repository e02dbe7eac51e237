// What balancing by a bias and multi-token prediction do to pretraining: the same small model of DeepSeek-V3's architecture, on the
// same documents that no step sees twice, with one thing changed at a time. Means over the last fifth of the steps.
//
//   npx tsx --conditions source bench/base-ablation.ts [STEPS [SEEDS [PART-OF-A-VARIANT'S-NAME [WIDTH [LAYERS]]]]]
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { deepseekConfig } from "../src/model/index.ts";
import { warmupStableDecay } from "../src/optim/index.ts";
import { openBackend } from "../src/runtime/index.ts";
import { tasks, transcripts, type Task } from "../src/tasks/index.ts";
import { trainBpe } from "../src/text/index.ts";
import { base, readLog, runRecipe, type BaseOptions, type Recipe, type TextPair } from "../src/train/index.ts";

const [steps, seeds, wanted] = [Number(process.argv[2] ?? 400), Number(process.argv[3] ?? 3), process.argv[4] ?? ""];
const [width, layers] = [Number(process.argv[5] ?? 64), Number(process.argv[6] ?? 4)];

const subjects = Object.values(tasks).filter((task) => !task.environment) as readonly Task<unknown>[];
const document = (seed: number, index: number): TextPair => transcripts(subjects[index % subjects.length]!, { split: "train", seed, start: index, count: 1 }).next().value!;
const texts = Array.from({ length: 600 }, (_, index) => document(1_000, index)).map(({ prompt, completion }) => `${prompt} ${completion}`);

const variants: Readonly<Record<string, Partial<BaseOptions>>> = {
  "bias, sequence-wise loss (DeepSeek-V3)": {},
  "auxiliary loss 0.01": { bias_update_speed: 0, sequence_balance_coef: 0, router_aux_loss_coef: 0.01 },
  "no balancing": { bias_update_speed: 0, sequence_balance_coef: 0 },
  "DeepSeek-V3 without multi-token prediction": { mtp_loss_weight: () => 0 },
};

const recipe = (options: Partial<BaseOptions>): Recipe => ({
  name: "base-ablation",
  description: "One variant",
  tokenizer: () => trainBpe(texts, { vocabSize: 512 }),
  model: (tokenizer) => deepseekConfig({ hidden_size: width, intermediate_size: 3 * width, moe_intermediate_size: width / 2, num_hidden_layers: layers, num_attention_heads: 4, n_routed_experts: 8, num_experts_per_tok: 2, kv_lora_rank: width / 2, qk_rope_head_dim: 16, v_head_dim: width / 4 }, tokenizer),
  stages: [
    base({
      steps,
      buckets: [{ time: 96, batch: 12 }, { time: 160, batch: 8 }],
      schedule: warmupStableDecay({ learning_rate: 3e-3, num_warmup_steps: 20, num_stable_steps: Math.floor(0.6 * steps), num_decay_steps: Math.ceil(0.4 * steps) - 20 }),
      document,
      ...options,
    }),
  ],
});

const backend = await openBackend();
const folder = mkdtempSync(join(tmpdir(), "longjing-ablation-"));
for (const [name, options] of Object.entries(variants).filter(([variant]) => variant.includes(wanted))) {
  const rows: { readonly nll: number; readonly violation: number }[] = [];
  for (let seed = 0; seed < seeds; seed++) {
    const dir = join(folder, `${Object.keys(variants).indexOf(name)}-${seed}`);
    await runRecipe(recipe(options), { backend, dir, resume: false, seed, cores: 1, now: () => performance.now() / 1000, checkpointEvery: steps });
    const lines = readLog(join(dir, "log.jsonl")).filter((line) => line["type"] === "metrics").slice(-Math.ceil(steps / 5));
    const mean = (metric: string): number => lines.reduce((sum, line) => sum + (line[metric] as number), 0) / lines.length;
    rows.push({ nll: mean("nll"), violation: mean("max_violation/mean") });
  }
  const of = (key: "nll" | "violation"): number[] => rows.map((row) => Number(row[key].toFixed(4)));
  console.log(JSON.stringify({ variant: name, steps, nll: of("nll"), max_violation: of("violation") }));
}
rmSync(folder, { recursive: true });
