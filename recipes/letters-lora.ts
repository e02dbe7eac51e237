import { constant, cosine } from "longjing/optim";
import { random } from "longjing/random";
import { letters, type LettersGold, type Problem } from "longjing/tasks";
import { evaluation, grpo, sft, type Recipe, type TextPair } from "longjing/train";

// Words of three to six letters. What is learnt from is in the half of the problems that no evaluation asks for.
const problem = (seed: number, index: number): Problem<LettersGold> => letters.problem({ split: "train", seed, index, level: 1 });
const document = (seed: number, index: number): TextPair => {
  const posed = problem(seed, 1_000_000 + index);
  return { prompt: posed.prompt, completion: letters.solution(posed, random("letters-lora", seed, index)) };
};
const measured = { count: 100, samples: 2, max_tokens: 40, level: 1, languages: ["en"] } as const;

/**
 * How often a letter occurs in a word, which models that see tokens get wrong, taught to an open model by an adapter: to spell the word
 * and count along, by 240 demonstrations, and then by reinforcement (docs/log.md says what each gave). For SmolLM2-135M-Instruct, in its 4-bit file:
 * longjing train recipes/letters-lora.ts --base SmolLM2-135M-Instruct.Q4_1.gguf --out runs/letters
 */
export const recipe: Recipe = {
  name: "letters-lora",
  description: "An open model learns to count letters, by a LoRA adapter: demonstrations, then GRPO",
  lora: { r: 16, lora_alpha: 32, target_modules: "all-linear" },
  stages: [
    evaluation("before", letters, measured),
    sft({
      steps: 30,
      buckets: [{ time: 72, batch: 8 }],
      schedule: cosine({ learning_rate: 1e-3, num_warmup_steps: 3, num_training_steps: 30 }),
      optimizer: { weight_decay: 0 },
      document,
    }),
    evaluation("demonstrated", letters, measured),
    grpo({
      task: letters,
      problem,
      steps: 15,
      prompts: 8,
      num_generations: 8,
      max_completion_length: 40,
      minibatch: 32,
      schedule: constant({ learning_rate: 5e-5, num_warmup_steps: 2 }),
    }),
    evaluation("final", letters, measured),
  ],
};
