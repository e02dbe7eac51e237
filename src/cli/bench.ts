import { Option, type Command } from "commander";
import type { BenchSizeName } from "../train/bench-sizes.ts";
import { openBackendWith, providerOption, threadsOption, type BackendOptions } from "./backend.ts";
import { realNumber, wholeNumber } from "./options.ts";
import { openTerminal } from "./terminal.ts";

interface TrainBench extends BackendOptions {
  readonly size: BenchSizeName;
  readonly seconds: number;
  readonly json?: true;
}

interface DecodeBench extends BackendOptions {
  readonly batch: number;
  readonly tokens: number;
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
    .description("Time decoding with a model, at temperature 1, on random prompts")
    .argument("<model>", "folder with config.json and weights, or GGUF file")
    .option("--batch <n>", "sequences at once", wholeNumber(1, 4096), 1)
    .option("--tokens <n>", "tokens of each", wholeNumber(1, 1_000_000), 128)
    .addOption(providerOption())
    .addOption(threadsOption())
    .option("--json", "one JSON line")
    .action(benchDecoding);
}

const now = (): number => performance.now() / 1000;

async function benchTraining({ size, seconds, json, ...options }: TrainBench): Promise<void> {
  const { benchTrain } = await import("../train/bench-train.ts");
  say(await benchTrain(await openBackendWith(options), { size, seconds, now }), json);
}

async function benchDecoding(folder: string, { batch, tokens, json, ...options }: DecodeBench): Promise<void> {
  const { benchDecode } = await import("../engine/bench-decode.ts");
  const { loadModel } = await import("../engine/load.ts");
  const backend = await openBackendWith(options);
  say(await benchDecode(backend, await loadModel(backend, folder), { batch, tokens, now }), json);
}

function say(result: object, json: true | undefined): void {
  const whole = { ...result, max_rss_mb: Math.round(process.resourceUsage().maxRSS / 1024) };
  const text = Object.entries(whole).map(([name, value]) => `${name.padEnd(18)}${show(value)}\n`).join("");
  openTerminal().out(json ? `${JSON.stringify(whole)}\n` : text);
}

function show(value: unknown): string {
  if (Array.isArray(value)) return value.map(show).join(", ");
  return typeof value === "number" ? value.toLocaleString("en", { maximumFractionDigits: 2 }) : String(value);
}
