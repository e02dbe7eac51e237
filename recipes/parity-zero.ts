import { llamaConfig } from "longjing/model";
import { cosine, linear } from "longjing/optim";
import { parity, transcripts, type ParityGold, type Problem } from "longjing/tasks";
import { trainBpe } from "longjing/text";
import { evaluation, grpo, preflightStage, pretrain, type Recipe } from "longjing/train";

/**
 * The cleanest picture of how reinforcement learning makes a model think (Tsilivis et al., arXiv 2510.11495): the parity of a bit
 * string, pretrained on transcripts of which 88 in 100 answer at once and 12 count the ones. Predicting the next token leaves the
 * model near chance; RL finds the rare habit that works, and the completions grow.
 */
const languages = ["en", "zh"] as const;
const corpus = { split: "train", languages, longShare: 0.12 } as const;
const problem = (seed: number, index: number): Problem<ParityGold> => parity.problem({ split: "train", seed: seed + 1, index, language: languages[index % 2]! });
const heldOut = { count: 500, samples: 8, max_tokens: 96, languages };
const pretrainSteps = 800;
const rlSteps = 40;

export const recipe: Recipe = {
  name: "parity-zero",
  description: "Parity of a bit string: RL turns a model that guesses into one that counts",
  tokenizer: () => trainBpe([...transcripts(parity, { ...corpus, seed: 0, count: 2000 })].map((t) => `${t.prompt}${t.completion}`), { vocabSize: 384 }),
  model: (tokenizer) => llamaConfig({ hidden_size: 128, intermediate_size: 384, num_hidden_layers: 2, num_attention_heads: 4 }, tokenizer),
  stages: [
    pretrain({
      steps: pretrainSteps,
      batch: 16,
      time: 160,
      schedule: cosine({ learning_rate: 2e-3, num_warmup_steps: 50, num_training_steps: pretrainSteps, min_lr_rate: 0.1 }),
      documents: (seed, start) => transcripts(parity, { ...corpus, seed, start, count: Number.MAX_SAFE_INTEGER }),
    }),
    evaluation("base", parity, heldOut),
    preflightStage({ task: parity, problem, problems: 50, num_generations: 16, max_tokens: 96 }),
    grpo({
      task: parity,
      problem,
      steps: rlSteps,
      prompts: 16,
      num_generations: 16,
      max_completion_length: 96,
      minibatch: 64,
      schedule: linear({ learning_rate: 2e-4, num_warmup_steps: 4, num_training_steps: rlSteps }),
      loss: { loss_type: "dapo", epsilon_high: 0.28 },
    }),
    evaluation("final", parity, heldOut),
  ],
};
