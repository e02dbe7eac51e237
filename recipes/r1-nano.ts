import { deepseekConfig } from "longjing/model";
import { constant, warmupStableDecay } from "longjing/optim";
import { random } from "longjing/random";
import { accuracyReward, formatReward, gymTask, languageConsistencyReward, mixedTask, parity, readEntries, thoughtConsistency, transcripts, weekday } from "longjing/tasks";
import type { Entry, MixedGold, Problem, Task } from "longjing/tasks";
import { parseTranscript, renderTranscript, sharedPhrases, trainWordVocabulary } from "longjing/text";
import { base, evaluation, grpo, rejectionSampling, type Bucket, type GrpoOptions, type Recipe, type Stage } from "longjing/train";

/**
 * DeepSeek-V3's architecture in small, trained on reasoning-gym's problems worked through step by step, then through the stages of
 * DeepSeek-R1 by their verifiers. The problems are imported first, by `sh scripts/r1-nano-problems.sh PUBLISHED.json`. What came of it
 * is in `models/r1-nano/README.md`.
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
/** While the learning rate falls, more of what is short of its mark and can still be won. */
const annealed = { ...late, n_queens: 20, palindrome_generation: 5, count_primes: 12, propositional_logic: 12, bf: 8, emoji_mystery: 8, sentence_reordering: 12, modulo_grid: 3, rectangle_count: 2, course_schedule: 0 };
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
const [mixedSteps, easySteps, steps, annealSteps, zeroSteps, coldSteps, reasoningSteps, rejectionSteps, scenarioSteps] = [1784, 2958, 4492, 3400, 75, 120, 90, 300, 50];

let entries: readonly Entry[] | null = null;
const tasks = new Map<object, Task<Entry>>();
/** Read when a stage starts: the recipe can be listed without its problems. */
const taskOf = (weights: Readonly<Record<string, number>>): Task<Entry> => {
  const all = (entries ??= readEntries(problems));
  const [name, ...others] = Object.keys(weights);
  const task = tasks.get(weights) ?? gymTask(weights === early ? all.filter(easy) : all, weights, others.length === 0 ? name : undefined);
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

const spoken = [{ task: weekday as Task<unknown>, levels: [1, 2, 3] }, { task: parity as Task<unknown>, levels: [1, 2] }] as const;
/**
 * What is asked in Chinese and in English, and as on the Web not always thought about in the language of the question: in three of
 * eight documents the thinking is in the other one.
 */
const bilingual = (seed: number, index: number) => {
  const draw = random("bilingual", seed, index);
  const { task, levels } = draw.pick(spoken);
  const [language, other] = draw.shuffle(["en", "zh"] as const) as ["en", "zh"];
  const address = { split: "train", seed, index, level: draw.pick(levels) } as const;
  const [asked, thought] = [{ ...address, language }, { ...address, language: draw.below(8) < 3 ? other : language }].map((at) => task.problem(at)) as [Problem<unknown>, Problem<unknown>];
  const [answer, thinking] = [asked, thought].map((problem) => parseTranscript(task.solution(problem, draw)));
  return { prompt: asked.prompt, completion: renderTranscript(thinking!.thinking!, answer!.answer!) };
};
/** One in ten documents is of that kind. */
const everything = (weights: Readonly<Record<string, number>>) => (seed: number, index: number) => (index % 10 === 3 ? bilingual(seed, index) : documents(weights)(seed, index));

const repeated = (text: string, lengths: readonly number[]): string[] => lengths.map((length) => text.repeat(length));
const counted = (to: number): number[] => Array.from({ length: to }, (_, i) => i);

const week = ["Mon", "Tues", "Wednes", "Thurs", "Fri", "Satur", "Sun"];
/** What the bilingual tasks say, in pieces that are one token each. */
const words = [
  ...week.map((day) => `${day}day`), ...[..."一二三四五六日"].map((day) => `星期${day}`),
  "Today is ", ". Which day of the week is it ", " days later?", "If it is ", " now, what day will it be after ", " days?", " leaves ", "; then ",
  "今天是", "天后是星期几？", "再过", "天是星期几？", "余", "；然后", "，",
  "Is the number of ones even or odd? ", "Parity of the ones: ", "1的个数是奇数还是偶数？", "求1的奇偶：", " even", " odd", " 偶", " 奇",
];

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
    ...words,
  ];
};

