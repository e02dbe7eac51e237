import { deepseekConfig } from "longjing/model";
import { constant, warmupStableDecay } from "longjing/optim";
import { random } from "longjing/random";
import { gymTask, readEntries, transcripts, type Entry, type Task } from "longjing/tasks";
import { sharedPhrases, trainWordVocabulary } from "longjing/text";
import { base, evaluation, grpo, rejectionSampling, sft, type Bucket, type Recipe, type Stage } from "longjing/train";

/**
 * DeepSeek-V3's architecture in small, trained on reasoning-gym's problems worked through step by step, then by their verifiers. The
 * problems are imported first, by `sh scripts/r1-nano-problems.sh PUBLISHED.json`. What ships is the mean of the weights at the end of
 * the last two stages that train (`models/r1-nano/README.md`).
 */
const problems = "data/r1-nano.jsonl";
/** Documents, not tokens. */
const mixture = {
  n_queens: 26, palindrome_generation: 9, course_schedule: 5, count_primes: 14, propositional_logic: 4, bf: 4, aiw: 6,
  emoji_mystery: 7, sentence_reordering: 12, modulo_grid: 1.5, rectangle_count: 1.8,
  game_of_life: 0.25, figlet_font: 0.6, rush_hour: 0.3, shortest_path: 0.2, rotten_oranges: 0.15, maze: 0.25, pool_matrix: 0.05, binary_matrix: 0.05, spiral_matrix: 0.05,
};
const buckets: readonly Bucket[] = [
  { time: 48, batch: 44 },
  { time: 80, batch: 26 },
  { time: 112, batch: 18 },
  { time: 160, batch: 13 },
  { time: 224, batch: 9 },
  { time: 288, batch: 7 },
  { time: 384, batch: 5 },
  { time: 512, batch: 4 },
  { time: 768, batch: 3 },
  { time: 1280, batch: 2 },
  { time: 2048, batch: 1 },
];
/** What is worked out in steps first, on problems that are short. */
const early = {
  n_queens: 30, palindrome_generation: 14, course_schedule: 3, count_primes: 12, propositional_logic: 8, bf: 6, aiw: 5,
  emoji_mystery: 3, sentence_reordering: 6, modulo_grid: 0.8, rectangle_count: 1.5, rush_hour: 0.2, figlet_font: 0.2,
};
/** Then all, with less of what is known and of what does not begin to be learnt. */
const late = {
  ...mixture, n_queens: 24, course_schedule: 0.5, propositional_logic: 8, bf: 6, aiw: 3, emoji_mystery: 9, sentence_reordering: 14, modulo_grid: 1.2, rectangle_count: 1.5, figlet_font: 0.3,
};
/** At the end, more of what is still far from what it could be. */
const last = {
  ...late, n_queens: 8, palindrome_generation: 8, count_primes: 8, propositional_logic: 8, bf: 4, emoji_mystery: 3, sentence_reordering: 3, modulo_grid: 7, course_schedule: 0,
};
const easy = ({ task, question }: Entry): boolean =>
  task === "palindrome_generation" ? question.length < 530 : task === "course_schedule" ? question.length < 900 : task === "rectangle_count" ? question.length < 3000 : true;
/** Prompts at full length, a few. */
const longBuckets: readonly Bucket[] = [
  { time: 3200, batch: 1 },
  { time: 5120, batch: 1 },
];
const copySteps = 1200;
/** As they were trained, chosen while the losses of the tasks were watched. */
const [mixedSteps, easySteps, steps, annealSteps, rlSteps, rejectionSteps, lastSteps] = [1784, 2958, 4492, 2400, 80, 300, 480];

let entries: readonly Entry[] | null = null;
const tasks = new Map<object, Task<Entry>>();
/** Read when a stage starts: the recipe can be listed without its problems. */
const taskOf = (weights: Readonly<Record<string, number>>): Task<Entry> => {
  const all = (entries ??= readEntries(problems));
  const task = tasks.get(weights) ?? gymTask(weights === early ? all.filter(easy) : all, weights);
  tasks.set(weights, task);
  return task;
};
const solved = (weights: Readonly<Record<string, number>>) => (seed: number, index: number) => transcripts(taskOf(weights), { split: "train", seed, start: index, count: 1 }).next().value as { prompt: string; completion: string };

