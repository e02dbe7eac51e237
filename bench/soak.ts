import { spawn } from "node:child_process";
import { once } from "node:events";
import { request as open } from "node:http";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { pathToFileURL } from "node:url";
import { random, type Random } from "../src/random/index.ts";
import { parseMetrics } from "../src/cli/prometheus-text.ts";
import { countdown } from "../src/tasks/index.ts";

/**
 * Many streams at once against a real server with the model that ships: every stream has to be whole and equal to the answer
 * to its request alone, and the memory of the server has to stay flat.
 *
 *     npx tsx --conditions source bench/soak.ts [MINUTES] [STREAMS] [MODEL]
 */
export interface SoakOptions {
  readonly seconds: number;
  /** Clients that each keep one stream open. */
  readonly streams: number;
  readonly model?: string;
}

export interface SoakReport {
  readonly model: string;
  readonly streams: number;
  readonly seconds: number;
  readonly completed: number;
  /** Requests that were answered with 408 and made again, as clients do by themselves. No fault, but to be told: it needs a reason. */
  readonly retried: number;
  /** What was not whole, or not as alone. */
  readonly faults: readonly string[];
  readonly completion_tokens: number;
  readonly tokens_per_second: number;
  /** Resident memory of the server in MB, as a line fitted through the last two thirds of the time. */
  readonly memory: { readonly at_warm_up: number; readonly at_end: number; readonly slope_per_minute: number; readonly standard_error: number };
}

interface Answer {
  readonly text: string;
  readonly finish_reason: string;
  readonly completion_tokens: number;
}

interface Chunk {
  readonly choices: readonly { readonly delta: { readonly content: string | null; readonly reasoning_content: string | null }; readonly finish_reason: string | null }[];
  readonly usage: { readonly completion_tokens: number } | null;
  readonly error?: { readonly message: string };
}

const launcher = join(import.meta.dirname, "..", "bin", "longjing");

export async function soak({ seconds, streams, model }: SoakOptions): Promise<SoakReport> {
  const args = ["serve", ...(model === undefined ? [] : [model]), "--port", "0", "--no-log", "--no-studio", "--json"];
  // Garbage piles up to the limit that V8 has: with a low one, resident memory shows what is kept.
  const server = spawn(process.execPath, ["--max-old-space-size=96", "--max-semi-space-size=8", launcher, ...args], { stdio: ["ignore", "pipe", "inherit"] });
  server.once("exit", (code, signal) => process.stderr.write(`The server has ended: ${signal ?? code}\n`));
  try {
    const [ready] = (await once(server.stdout, "data")) as [Buffer];
    const { url, models } = JSON.parse(String(ready)) as { url: string; models: readonly [string] };
    const requests = requestsFor(models[0]);
    const alone: Answer[] = [];
    for (const request of requests) alone.push(await ask(url, request));
    return { model: models[0], streams, ...(await load(url, requests, alone, seconds, streams)) };
  } finally {
    server.kill("SIGTERM");
    if (server.exitCode === null) await once(server, "close");
  }
}

/** Greedy and seeded requests, short and long. */
function requestsFor(model: string): readonly object[] {
  return Array.from({ length: 24 }, (_, index) => ({
    model,
    stream: true,
    messages: [{ role: "user", content: countdown.problem({ split: "test", seed: 1, index }).prompt }],
    max_tokens: [16, 48, 96][index % 3],
    ...(index % 2 === 0 ? { temperature: 0 } : { temperature: 1, seed: index }),
  }));
}

interface Reply {
  readonly status: number | undefined;
  readonly body: string;
}

/** By a connection of its own, and without a limit of time: on a machine that stands still, nothing fails of slowness here. */
function send(url: string, request?: object): Promise<Reply> {
  return new Promise((resolve, reject) => {
    const sent = open(url, { method: request ? "POST" : "GET", agent: false, headers: { "content-type": "application/json" } }, (response) => {
      let body = "";
      response.setEncoding("utf8").on("data", (text) => (body += text)).on("error", reject).on("end", () => resolve({ status: response.statusCode, body }));
    });
    sent.on("error", reject).end(request && JSON.stringify(request));
  });
}

