import { setTimeout as sleep } from "node:timers/promises";
import type { Command } from "commander";
import { z } from "zod";
import { LongjingError } from "../errors/index.ts";
import { wholeNumber } from "./options.ts";
import { parseMetrics } from "./prometheus-text.ts";
import { openTerminal } from "./terminal.ts";
import { renderTop, topView, type Snapshot } from "./top-view.ts";

interface TopOptions {
  readonly apiKey?: string;
  readonly interval: number;
  readonly json?: true;
}

export function addTop(program: Command): void {
  program
    .command("top")
    .description("Watch a server: requests, tokens per second, queue, caches, keys")
    .argument("[url]", "where the server listens", "http://127.0.0.1:3141")
    .option("--api-key <key>", "a key of the server (default: the environment's LONGJING_API_KEY)")
    .option("--interval <seconds>", "time between two looks", wholeNumber(1, 3600), 1)
    .option("--json", "look once, print JSON")
    .action(top);
}

async function top(url: string, options: TopOptions): Promise<void> {
  const terminal = openTerminal();
  if (!URL.canParse(url) || !/^https?:$/.test(new URL(url).protocol)) throw new LongjingError("bad_argument", "This is no address of a server", { where: "url", got: url, expected: "http://HOST:PORT" });
  const key = options.apiKey ?? process.env.LONGJING_API_KEY;
  const headers = key === undefined ? {} : { authorization: `Bearer ${key}` };
  if (options.json) return terminal.out(`${JSON.stringify(topView(await look(url, headers), null))}\n`);
  const clear = process.stdout.isTTY ? "\u001b[H\u001b[J" : "";
  for (let before: Snapshot | null = null; ; await sleep(options.interval * 1000)) {
    const now = await look(url, headers);
    terminal.out(`${clear}${renderTop(topView(now, before), url, terminal.colors.bold)}`);
    before = now;
  }
}

async function look(url: string, headers: Readonly<Record<string, string>>): Promise<Snapshot> {
  const [metrics, models] = await Promise.all(["/metrics", "/v1/models"].map((path) => get(new URL(path, url), headers)));
  const { data } = listed(models!, url);
  return { at: performance.now() / 1000, samples: parseMetrics(metrics!), models: data.map(({ id }) => id) };
}

/** @throws LongjingError "network" for what another kind of server says */
function listed(text: string, where: string): { readonly data: readonly { readonly id: string }[] } {
  try {
    return z.object({ data: z.array(z.object({ id: z.string() })) }).parse(JSON.parse(text));
  } catch (cause) {
    throw new LongjingError("network", "Another kind of server answers", { where, expected: "`longjing serve`" }, { cause });
  }
}

async function get(url: URL, headers: Readonly<Record<string, string>>): Promise<string> {
  const response = await fetch(url, { headers }).catch((cause: unknown) => {
    throw new LongjingError("network", "No server answers", { where: url.href, hint: "Start one with `longjing serve`, or name another address" }, { cause });
  });
  if (response.ok) return await response.text();
  throw new LongjingError(response.status === 401 ? "bad_argument" : "network", "The server refuses", { where: url.href, got: response.status, ...(response.status === 401 ? { hint: "Give a key with --api-key" } : {}) });
}
