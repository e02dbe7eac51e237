import { constant } from "longjing/optim";
import { parity, transcripts, type ParityGold, type Problem } from "longjing/tasks";
import { distill, evaluation, rejectionSampling, sft, type Recipe, type TextPair } from "longjing/train";

const problem = (seed: number, index: number): Problem<ParityGold> => parity.problem({ split: "train", seed, index, level: 1 });
const document = (seed: number, index: number): TextPair => transcripts(parity, { split: "train", levels: [1], longShare: 0.5, seed, start: index, count: 1 }).next().value as TextPair;
const buckets = [{ time: 64, batch: 4 }, { time: 96, batch: 4 }];
const schedule = constant({ learning_rate: 1e-3, num_warmup_steps: 1 });

/** What a model that is there already can be put through; `teacher` is a model of its vocabulary. */
export const stagesOn = (teacher: string): Recipe => ({
  name: "tiny-stages",
  description: "Fine-tuning, rejection sampling and distillation, as small as can be",
  stages: [
    sft({ steps: 40, buckets, schedule, document }),
    rejectionSampling({ steps: 6, buckets, schedule, task: parity, problem, problems: 40, num_generations: 8, max_completion_length: 40, general: { share: 0.25, document } }),
    distill({ steps: 6, buckets: [{ time: 48, batch: 4 }, { time: 96, batch: 4 }], schedule, teacher, document }),
    evaluation("after", parity, { count: 4, samples: 2, max_tokens: 24, level: 1 }),
  ],
});
