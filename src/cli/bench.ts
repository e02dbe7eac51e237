import { Option, type Command } from "commander";
import { LongjingError } from "../errors/index.ts";
import type { BenchSizeName } from "../train/bench-sizes.ts";
import { addBenchServe } from "./bench-serve.ts";
import { openBackendWith, providerOption, threadsOption, type BackendOptions } from "./backend.ts";
import { realNumber, wholeNumber } from "./options.ts";
import { openTerminal } from "./terminal.ts";

interface TrainBench extends BackendOptions {
  readonly size: BenchSizeName;
  readonly seconds: number;
  readonly json?: true;
}

interface GrpoBench extends BackendOptions {
  readonly model: string;
  readonly size: "S" | "own";
  readonly prompts: number;
  readonly group: number;
  readonly promptTokens: number;
  readonly newTokens: number;
  readonly steps: number;
  readonly json?: true;
}

interface DecodeBench extends BackendOptions {
  readonly repetitions: number;
  readonly json?: true;
}

const sizes: readonly BenchSizeName[] = ["S", "M", "L"];

export function addBench(program: Command): void {
  const bench = program.command("bench").description("Measure this machine");
  bench
    .command("train")
    .description("Time whole train steps: forward, backward, clipping, AdamW")
    .addOption(new Option("--size <name>", "of the model: 0.9, 6 or 31 million parameters").choices(sizes).default("S"))
    .option("--seconds <n>", "how long to measure", realNumber(0, 86_400), 10)
    .addOption(threadsOption())
    .option("--json", "one JSON line")
    .action(benchTraining);
  bench
    .command("decode")
    .description("Time a model's steps: tg:B:C decodes B sequences of C tokens, pp:N reads a prompt of N")
    .argument("<model>", "folder with config.json and weights, GGUF file, or ORG/NAME")
    .argument("[tests...]", "such as tg:1:128 tg:32:128 pp:512", ["tg:1:128", "tg:8:128", "tg:32:128", "pp:512"])
    .option("--repetitions <n>", "of each test, after one that is not counted", wholeNumber(1, 1000), 3)
    .addOption(providerOption())
    .addOption(threadsOption())
    .option("--json", "a JSON line a test")
    .action(benchDecoding);
  bench
    .command("prefill")
    .description("Time the reading of prompts: as `decode` with pp:N")
    .argument("<model>", "folder with config.json and weights, GGUF file, or ORG/NAME")
    .argument("[lengths...]", "tokens of a prompt, such as 128 512", ["512"])
    .option("--repetitions <n>", "of each test, after one that is not counted", wholeNumber(1, 1000), 3)
    .addOption(providerOption())
    .addOption(threadsOption())
    .option("--json", "a JSON line a test")
    .action((model: string, lengths: readonly string[], options: DecodeBench) => benchDecoding(model, lengths.map((length) => `pp:${length}`), options));
  addBenchServe(bench);
  bench
    .command("grpo")
    .description("Time whole GRPO steps: sampling groups and one optimiser step on them")
    .requiredOption("--model <dir>", "folder with config.json; random weights")
    .addOption(new Option("--size <name>", "S replaces the model's dimensions: 128 wide, 4 layers, 4 heads").choices(["S", "own"]).default("S"))
    .option("--prompts <n>", "problems a step", wholeNumber(1, 4096), 8)
    .option("--group <n>", "completions of each", wholeNumber(1, 4096), 8)
    .option("--prompt-tokens <n>", "tokens of each problem", wholeNumber(1, 100_000), 24)
    .option("--new-tokens <n>", "tokens of each completion", wholeNumber(1, 100_000), 64)
    .option("--steps <n>", "counted steps, after one that is not", wholeNumber(1, 100_000), 4)
    .addOption(threadsOption())
    .option("--json", "one JSON line")
    .action(benchPolicy);
  bench
    .command("load")
    .description("Time from a model's files to its first token, once, with the libraries loaded: another process may still find the files in memory")
    .argument("<model>", "folder with config.json and weights, GGUF file, or ORG/NAME")
    .option("--json", "one JSON line")
    .action(benchLoading);
}

