import { Option, type Command } from "commander";
import type { ModelDtype } from "../engine/index.ts";
import { LongjingError } from "../errors/index.ts";
import type { VerifierName } from "../eval/index.ts";
import type { Language } from "../tasks/index.ts";
import { providerOption, threadsOption, type BackendOptions } from "./backend.ts";
import { dtypeOption, jsonObject, realNumber, wholeNumber } from "./options.ts";

export interface EvalOptions extends BackendOptions {
  readonly model?: string;
  readonly adapter?: string;
  readonly task?: readonly string[];
  readonly perplexity?: string;
  readonly problems?: number;
  readonly samples?: number;
  readonly level?: number;
  readonly language?: Language | "both";
  readonly seed?: number;
  readonly temperature?: number;
  readonly topP?: number;
  readonly maxTokens?: number;
  readonly system?: string;
  readonly verifier: VerifierName;
  readonly endpoint?: string;
  readonly apiKeyEnv?: string;
  readonly concurrency: number;
  readonly timeout: number;
  readonly retries: number;
  readonly extraBody: Readonly<Record<string, unknown>>;
  readonly usdPerCoreHour: number;
  readonly inputPrice?: number;
  readonly cachedInputPrice?: number;
  readonly outputPrice?: number;
  readonly answers?: string;
  readonly report?: string;
  readonly dtype?: ModelDtype;
  readonly json?: true;
}

export function addEval(program: Command): void {
  const command = program
    .command("eval")
    .description("Measure a model on held-out problems: pass@k, cons@k with 95 % intervals, length, cost of a solved problem; or by the perplexity of a text")
    .argument("[what...]", "tasks by name, SUITE.json, PROBLEMS.jsonl; and the model, as --model names it")
    .option("--model <name>", "folder, GGUF file or ORG/NAME (default: the model that ships); with --endpoint its name there")
    .addOption(new Option("--adapter <dir>", "ask it through a LoRA adapter, or that of a run that trains one").conflicts(["endpoint", "perplexity"]))
    .option("--task <name...>", "tasks, as their names alone are")
    .addOption(new Option("--perplexity <text>", "how well it predicts a text file, in windows of 512 tokens").conflicts(["task", "endpoint", "report"]));
  addQuestions(command);
  addEndpoint(command);
  command
    .option("--answers <file>", "keep answers here as they come, and ask only what is missing (with --endpoint by default: longjing-answers.jsonl)")
    .option("--report <file>", "write a page with a table and a picture, beside published scores of the same tasks")
    .addOption(dtypeOption("float32 for files up to 256 MiB, else auto; auto with --perplexity"))
    .addOption(providerOption())
    .addOption(threadsOption())
    .option("--json", "one JSON line")
    .action(measure);
}

function addQuestions(command: Command): void {
  command
    .option("--problems <n>", "problems of each task, level and language (default: 200, or the suite's)", wholeNumber(1, 1_000_000))
    .option("--samples <n>", "answers to each (default: 8, or the suite's)", wholeNumber(1, 1024))
    .option("--level <n>", "difficulty of tasks, from 1 (default: each task's own)", wholeNumber(1))
    .addOption(new Option("--language <name>", "of the problems (default: both)").choices(["en", "zh", "both"]))
    .option("--seed <n>", "draws the problems and the answers (default: 0, or the suite's)", wholeNumber(0))
    .option("--temperature <t>", "0 is greedy (default: 0.6, or the suite's)", realNumber(0, 2))
    .option("--top-p <p>", "nucleus (default: 0.95, or the suite's)", realNumber(0.000001, 1))
    .option("--max-tokens <n>", "most tokens of an answer, thinking included (default: 4096 or what the model has room for)", wholeNumber(1))
    .option("--system <text>", "a message before each question")
    .addOption(new Option("--verifier <name>", "what judges PROBLEMS.jsonl").choices(["reasoning-gym", "math", "quantity", "exact"]).default("reasoning-gym"));
}

function addEndpoint(command: Command): void {
  command
    .option("--endpoint <url>", "ask an OpenAI-compatible endpoint, as https://HOST/v1")
    .option("--api-key-env <var>", "the environment variable that holds its key")
    .option("--concurrency <n>", "requests in flight at once", wholeNumber(1, 1024), 8)
    .option("--timeout <seconds>", "what one request may take", realNumber(0.001, 86_400), 600)
    .option("--retries <n>", "tries after the first, where the endpoint is busy, fails or breaks off", wholeNumber(0, 100), 6)
    .option("--extra-body <json>", 'more fields of each request; null takes one away, as {"seed":null}', jsonObject, {})
    .option("--usd-per-core-hour <usd>", "price of the own engine's work", realNumber(0, 1e6), 0.04)
    .option("--input-price <usd>", "an endpoint's price of a million prompt tokens", realNumber(0, 1e6))
    .option("--cached-input-price <usd>", "of those from a cache (default: the input price)", realNumber(0, 1e6))
    .option("--output-price <usd>", "of a million completion tokens", realNumber(0, 1e6));
}

async function measure(what: readonly string[], options: EvalOptions): Promise<void> {
  const { namedBy } = await import("./eval-suite.ts");
  const named = namedBy([...what, ...(options.task ?? [])]);
  const models = [...named.models, ...(options.model === undefined ? [] : [options.model])];
  const [model] = models;
  if (models.length > 1 || named.models.some((name) => options.task?.includes(name))) throw new LongjingError("bad_argument", "This is neither a task nor one model", { got: models.join(" "), hint: "longjing eval --help names what is measured" });
  const chosen = { ...options, ...(model !== undefined && { model }) };
  if (options.perplexity === undefined) {
    const { evaluateSuite } = await import("./evaluate-suite.ts");
    return evaluateSuite(named, chosen);
  }
  const asked = [...named.tasks, ...named.suites, ...named.files];
  if (asked.length > 0) throw new LongjingError("bad_argument", "A model is measured by a text or by problems, not by both at once", { where: "--perplexity", got: asked.join(" "), expected: "longjing eval MODEL --perplexity FILE" });
  if (model === undefined) throw new LongjingError("bad_argument", "There is no model to measure", { expected: "longjing eval MODEL --perplexity FILE" });
  const { perplexityOfText } = await import("./perplexity.ts");
  return perplexityOfText(model, options.perplexity, options);
}
