import { deepseekConfig } from "longjing/model";
import { warmupStableDecay } from "longjing/optim";
import { gymTask, readEntries, transcripts, type Entry, type Task } from "longjing/tasks";
import { trainWordVocabulary } from "longjing/text";
import { base, type Bucket, type Recipe } from "longjing/train";

/**
 * DeepSeek-V3's architecture at 1.3 million parameters, trained on reasoning-gym's problems worked through step by step. The
 * problems are imported first, by `sh scripts/r1-nano-problems.sh PUBLISHED.json`.
 */
const problems = "data/r1-nano.jsonl";
const pretraining = { aiw: 3, count_primes: 16, n_queens: 16, emoji_mystery: 10, modulo_grid: 9, figlet_font: 5, ab: 14, string_insertion: 7, palindrome_generation: 8, decimal_chain_sum: 9, shortest_path: 0.8, rotten_oranges: 0.8, maze: 0.8 };
/** More of what is close to its mark, and what is answered without being worked out: there the mark is low. */
const annealing = { aiw: 45, count_primes: 25, figlet_font: 8, modulo_grid: 4, ab: 4, n_queens: 4, emoji_mystery: 2, bf: 0.8, rush_hour: 0.8, shortest_path: 0.5, rotten_oranges: 0.8, maze: 0.5 };
const buckets: readonly Bucket[] = [
  { time: 128, batch: 16 },
  { time: 192, batch: 12 },
  { time: 256, batch: 9 },
  { time: 320, batch: 8 },
  { time: 384, batch: 6 },
  { time: 448, batch: 6 },
];
const optimizer = { beta2: 0.98, weight_decay: 0.01 };
/** Prompts at full length, a few. */
const longBuckets: readonly Bucket[] = [
  { time: 576, batch: 4 },
  { time: 768, batch: 3 },
  { time: 1088, batch: 2 },
  { time: 1600, batch: 1 },
  { time: 2304, batch: 1 },
  { time: 3200, batch: 1 },
];
const [pretrainSteps, annealSteps] = [6000, 1500];

let entries: readonly Entry[] | null = null;
const tasks = new Map<object, Task<Entry>>();
/** Read when a stage starts: the recipe can be listed without its problems. */
const taskOf = (weights: Readonly<Record<string, number>>): Task<Entry> => {
  const task = tasks.get(weights) ?? gymTask((entries ??= readEntries(problems)), weights);
  tasks.set(weights, task);
  return task;
};
const document = (weights: Readonly<Record<string, number>>) => (seed: number, index: number) => transcripts(taskOf(weights), { split: "train", seed, start: index, count: 1 }).next().value as { prompt: string; completion: string };

export const recipe: Recipe = {
  name: "r1-nano",
  description: "DeepSeek-V3's architecture in small, trained to think through reasoning-gym's problems",
  // Drawings made of letters have no words.
  tokenizer: () => trainWordVocabulary([...transcripts(taskOf({ ...pretraining, figlet_font: 0 }), { split: "train", seed: 0, count: 5000 })].map((t) => t.prompt), { vocabSize: 1024, minFrequency: 12 }),
  model: (tokenizer) => deepseekConfig({ hidden_size: 128, intermediate_size: 384, moe_intermediate_size: 32, num_hidden_layers: 5, num_attention_heads: 4, n_routed_experts: 8, num_experts_per_tok: 2, n_shared_experts: 2, kv_lora_rank: 48 }, tokenizer),
  stages: [
    base({
      steps: pretrainSteps,
      buckets,
      optimizer,
      schedule: warmupStableDecay({ learning_rate: 2e-3, num_warmup_steps: 100, num_stable_steps: pretrainSteps - 100, num_decay_steps: 0 }),
      document: document(pretraining),
    }),
    base({
      name: "anneal",
      steps: annealSteps,
      buckets: [...buckets, ...longBuckets],
      optimizer,
      schedule: warmupStableDecay({ learning_rate: 1.5e-3, num_warmup_steps: 30, num_stable_steps: 470, num_decay_steps: 1000, min_lr_ratio: 1 / 15 }),
      document: document(annealing),
    }),
  ],
};