/** The streamed answer. Throws what is wrong with it. */
async function ask(url: string, request: object, onRetry: () => void = () => {}): Promise<Answer> {
  const { status, body } = await send(`${url}/v1/chat/completions`, request);
  if (status === 408) {
    onRetry();
    return await ask(url, request, onRetry);
  }
  if (status !== 200) throw new Error(`${status} ${body}`);
  const events = body.split("\n\n").filter((event) => event.startsWith("data: "));
  if (events.at(-1) !== "data: [DONE]") throw new Error(`no [DONE]: ${body.slice(-200)}`);
  const chunks = events.slice(0, -1).map((event) => JSON.parse(event.slice(6)) as Chunk);
  const last = chunks.at(-1);
  if (!last?.usage) throw new Error(`no usage: ${body.slice(-200)}`);
  return {
    text: chunks.map(({ choices: [choice] }) => `${choice?.delta.reasoning_content ?? ""}${choice?.delta.content ?? ""}`).join(""),
    finish_reason: last.choices[0]?.finish_reason ?? "none",
    completion_tokens: last.usage.completion_tokens,
  };
}

type LoadReport = Omit<SoakReport, "model" | "streams">;

async function load(url: string, requests: readonly object[], alone: readonly Answer[], seconds: number, streams: number): Promise<LoadReport> {
  const start = performance.now();
  const elapsed = (): number => (performance.now() - start) / 1000;
  const faults: string[] = [];
  let completed = 0;
  let retried = 0;
  let completion_tokens = 0;
  const client = async (pick: Random): Promise<void> => {
    while (elapsed() < seconds) {
      const at = pick.below(requests.length);
      const expected = JSON.stringify(alone[at]);
      const got = await ask(url, requests[at]!, () => retried++).then(
        (answer) => {
          completion_tokens += answer.completion_tokens;
          return JSON.stringify(answer);
        },
        (error: Error) => `${error.message}${error.cause === undefined ? "" : ` (${String(error.cause)})`}`,
      );
      completed++;
      if (got !== expected) faults.push(`request ${at}: ${got} instead of ${expected}`);
    }
  };
  const memory: (readonly [minute: number, megabytes: number])[] = [];
  const watch = async (): Promise<void> => {
    for (; elapsed() < seconds; await sleep(1000)) {
      const rss = parseMetrics((await send(`${url}/metrics`)).body).find(({ name }) => name === "process_resident_memory_bytes")?.value;
      if (elapsed() > seconds / 3) memory.push([elapsed() / 60, (rss ?? 0) / 1e6]);
    }
  };
  await Promise.all([watch(), ...Array.from({ length: streams }, (_, at) => client(random("soak", at)))]);
  return { seconds: elapsed(), completed, retried, faults, completion_tokens, tokens_per_second: completion_tokens / elapsed(), memory: { at_warm_up: memory[0]?.[1] ?? 0, at_end: memory.at(-1)?.[1] ?? 0, ...slopeOf(memory) } };
}

/** Least squares. */
function slopeOf(points: readonly (readonly [x: number, y: number])[]): { readonly slope_per_minute: number; readonly standard_error: number } {
  const mean = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length;
  const [x0, y0] = [mean(points.map(([x]) => x)), mean(points.map(([, y]) => y))];
  const spread = points.reduce((sum, [x]) => sum + (x - x0) ** 2, 0);
  const slope = points.reduce((sum, [x, y]) => sum + (x - x0) * (y - y0), 0) / spread;
  const residual = points.reduce((sum, [x, y]) => sum + (y - y0 - slope * (x - x0)) ** 2, 0);
  return { slope_per_minute: slope, standard_error: Math.sqrt(residual / (points.length - 2) / spread) };
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const [minutes = "10", streams = "256", model] = process.argv.slice(2);
  const { faults, ...report } = await soak({ seconds: Number(minutes) * 60, streams: Number(streams), ...(model !== undefined && { model }) });
  process.stdout.write(`${JSON.stringify({ ...report, faults: faults.length, first_faults: faults.slice(0, 5) }, null, 2)}\n`);
  if (faults.length > 0) process.exitCode = 1;
}
