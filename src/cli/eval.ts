import { basename, resolve } from "node:path";
import { Option, type Command } from "commander";
import { LongjingError } from "../errors/index.ts";
import type { Evaluation, EvaluationOptions, Interval } from "../eval/index.ts";
import { tasks, type Language, type Task, type TaskName } from "../tasks/index.ts";
import { openBackendWith, providerOption, threadsOption, type BackendOptions } from "./backend.ts";
import { wholeNumber } from "./options.ts";
import { progress } from "./progress.ts";
import { table } from "./table.ts";
import { openTerminal } from "./terminal.ts";

interface EvalOptions extends BackendOptions {
  readonly task?: TaskName;
  readonly perplexity?: string;
  readonly problems: number;
  readonly samples: number;
  readonly level?: number;
  readonly seed: number;
  readonly maxTokens: number;
  readonly language: Language | "both";
  readonly json?: true;
}

export function addEval(program: Command): void {
  program
    .command("eval")
    .description("Measure a model on held-out problems of a task (accuracy with its interval, pass@k, form, length), or by the perplexity of a text")
    .argument("<model>", "folder with config.json, weights and tokenizer, as a run's checkpoint is, or GGUF file")
    .addOption(new Option("--task <name>", "what is asked").choices(Object.keys(tasks)))
    .addOption(new Option("--perplexity <text>", "how well it predicts a text file, in windows of 512 tokens").conflicts("task"))
    .option("--problems <n>", "how many held-out problems", wholeNumber(1, 1_000_000), 200)
    .option("--samples <n>", "answers to each at temperature 1, beside a greedy one", wholeNumber(1, 1024), 8)
    .option("--level <n>", "difficulty, from 1 (default: the task's own)", wholeNumber(1))
    .option("--seed <n>", "draws the problems and the answers", wholeNumber(0), 0)
    .option("--max-tokens <n>", "most tokens of an answer", wholeNumber(1), 160)
    .addOption(new Option("--language <name>", "of the problems").choices(["en", "zh", "both"]).default("both"))
    .addOption(providerOption())
    .addOption(threadsOption())
    .option("--json", "one JSON line")
    .action(measure);
}

async function measure(folder: string, { task, perplexity, ...options }: EvalOptions): Promise<void> {
  if (perplexity !== undefined) return perplexityOfText(folder, perplexity, options);
  if (task === undefined) throw new LongjingError("bad_argument", "There is nothing to measure by", { expected: "--task NAME or --perplexity FILE" });
  return evaluateModel(folder, { ...options, task });
}

async function perplexityOfText(folder: string, file: string, options: BackendOptions & { readonly json?: true }): Promise<void> {
  const terminal = openTerminal();
  const { loadFrozenModel, perplexity } = await import("../engine/index.ts");
  const { loadTokenizer } = await import("./load-model.ts");
  const { readText } = await import("./text-file.ts");
  const ids = (await loadTokenizer(folder)).encode(await readText(file));
  const backend = await openBackendWith(options);
  const bar = progress(terminal, { label: "perplexity", total: ids.length, unit: "tokens" });
  const result = await perplexity(backend, await loadFrozenModel(backend, folder), ids, { onProgress: (done) => bar.update(done) });
  bar.end();
  if (options.json) terminal.out(`${JSON.stringify({ model: basename(resolve(folder)), text: basename(file), ...result })}\n`);
  else terminal.out(table([["perplexity", result.perplexity.toFixed(3)], ["nats a token", result.nll.toFixed(4)], ["tokens", String(result.tokens)]]));
}

/** Rows of the cache; more do not make a step of a small model any faster. */
const mostSequences = 256;

type TaskOptions = EvalOptions & { readonly task: TaskName };

async function evaluateModel(folder: string, options: TaskOptions): Promise<void> {
  const terminal = openTerminal();
  const { loadModel } = await import("../engine/load.ts");
  const { Generator, ModelRunner } = await import("../engine/index.ts");
  const { evaluate, evaluationProblems } = await import("../eval/index.ts");
  const { documentEncoder } = await import("../text/index.ts");
  const { loadTokenizer } = await import("./load-model.ts");
  const task: Task<unknown> = tasks[options.task];
  const encoder = documentEncoder(await loadTokenizer(folder));
  const bar = progress(terminal, { label: options.task, total: options.problems * (options.samples + 1), unit: "answers" });
  const asked: EvaluationOptions = {
    split: "test",
    seed: options.seed,
    count: options.problems,
    samples: options.samples,
    max_tokens: options.maxTokens,
    languages: options.language === "both" ? ["en", "zh"] : [options.language],
    ...(options.level !== undefined && { level: options.level }),
    onProgress: (done) => bar.update(done),
  };
  const longest = Math.max(...evaluationProblems(task, asked).map(({ prompt }) => encoder.prompt(prompt).length));
  const backend = await openBackendWith(options);
  const { config, parameters } = await loadModel(backend, folder);
  if (longest + options.maxTokens > config.max_position_embeddings)
    throw new LongjingError("too_large", "The model has too few positions for such answers", { where: "--max-tokens", got: options.maxTokens, expected: `at most ${config.max_position_embeddings - longest}: the longest problem has ${longest} tokens` });
  const runner = new ModelRunner(backend, config, { max_num_seqs: Math.min(mostSequences, options.problems * options.samples), max_model_len: longest + options.maxTokens });
  const result = await evaluate(new Generator(runner, parameters), encoder, task, asked);
  bar.end();
  await runner.dispose();
  const { task: name, level = task.defaultLevel, seed, language } = options;
  if (options.json) terminal.out(`${JSON.stringify({ model: basename(resolve(folder)), task: name, level, language, seed, ...result })}\n`);
  else terminal.out(evaluationText(result, options));
}

const percent = (share: number): string => `${(share * 100).toFixed(1)} %`;
const between = ({ low, high }: Interval): string => `95 % interval ${percent(low)} to ${percent(high)}`;

function evaluationText({ sampled, greedy, pass_at, format, mean_length, clipped_ratio, problems, samples }: Evaluation, { task, maxTokens }: TaskOptions): string {
  return table([
    [task, `${problems} problems, ${samples} answers each`, ""],
    ["accuracy", percent(sampled.accuracy), between(sampled.interval)],
    ["greedy", percent(greedy.accuracy), between(greedy.interval)],
    ...Object.entries(pass_at).filter(([k]) => k !== "1").map(([k, share]) => [`pass@${k}`, percent(share), ""]),
    ["format", percent(format), ""],
    ["length", `${mean_length.toFixed(1)} tokens`, `${percent(clipped_ratio)} cut at ${maxTokens}`],
  ]);
}