/** What reinforcement learning is left to improve: the answer is worked out, and more than one attempt in a few is right. */
const worked = { n_queens: 6, propositional_logic: 5, bf: 3, palindrome_generation: 1, count_primes: 2 };
/** What the last stage is about: all whose prompt and answer are of a few hundred tokens. */
const scenarios = { ...worked, palindrome_generation: 0.5, aiw: 1, emoji_mystery: 2, sentence_reordering: 2 };
const completionLength = 200;
const languages = ["en", "zh"] as const;
const reasoning = (weights: Readonly<Record<string, number>>) => {
  const gym = Object.values(weights).reduce((a, b) => a + b);
  return mixedTask([{ task: taskOf(weights), weight: gym }, ...spoken.map((part) => ({ ...part, languages, weight: gym / 8 }))]);
};
const isReadable = ({ turns }: { readonly turns: readonly string[] }, problem: Problem<unknown>): boolean => (thoughtConsistency(turns, problem) ?? 1) > 0.95;
/** A stage that is made when it starts, since the recipe can be listed without its problems. */
const later = (name: string, steps: number, make: () => Stage): Stage => ({ name, steps, run: (context) => make().run(context) });
const measure = { count: 100, samples: 4, max_tokens: completionLength };
const measured = (after: string): Stage[] => [
  ...Object.keys(worked).map((task) => later(`${after}-${task}`, 2, () => evaluation(`${after}-${task}`, taskOf({ [task]: 1 }), measure))),
  ...spoken.map(({ task }) => evaluation(`${after}-${task.name}`, task, { ...measure, languages })),
];
const reinforced = (name: string, steps: number, weights: Readonly<Record<string, number>>, options: Partial<GrpoOptions<MixedGold>>): Stage =>
  later(name, steps, () => {
    const task = reasoning(weights);
    return grpo({
      name,
      task,
      problem: (seed, index) => task.problem({ split: "train", seed: seed + 1, index }),
      steps,
      prompts: 16,
      num_generations: 8,
      max_completion_length: completionLength,
      minibatch: 64,
      schedule: constant({ learning_rate: 2e-4, num_warmup_steps: 2 }),
      optimizer,
      loss: { loss_type: "dapo", epsilon_high: 0.28 },
      ...options,
    });
  });
const readable = { reward_funcs: [accuracyReward, formatReward, languageConsistencyReward], reward_weights: { format: 0.02 } };
const kept = (name: string, steps: number, { problems, from, share, learning_rate }: { readonly problems: number; readonly from?: string; readonly share: number; readonly learning_rate: number }): Stage =>
  later(name, steps, () => {
    const task = reasoning(worked);
    return rejectionSampling({
      name,
      task,
      problem: (seed, index) => task.problem({ split: "train", seed: seed + 2, index }),
      problems,
      num_generations: 4,
      max_completion_length: completionLength,
      readable: isReadable,
      ...(from !== undefined && { from }),
      steps,
      buckets: [...buckets, ...longBuckets],
      optimizer,
      schedule: warmupStableDecay({ learning_rate, num_warmup_steps: 10, num_stable_steps: 0, num_decay_steps: steps - 10, min_lr_ratio: 1 / 10 }),
      general: { share, document: documents(last) },
    });
  });

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
      document: everything(annealed),
    }),
    ...measured("base"),
    reinforced("r1-zero", zeroSteps, worked, {}),
    ...measured("r1-zero"),
    kept("cold-start", coldSteps, { problems: 500, from: "anneal", share: 0.4, learning_rate: 4e-4 }),
    ...measured("cold-start"),
    reinforced("reasoning", reasoningSteps, worked, readable),
    ...measured("reasoning"),
    kept("rejection-sampling", rejectionSteps, { problems: 1200, share: 0.6, learning_rate: 3e-4 }),
    ...measured("rejection-sampling"),
    reinforced("all-scenarios", scenarioSteps, scenarios, { ...readable, temperature: 0.7, schedule: constant({ learning_rate: 1e-4, num_warmup_steps: 2 }) }),
    ...measured("all-scenarios"),
  ],
};
