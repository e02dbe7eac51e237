import { llamaConfig } from "longjing/model";
import { cosine, linear } from "longjing/optim";
import { guess, transcripts, type GuessGold, type Problem } from "longjing/tasks";
import { hermes, toolInstructions, trainBpe } from "longjing/text";
import { evaluation, grpo, preflightStage, pretrain, type Recipe } from "longjing/train";

/**
 * A task of several turns with a tool: find a number among 15 by four comparisons. Of the transcripts that the base model is
 * pretrained on, half compare anything in the range, and half halve what is left. RL samples whole conversations, in which the
 * tool answers, and learns from the model's own tokens alone: it finds that halving pays.
 */
const languages = ["en"] as const;
const level = 3;
const corpus = { split: "train", languages, levels: [level], longShare: 0.5 } as const;
const problem = (seed: number, index: number): Problem<GuessGold> => guess.problem({ split: "train", seed: seed + 1, index, level });
const heldOut = { count: 64, samples: 8, max_tokens: 240, languages, level };
const pretrainSteps = 700;
const rlSteps = 90;

const texts = (count: number): string[] =>
  [...transcripts(guess, { ...corpus, seed: 0, count })].flatMap(({ prompt, completion, tools = [], exchanges = [] }) => [
    toolInstructions(hermes, tools),
    `${prompt}${completion}`,
    ...exchanges.flatMap((e) => [...e.messages.map((m) => `<tool_response>\n${String(m.content)}\n</tool_response>`), e.completion]),
  ]);

export const recipe: Recipe = {
  name: "guess-tools",
  description: "Find a number by a tool that compares: RL over several turns turns guessing into halving",
  tokenizer: () => trainBpe(texts(500), { vocabSize: 512 }),
  model: (tokenizer) => llamaConfig({ hidden_size: 128, intermediate_size: 384, num_hidden_layers: 2, num_attention_heads: 4 }, tokenizer),
  stages: [
    pretrain({
      steps: pretrainSteps,
      batch: 8,
      time: 384,
      schedule: cosine({ learning_rate: 1.5e-3, num_warmup_steps: 50, num_training_steps: pretrainSteps, min_lr_rate: 0.1 }),
      documents: (seed, start) => transcripts(guess, { ...corpus, seed, start, count: Number.MAX_SAFE_INTEGER }),
    }),
    evaluation("base", guess, heldOut),
    preflightStage({ task: guess, problem, problems: 32, num_generations: 8, max_tokens: 240 }),
    grpo({
      task: guess,
      problem,
      steps: rlSteps,
      prompts: 8,
      num_generations: 8,
      max_completion_length: 240,
      max_turn_length: 64,
      minibatch: 16,
      schedule: linear({ learning_rate: 3e-4, num_warmup_steps: 2, num_training_steps: rlSteps }),
      loss: { loss_type: "dapo", epsilon_high: 0.28 },
    }),
    evaluation("final", guess, heldOut),
  ],
};