/** Short, so that reading the prompt is little of the time. */
const loadPrompt = "The capital of France is";

async function benchLoading(model: string, { json }: { readonly json?: true }): Promise<void> {
  const { loadServedModel } = await import("./load-model.ts");
  // Libraries are loaded before the clock starts, as importing llama_cpp loads llama.cpp's.
  const backend = await openBackendWith({});
  await backend.hasOwnKernels();
  const start = now();
  const { engine, tokenizer } = await loadServedModel(model, { backend });
  const loaded = now();
  const tokens: number[] = [];
  for await (const event of engine.submit({ prompt_ids: tokenizer.encode(loadPrompt, { addSpecialTokens: true }), sampling: { temperature: 0, max_tokens: 1 } })) {
    if (event.type === "token") tokens.push(event.token_id);
  }
  const end = now();
  engine.dispose();
  say({ engine: "longjing", load_seconds: loaded - start, first_token_seconds: end - loaded, total_seconds: end - start, completion: tokenizer.decode(tokens) }, json);
}

const now = (): number => performance.now() / 1000;

async function benchTraining({ size, seconds, json, ...options }: TrainBench): Promise<void> {
  const { benchTrain } = await import("../train/bench-train.ts");
  say(await benchTrain(await openBackendWith(options), { size, seconds, now }), json);
}

async function benchPolicy({ model, size, prompts, group, promptTokens, newTokens, steps, json, ...options }: GrpoBench): Promise<void> {
  const { benchGrpo, smallSize } = await import("../train/bench-grpo.ts");
  const { openCheckpoint } = await import("../weights/index.ts");
  const checkpoint = await openCheckpoint(model);
  await checkpoint.close();
  const { config } = checkpoint;
  say(await benchGrpo(await openBackendWith(options), size === "S" ? smallSize(config) : config, { prompts, group, prompt_tokens: promptTokens, new_tokens: newTokens, steps, now }), json);
}

async function benchDecoding(model: string, names: readonly string[], { repetitions, json, ...options }: DecodeBench): Promise<void> {
  const { benchSpeed, parseTest } = await import("../engine/bench-decode.ts");
  const { loadFrozenModel } = await import("../engine/load.ts");
  const { findModel } = await import("./find-model.ts");
  const tests = names.map((name) => {
    const test = parseTest(name);
    if (test === null) throw new LongjingError("bad_argument", "No such test", { got: name, expected: "tg:B:C or pp:N, such as tg:32:128 pp:512" });
    return test;
  });
  const backend = await openBackendWith(options);
  const loaded = await loadFrozenModel(backend, await findModel(model));
  const { out } = openTerminal();
  // Nothing else has to be served meanwhile: threads may spin.
  for (const test of tests) {
    const result = await benchSpeed(backend, loaded, test, { repetitions, now, session: { spinning: true } });
    const [median, least, most] = result.tokens_per_second;
    out(json ? `${JSON.stringify(result)}\n` : `${result.test.padEnd(14)}${show(median).padStart(10)} tokens/s  (${show(least)} to ${show(most)})\n`);
  }
}

function say(result: object, json: true | undefined): void {
  const whole = { ...result, max_rss_mb: Math.round(process.resourceUsage().maxRSS / 1024) };
  const text = Object.entries(whole).map(([name, value]) => `${name.padEnd(20)}${show(value)}\n`).join("");
  openTerminal().out(json ? `${JSON.stringify(whole)}\n` : text);
}

function show(value: unknown): string {
  if (Array.isArray(value)) return value.map(show).join(", ");
  return typeof value === "number" ? value.toLocaleString("en", { maximumFractionDigits: 2 }) : String(value);
}