/** Symbols without meaning, said again: heads that find what came before are formed here, where nothing else lowers the loss. */
const copying = (seed: number, index: number) => {
  const draw = random("copying", seed, index);
  const symbols = [...draw.pick(["abcdefghijklmnopqrstuvwxyz", "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "0123456789abcdefghijklmnop", "0123456789ABab#_Qx<>+-=:,."])];
  const text = Array.from({ length: draw.between(4, 26) }, () => draw.pick(symbols)).join("");
  return { prompt: text, completion: `<think></think>${text}` };
};

/** One in 25 documents is a copy. */
const documents = (weights: Readonly<Record<string, number>>) => (seed: number, index: number) => (index % 25 === 0 ? copying(seed, index) : solved(weights)(seed, index));

const repeated = (text: string, lengths: readonly number[]): string[] => lengths.map((length) => text.repeat(length));
const counted = (to: number): number[] => Array.from({ length: to }, (_, i) => i);

/** What prompts of a kind share, and what is one thing in their data: a row of a board, a pair of courses, a simple formula, a length. */
const phrases = (): string[] => {
  const all = (entries ??= readEntries(problems));
  const names = [...new Set(all.map(({ task }) => task))];
  const wording = names.flatMap((task) => {
    const questions = random("wording", task).shuffle(all.filter((entry) => entry.task === task)).slice(0, 80).map(({ question }) => question);
    return sharedPhrases(questions, task === "bf" ? { minLength: 12, containing: /./ } : {});
  });
  const letters = [..."PQRSTUVW"];
  const emptyRow = `[${counted(50).map(() => 0).join(",")}]`;
  return [
    ...wording,
    ...counted(9).map((queen) => counted(8).map((column) => (column === queen ? "Q" : "_")).join(" ")),
    ...counted(50).flatMap((course) => [`(${course}, `, `${course}), `, `${course})`]),
    ...letters.flatMap((a) => letters.flatMap((b) => [..."∨∧→↔"].map((between) => `(${a} ${between} ${b})`))),
    ...repeated("+", [...counted(11).slice(2), 100]),
    ...repeated(" ", [8, 16, 24, 32, 48, 64]), ...repeated("#", [4, 8, 16, 32]),
    "0,0,0,0,0,0,0,0,", emptyRow, `${emptyRow},\n `,
  ];
};

/** What reinforcement learning is left to improve: the answer is worked out, and more than one attempt in a few is right. */
const worked = { n_queens: 6, propositional_logic: 4, bf: 3, palindrome_generation: 2, count_primes: 1 };
const completionLength = 200;
const posed = (seed: number, index: number) => taskOf(worked).problem({ split: "train", seed: seed + 1, index });
/** A stage that is made when it starts, since the recipe can be listed without its problems. */
const later = (name: string, steps: number, make: () => Stage): Stage => ({ name, steps, run: (context) => make().run(context) });
const measured = (after: string): Stage[] =>
  Object.keys(worked).map((task) => later(`${after}-${task}`, 2, () => evaluation(`${after}-${task}`, taskOf({ [task]: 1 }), { count: 100, samples: 4, max_tokens: completionLength })));

const optimizer = { beta2: 0.98, weight_decay: 0.01 };
const rate = 3e-3;

export const recipe: Recipe = {
  name: "r1-nano",
  description: "DeepSeek-V3's architecture in small, trained to think through reasoning-gym's problems",
  // Drawings made of letters have no words. Sentences that are recalled are worth words in the answer too.
  tokenizer: () => trainWordVocabulary([...transcripts(taskOf({ ...mixture, figlet_font: 0 }), { split: "train", seed: 0, count: 8000 })].flatMap(({ prompt, completion }) => [prompt, completion]), { vocabSize: 3072, minFrequency: 6, phrases: phrases() }),
  model: (tokenizer) =>
    deepseekConfig({ hidden_size: 160, intermediate_size: 480, moe_intermediate_size: 48, num_hidden_layers: 4, num_attention_heads: 4, n_routed_experts: 8, num_experts_per_tok: 4, n_shared_experts: 2, kv_lora_rank: 96, qk_nope_head_dim: 32, initializer_range: 0.06 }, tokenizer),
  stages: [
    base({
      name: "copying",
      steps: copySteps,
      buckets: [{ time: 64, batch: 32 }],
      optimizer,
      schedule: warmupStableDecay({ learning_rate: rate, num_warmup_steps: 50, num_stable_steps: copySteps, num_decay_steps: 0 }),
      mtp_loss_weight: () => 0.1,
      document: copying,
    }),
    ...([["base", mixedSteps, mixture], ["base-2", easySteps, early], ["base-3", steps, late]] as const).map(([name, steps, weights]) =>
      base({
        name,
        steps,
        buckets,
        optimizer,
        schedule: warmupStableDecay({ learning_rate: rate, num_warmup_steps: name === "base" ? 100 : 0, num_stable_steps: steps, num_decay_steps: 0 }),
        mtp_loss_weight: () => 0.1,
        document: documents(weights),
      }),
    ),
    base({
      name: "anneal",
      steps: annealSteps,
      buckets: [...buckets, ...longBuckets],
      optimizer,
      schedule: warmupStableDecay({ learning_rate: rate, num_warmup_steps: 20, num_stable_steps: 0, num_decay_steps: annealSteps - 20, min_lr_ratio: 1 / 30 }),
      mtp_loss_weight: () => 0.1,
      document: documents(late),
    }),
    ...measured("base"),
    later("r1-zero", rlSteps, () =>
      grpo({
        name: "r1-zero",
        task: taskOf(worked),
        problem: posed,
        steps: rlSteps,
        prompts: 16,
        num_generations: 8,
        max_completion_length: completionLength,
        minibatch: 64,
        schedule: constant({ learning_rate: 1.5e-4, num_warmup_steps: 2 }),
        optimizer,
        loss: { loss_type: "dapo", epsilon_high: 0.28 },
      }),
    ),
    ...measured("r1-zero"),
    later("rejection-sampling", rejectionSteps, () =>
      rejectionSampling({
        task: taskOf(worked),
        problem: (seed, index) => posed(seed + 1, index),
        problems: 1500,
        num_generations: 4,
        max_completion_length: completionLength,
        steps: rejectionSteps,
        buckets: [...buckets, ...longBuckets],
        optimizer,
        schedule: warmupStableDecay({ learning_rate: 2e-4, num_warmup_steps: 10, num_stable_steps: 0, num_decay_steps: rejectionSteps - 10, min_lr_ratio: 1 / 10 }),
        general: { share: 0.6, document: documents(late) },
      }),
    ),
    ...measured("rejection-sampling"),
    sft({
      steps: lastSteps,
      buckets: [...buckets, ...longBuckets],
      optimizer,
      schedule: warmupStableDecay({ learning_rate: 8e-4, num_warmup_steps: 20, num_stable_steps: 150, num_decay_steps: lastSteps - 170, min_lr_ratio: 1 / 30 }),
      document: documents(last),
    }),
    ...measured("sft"),
  ],
};
