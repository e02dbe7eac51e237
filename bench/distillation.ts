// A small student learns the countdown from countdown-zero, in two ways, or from the verifier alone: DeepSeek-R1's comparison of
// distillation with reinforcement learning on the same student (section 4.1), at equal processor time. The students are a llama and a
// qwen2 of the same shape, pretrained alike on the corpus that the teacher's base was pretrained on.
//
//   npx tsx --conditions source bench/distillation.ts [PROCESSOR-SECONDS [FOLDER]]
import { mkdirSync, mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openStartingModel } from "../src/cli/starting-model.ts";
import { disposeParameters, Generator, loadModel, ModelRunner } from "../src/engine/index.ts";
import { evaluate } from "../src/eval/evaluate.ts";
import { rollout } from "../src/eval/rollout.ts";
import { llamaConfig, type LlamaShape, type ModelConfig, type VocabularyIds } from "../src/model/index.ts";
import { constant, cosine } from "../src/optim/index.ts";
import { openBackend } from "../src/runtime/index.ts";
import { countdown, transcripts, type CountdownGold, type Problem } from "../src/tasks/index.ts";
import { createTokenizer, documentEncoder } from "../src/text/index.ts";
import { distill, grpo, latestCheckpoint, pretrain, runRecipe, sft, type Recipe, type Stage, type TextPair } from "../src/train/index.ts";

const seconds = Number(process.argv[2] ?? 60);
const folder = process.argv[3] ?? mkdtempSync(join(tmpdir(), "longjing-distillation-"));
mkdirSync(folder, { recursive: true });
const teacher = "models/countdown-zero";
const languages = ["en", "zh"] as const;
const corpus = { split: "train", languages, longShare: 0.25 } as const;
const shape: LlamaShape = { hidden_size: 64, intermediate_size: 192, num_hidden_layers: 3, num_attention_heads: 4 };
const students: Readonly<Record<string, (tokenizer: VocabularyIds) => ModelConfig>> = {
  llama: (tokenizer) => llamaConfig(shape, tokenizer),
  qwen2: (tokenizer) => ({ ...llamaConfig(shape, tokenizer), model_type: "qwen2" }),
};
const pretrainSteps = 1500;
const buckets = [{ time: 96, batch: 20 }, { time: 160, batch: 12 }, { time: 255, batch: 8 }];
const schedule = constant({ learning_rate: 1e-3, num_warmup_steps: 10 });
const problem = (seed: number, index: number): Problem<CountdownGold> => countdown.problem({ split: "train", seed: seed + 1, index, language: languages[index % 2]! });

const backend = await openBackend();
const opened = await openStartingModel(teacher);
const { files } = opened;
await opened.close();
const encoder = documentEncoder(createTokenizer(files.tokenizerJson, files.tokenizerConfig));
const processorSeconds = (): number => Object.values(process.cpuUsage()).reduce((a, b) => a + b, 0) / 1e6;
const say = (row: object): void => console.log(JSON.stringify(row));

async function withModel<T>(path: string, f: (generator: Generator) => Promise<T>): Promise<T> {
  const { config, parameters } = await loadModel(backend, path);
  const runner = new ModelRunner(backend, config, { max_num_seqs: 128, max_model_len: 256 });
  try {
    return await f(new Generator(runner, parameters));
  } finally {
    await runner.dispose();
    disposeParameters(parameters);
  }
}

/** What the teacher says and the verifier finds right, two completions of each problem. */
async function teacherSamples(): Promise<TextPair[]> {
  const begun = processorSeconds();
  const problems = Array.from({ length: 2000 }, (_, index) => problem(0, index));
  const groups = await withModel(teacher, (generator) => rollout(generator, encoder, countdown, problems, { num_generations: 2, max_tokens: 160, temperature: 1, stream: ["teacher"] }));
  const right = groups.flatMap(({ problem: { prompt }, samples }) => samples.filter(({ score }) => score.parts.correct === 1).map(({ text }) => ({ prompt, completion: text })));
  say({ samples: right.length, of: 2 * problems.length, processor_seconds: Math.round(processorSeconds() - begun) });
  return right;
}

async function measured(student: string, method: string, path: string, spent: object): Promise<void> {
  const { sampled, greedy, mean_length } = await withModel(path, (generator) => evaluate(generator, encoder, countdown, { split: "test", seed: 0, count: 300, samples: 4, max_tokens: 160, languages }));
  say({ student, method, sampled: sampled.accuracy, sampled_interval: sampled.interval, greedy: greedy.accuracy, greedy_interval: greedy.interval, mean_length, ...spent });
}

/** Runs a recipe until it is done, or has used its processor time. */
async function trained(recipe: Recipe, dir: string, base: Awaited<ReturnType<typeof openStartingModel>> | null, limit: number): Promise<{ readonly path: string; readonly spent: object }> {
  const [begun, stop] = [processorSeconds(), new AbortController()];
  let steps = 0;
  await runRecipe(recipe, {
    backend, dir, resume: false, cores: 2, now: () => performance.now() / 1000, checkpointEvery: 1e9, signal: stop.signal, ...(base && { base }),
    report: (event) => {
      if (event.type === "metrics") steps = event.step;
      if (processorSeconds() - begun > limit) stop.abort();
    },
  });
  return { path: latestCheckpoint(dir).checkpoint!.path, spent: { steps, processor_seconds: Math.round(processorSeconds() - begun) } };
}

const samples = await teacherSamples();
const document = (_: number, index: number): TextPair => samples[index % samples.length]!;
const steps = 100_000;
const methods: Readonly<Record<string, () => Stage>> = {
  "teacher's samples": () => sft({ steps, buckets, schedule, document }),
  "teacher's logits, forward KL": () => distill({ teacher, steps, buckets, schedule, document }),
  "teacher's logits, reverse KL": () => distill({ teacher, steps, buckets, divergence: { kind: "reverse_kl" }, schedule, document }),
  "verifier, GRPO": () => grpo({ task: countdown, problem, steps: 400, prompts: 16, num_generations: 16, max_completion_length: 160, minibatch: 64, schedule: constant({ learning_rate: 6e-5, num_warmup_steps: 2 }), loss: { loss_type: "dapo", epsilon_high: 0.28 } }),
};
for (const [student, model] of Object.entries(students)) {
  const pretraining = pretrain({
    steps: pretrainSteps,
    batch: 8,
    time: 256,
    schedule: cosine({ learning_rate: 3e-3, num_warmup_steps: 50, num_training_steps: pretrainSteps, min_lr_rate: 0.1 }),
    documents: (seed, start) => transcripts(countdown, { ...corpus, seed, start, count: Number.MAX_SAFE_INTEGER }),
  });
  const { path, spent } = await trained({ name: student, description: "", tokenizer: () => files, model, stages: [pretraining] }, join(folder, student), null, Number.POSITIVE_INFINITY);
  await measured(student, "base", path, spent);
  for (const [method, stage] of Object.entries(methods)) {
    const base = await openStartingModel(path);
    const result = await trained({ name: method, description: "", stages: [stage()] }, join(folder, `${student}-${Object.keys(methods).indexOf(method)}`), base, seconds);
    await base.close();
    await measured(student, method, result.path, result.spent);
  }
}
