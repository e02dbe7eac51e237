import { llamaConfig } from "longjing/model";
import { cosine, linear } from "longjing/optim";
import { countdown, transcripts, type Problem, type CountdownGold } from "longjing/tasks";
import { trainBpe } from "longjing/text";
import { evaluation, grpo, preflightStage, pretrain, type Recipe } from "longjing/train";

/**
 * R1-Zero in miniature, on two CPU cores in minutes. A base model is pretrained on transcripts of which most answer at once, with
 * a guess, and some think first; reinforcement learning with nothing but a verifier then finds that thinking pays.
 *
 * Set `shuffle` for the negative control: the same RL with the rewards of each step dealt out at random.
 */
export function countdownZero({ shuffle = false }: { readonly shuffle?: boolean } = {}): Recipe {
  const languages = ["en", "zh"] as const;
  const corpus = { split: "train", languages, longShare: 0.25 } as const;
  const problem = (seed: number, index: number): Problem<CountdownGold> => countdown.problem({ split: "train", seed: seed + 1, index, language: languages[index % 2]! });
  const heldOut = { count: 500, samples: 8, max_tokens: 160, languages };
  const pretrainSteps = 3600;
  const rlSteps = 40;
  return {
    name: shuffle ? "countdown-control" : "countdown-zero",
    description: "Pretrain on search transcripts, then GRPO with a verifier: the model learns that thinking pays",
    tokenizer: () => trainBpe([...transcripts(countdown, { ...corpus, seed: 0, count: 5000 })].map((t) => `${t.prompt}${t.completion}`), { vocabSize: 512 }),
    model: (tokenizer) => llamaConfig({ hidden_size: 128, intermediate_size: 384, num_hidden_layers: 4, num_attention_heads: 4 }, tokenizer),
    stages: [
      pretrain({
        steps: pretrainSteps,
        batch: 8,
        time: 256,
        schedule: cosine({ learning_rate: 3e-3, num_warmup_steps: 100, num_training_steps: pretrainSteps, min_lr_rate: 0.05 }),
        documents: (seed, start) => transcripts(countdown, { ...corpus, seed, start, count: Number.MAX_SAFE_INTEGER }),
      }),
      evaluation("base", countdown, heldOut),
      preflightStage({ task: countdown, problem, problems: 64, num_generations: 16, max_tokens: 160 }),
      grpo({
        task: countdown,
        problem,
        steps: rlSteps,
        prompts: 16,
        num_generations: 16,
        max_completion_length: 160,
        minibatch: 64,
        schedule: linear({ learning_rate: 6e-5, num_warmup_steps: 2, num_training_steps: rlSteps }),
        loss: { loss_type: "dapo", epsilon_high: 0.28 },
        shuffle_rewards: shuffle,
      }),
      evaluation("final", countdown, heldOut),
    ],
  };
}

export const recipe: Recipe = countdownZero();
