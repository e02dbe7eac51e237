import { constant } from "longjing/optim";
import { parity, transcripts, type ParityGold, type Problem } from "longjing/tasks";
import { grpo, sft, type Recipe, type TextPair } from "longjing/train";

const problem = (seed: number, index: number): Problem<ParityGold> => parity.problem({ split: "train", seed, index, level: 1 });
export const document = (seed: number, index: number): TextPair => transcripts(parity, { split: "train", levels: [1], longShare: 0.5, seed, start: index, count: 1 }).next().value as TextPair;
export const schedule = constant({ learning_rate: 3e-3, num_warmup_steps: 1 });

/** An adapter on a model that is there, by supervision and by reinforcement against a reference, as small as can be. */
export const recipe: Recipe = {
  name: "tiny-lora",
  description: "A LoRA adapter through fine-tuning and GRPO",
  lora: { r: 4, lora_alpha: 8 },
  stages: [
    sft({ steps: 12, buckets: [{ time: 64, batch: 4 }, { time: 96, batch: 4 }], schedule, document }),
    grpo({ task: parity, problem, steps: 6, prompts: 4, num_generations: 4, max_completion_length: 24, minibatch: 8, schedule, loss: { beta: 0.1 }, reward_weights: { accuracy: 1, format: 1 }, ref_model_sync_steps: 2 }),
  ],
};
