import { fork, spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { Option, type Command } from "commander";
import { LongjingError } from "../errors/index.ts";
import type { EngineLoad, MeasuredServer } from "./bench-server.ts";
import { realNumber, wholeNumber } from "./options.ts";
import { latencies, spread } from "./percentiles.ts";
import { httpAnswerer, randomRequests, runLoad, type LoadBackend, type LoadRequest, type LoadResult, type LoadShape } from "./serving-load.ts";
import { openTerminal } from "./terminal.ts";

interface ServeBench {
  readonly maxConcurrency?: readonly number[];
  readonly numPrompts?: number;
  readonly randomInputLen: number;
  readonly randomOutputLen: number;
  readonly requestRate: number;
  readonly backend: LoadBackend;
  readonly stream: boolean;
  readonly engine?: true;
  readonly repetitions?: number;
  readonly numWarmups?: number;
  readonly seed: number;
  readonly baseUrl?: string;
  readonly apiKey?: string;
  readonly json?: true;
}

export function addBenchServe(bench: Command): void {
  bench
    .command("serve")
    .description("Load a server over HTTP, as `vllm bench serve` does: prompts of random tokens, answers of a fixed length")
    .argument("<model>", "folder, GGUF file, or ORG/NAME to serve; with --base-url the name to ask for")
    .option("--max-concurrency <n...>", "requests that are open at once; a test for each number (default: 1 8 32)", wholeNumbers)
    .option("--num-prompts <n>", "requests of a test (default: twice as many as are open at once)", wholeNumber(1, 1_000_000))
    .option("--random-input-len <n>", "tokens of each prompt", wholeNumber(1, 1_000_000), 32)
    .option("--random-output-len <n>", "tokens of each answer", wholeNumber(1, 1_000_000), 128)
    .option("--request-rate <n>", "requests a second, at random times (default: as fast as answers come)", realNumber(1e-3, 1e6), Infinity)
    .addOption(new Option("--backend <name>", "openai: text completions; openai-chat: chats").choices(["openai", "openai-chat"]).default("openai"))
    .option("--no-stream", "ask for whole answers")
    .option("--engine", "ask the server's engine without HTTP too, in turns, and say what share of the tokens per second HTTP loses")
    .option("--repetitions <n>", "of each test, after one that is not counted (default: 1; with --engine those of 40 seconds, 5 to 31)", wholeNumber(1, 1000))
    .option("--num-warmups <n>", "requests before all tests, eight at once, that are not counted (default: 0; with --engine 64)", wholeNumber(0, 1_000_000))
    .option("--seed <n>", "of the prompts and the arrivals", wholeNumber(0), 0)
    .addOption(new Option("--base-url <url>", "a server that runs already, such as http://127.0.0.1:8000").conflicts("engine"))
    .option("--api-key <key>", "for it")
    .option("--json", "a JSON line a test")
    .action(benchServing);
}

const wholeNumbers = (text: string, before: readonly number[] = []): readonly number[] => [...before, wholeNumber(1, 100_000)(text)];

/** Does a load, in one of two ways. */
type Way = (requests: readonly LoadRequest[], shape: LoadShape) => Promise<LoadResult>;

/** A server that answers. */
interface Target {
  readonly url: string;
  readonly model: string;
  /** Without HTTP. */
  readonly engine?: Way;
  close(): Promise<void>;
}

async function benchServing(model: string, options: ServeBench): Promise<void> {
  const { baseUrl, apiKey, backend, stream } = options;
  const start = options.engine ? startMeasured : startServer;
  const target: Target = baseUrl === undefined ? await start(model) : { url: baseUrl.replace(/\/+$/, ""), model, close: async () => {} };
  try {
    const words = await vocabularyOf(target, apiKey);
    const answer = httpAnswerer({ ...target, backend, stream, apiKey }, words.textOf);
    const ways: Ways = { http: (requests, shape) => runLoad(requests, answer, shape), ...(target.engine && { engine: target.engine }) };
    await warmUp(ways.http, words.ids, options);
    for (const max_concurrency of options.maxConcurrency ?? [1, 8, 32]) say(await benchOne(ways, words.ids, max_concurrency, options), options);
    answer.close();
  } finally {
    await target.close();
  }
}

/** A server that has run for a while has its code compiled, and so has its client: what a token takes them falls by a third within forty answers. */
async function warmUp(http: Way, vocabulary: readonly number[], { engine, numWarmups = engine ? 64 : 0, randomInputLen, randomOutputLen, seed }: ServeBench): Promise<void> {
  const requests = randomRequests(vocabulary, { count: numWarmups, input: randomInputLen, output: randomOutputLen, seed: seed - 1 });
  await http(requests, { max_concurrency: 8, request_rate: Infinity, seed });
}

interface Ways {
  readonly http: Way;
  readonly engine?: Way;
}

/** Rounds of both ways take turns; each round has prompts of its own, the same for both, so that no prefix is known from before. */
async function benchOne(ways: Ways, vocabulary: readonly number[], max_concurrency: number, { numPrompts, randomInputLen, randomOutputLen, requestRate: request_rate, backend, stream, engine, repetitions, seed }: ServeBench): Promise<Report> {
  const num_prompts = numPrompts ?? 2 * max_concurrency;
  const requests = (round: number): LoadRequest[] => randomRequests(vocabulary, { count: num_prompts, input: randomInputLen, output: randomOutputLen, seed: seed + round });
  const rounds: { readonly http: LoadResult[]; readonly engine: LoadResult[] } = { http: [], engine: [] };
  for (let round = 0; !isEnough(rounds.http, repetitions, engine); round++) {
    // Neither is always the first: a machine that grows slower, or faster, favours none.
    for (const way of round % 2 === 0 ? (["http", "engine"] as const) : (["engine", "http"] as const)) {
      const result = await ways[way]?.(requests(round), { max_concurrency, request_rate, seed: seed + round });
      if (result === undefined) continue;
      // The first is a warm-up.
      if (round > 0) rounds[way].push(result);
    }
  }
  const rates = { http: rounds.http.map(outputRate), engine: rounds.engine.map(outputRate) };
  const answered = rounds.http.flatMap((result) => result.answered);
  const errors = rounds.http.flatMap((result) => result.errors);
  const total_output_tokens = answered.reduce((sum, { output_tokens }) => sum + output_tokens, 0);
  const duration = rounds.http.reduce((sum, result) => sum + result.duration, 0);
  return {
    test: `serve:${max_concurrency}:${randomInputLen}:${randomOutputLen}`,
    backend,
    stream,
    request_rate: Number.isFinite(request_rate) ? request_rate : "inf",
    max_concurrency,
    num_prompts,
    completed: answered.length,
    failed: errors.length,
    duration,
    total_input_tokens: answered.length * randomInputLen,
    total_output_tokens,
    request_throughput: answered.length / duration,
    tokens_per_second: spread(rates.http),
    ...latencies("ttft", answered.map(({ ttft }) => ttft)),
    ...(stream && latencies("itl", answered.flatMap(({ itl }) => itl))),
    ...latencies("e2el", answered.map(({ e2el }) => e2el)),
    ...(ways.engine && { engine_tokens_per_second: spread(rates.engine), lost: spread(rates.http.map((rate, round) => 1 - rate / rates.engine[round]!)) }),
    ...(errors[0] !== undefined && { first_error: errors[0] }),
  };
}

/** Rounds of one stream are over in a second, and differ by 5 % and more: the shorter they are, the more are needed to tell what is lost. */
function isEnough(rounds: readonly LoadResult[], repetitions: number | undefined, engine: true | undefined): boolean {
  if (repetitions !== undefined || !engine) return rounds.length >= (repetitions ?? 1);
  return rounds.length >= 31 || (rounds.length >= 5 && rounds.reduce((sum, { duration }) => sum + duration, 0) >= 40);
}

type Report = Readonly<Record<string, unknown>> & { readonly test: string; readonly failed: number };

const outputRate = ({ answered, duration }: LoadResult): number => answered.reduce((sum, { output_tokens }) => sum + output_tokens, 0) / duration;

function say(report: Report, { json }: ServeBench): void {
  const rounded = JSON.parse(JSON.stringify(report), (_, value: unknown) => (typeof value === "number" ? Math.round(value * 1000) / 1000 : value)) as Report;
  const text = Object.entries(rounded).map(([name, value]) => `${name.padEnd(26)}${String(value)}\n`).join("");
  openTerminal().out(json ? `${JSON.stringify(rounded)}\n` : `${text}\n`);
  if (report.failed > 0) process.exitCode = 1;
}

const launcher = fileURLToPath(new URL("../../bin/longjing", import.meta.url));

/** In a process of its own, as it is served. */
async function startServer(model: string): Promise<Target> {
  const server = spawn(process.execPath, [launcher, "serve", model, "--port", "0", "--no-log", "--no-studio", "--json"], { stdio: ["ignore", "pipe", "inherit"] });
  const { told, close } = watched(server, model);
  const { url, models } = JSON.parse(String(await told(once(server.stdout, "data")))) as { url: string; models: readonly [string] };
  return { url, model: models[0], close };
}

/** In a process of its own, whose engine can be asked without HTTP. */
async function startMeasured(model: string): Promise<Target> {
  const server = fork(fileURLToPath(new URL("./bench-server.js", import.meta.url)), [model], { serialization: "advanced" });
  const { told, close } = watched(server, model);
  return {
    ...((await told(once(server, "message"))) as MeasuredServer),
    async engine(requests, shape) {
      server.send({ requests, shape } satisfies EngineLoad);
      return (await told(once(server, "message"))) as LoadResult;
    },
    close,
  };
}

interface Watched {
  /** The first value of an event. @throws LongjingError "runtime" where the server ends before it comes */
  told(event: Promise<unknown[]>): Promise<unknown>;
  close(): Promise<void>;
}

function watched(server: ChildProcess, model: string): Watched {
  const ended = once(server, "close");
  return {
    async told(event) {
      const heard = await Promise.race([event, ended.then(() => null)]);
      if (heard === null) throw new LongjingError("runtime", "The server has ended before it was ready", { where: model });
      return heard[0];
    },
    async close() {
      server.kill("SIGTERM");
      await ended;
    },
  };
}

/** Common words and signs, of which a tokenizer makes tokens that stand in running text. */
const sample = "It was said that the first of them would come in the morning, and that two others, who had been there before, might follow by noon: 1, 2, 3, 40, 500. Where do they go? No one knows (yet).";

/** Token ids for prompts, and their text, as the server's own tokenizer has them. */
async function vocabularyOf({ url, model }: Target, apiKey: string | undefined): Promise<{ readonly ids: readonly number[]; readonly textOf: (ids: readonly number[]) => string }> {
  const post = async (path: string, body: object): Promise<unknown> => {
    const response = await fetch(`${url}${path}`, { method: "POST", headers: { "content-type": "application/json", ...(apiKey !== undefined && { authorization: `Bearer ${apiKey}` }) }, body: JSON.stringify({ model, ...body }) });
    if (!response.ok) throw new LongjingError("bad_argument", "The server does not say how it reads texts", { where: `${url}${path}`, got: `${response.status} ${await response.text()}` });
    return await response.json();
  };
  const ids = [...new Set(((await post("/tokenize", { content: sample })) as { tokens: number[] }).tokens)];
  const texts = new Map<number, string>();
  for (const id of ids) texts.set(id, ((await post("/detokenize", { tokens: [id] })) as { content: string }).content);
  return { ids, textOf: (prompt) => prompt.map((id) => texts.get(id)).join("") };
}
