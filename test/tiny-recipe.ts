import { llamaConfig } from "longjing/model";
import { constant, cosine } from "longjing/optim";
import { parity, transcripts, type ParityGold, type Problem } from "longjing/tasks";
import { trainBpe } from "longjing/text";
import { evaluation, grpo, preflightStage, pretrain, type Recipe } from "longjing/train";

const problem = (seed: number, index: number): Problem<ParityGold> => parity.problem({ split: "train", seed, index, level: 1 });
const corpus = { split: "train", levels: [1], longShare: 0.1 } as const;
const measured = { count: 4, samples: 2, max_tokens: 24, level: 1 };

/** Every kind of stage in a second or two: what is tested is the trainer, not what the model learns. */
export const recipe: Recipe = {
  name: "tiny",
  description: "Every kind of stage, as small as can be",
  tokenizer: () => trainBpe([...transcripts(parity, { ...corpus, seed: 0, count: 100 })].map((t) => `${t.prompt}${t.completion}`), { vocabSize: 300 }),
  model: (tokenizer) => llamaConfig({ hidden_size: 32, intermediate_size: 64, num_hidden_layers: 2, num_attention_heads: 2, num_key_value_heads: 1, max_position_embeddings: 256 }, tokenizer),
  stages: [
    pretrain({
      steps: 30,
      batch: 8,
      time: 96,
      schedule: cosine({ learning_rate: 1e-2, num_warmup_steps: 2, num_training_steps: 30 }),
      documents: (seed, start) => transcripts(parity, { ...corpus, seed, start, count: Number.MAX_SAFE_INTEGER }),
    }),
    evaluation("base", parity, measured),
    preflightStage({ task: parity, problem, problems: 4, num_generations: 4, max_tokens: 24 }),
    // The reference is replaced between checkpoints, so that it is part of what they must hold.
    grpo({
      task: parity,
      problem,
      steps: 8,
      prompts: 4,
      num_generations: 4,
      max_completion_length: 24,
      minibatch: 8,
      schedule: constant({ learning_rate: 1e-3, num_warmup_steps: 1 }),
      loss: { beta: 0.1 },
      reward_weights: { accuracy: 1, format: 1 },
      ref_model_sync_steps: 2,
      log_completions_steps: 4,
    }),
    evaluation("final", parity, measured),
  ],
};
