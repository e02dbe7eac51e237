import { spawn } from "node:child_process";
import { once } from "node:events";
import { createWriteStream, existsSync } from "node:fs";
import { hostname } from "node:os";
import { fileURLToPath } from "node:url";
import type { Command } from "commander";
import type { ModelDtype, SpeculativeConfig } from "../engine/index.ts";
import { LongjingError } from "../errors/index.ts";
import type { Accounts, ModelRegistry, ModelSource, RequestLogEntry } from "../serve/index.ts";
import { openBackendWith, providerOption, threadsOption, type BackendOptions } from "./backend.ts";
import { databasePath } from "./database-path.ts";
import { dtypeOption, realNumber, speculativeOption, wholeNumber } from "./options.ts";
import { openTerminal, type Terminal } from "./terminal.ts";

interface ServeOptions extends BackendOptions {
  readonly port: number;
  readonly host: string;
  readonly apiKey?: string;
  readonly insecure?: true;
  readonly database?: string;
  readonly allowedHosts?: readonly string[];
  readonly allowedOrigins?: readonly string[];
  readonly adapter?: readonly string[];
  readonly maxModelLen?: number;
  readonly maxNumSeqs?: number;
  readonly dtype?: ModelDtype;
  readonly speculativeConfig?: SpeculativeConfig;
  readonly maxModels: number;
  readonly maxModelGb?: number;
  readonly keepAlive: number;
  readonly maxWaiting: number;
  readonly streamInterval: number;
  readonly drainTimeout: number;
  readonly log?: string | false;
  readonly logPrompts?: string;
  readonly runs: string;
  readonly studio: boolean;
  readonly json?: true;
}

const packageFile = (path: string): string => fileURLToPath(new URL(`../../${path}`, import.meta.url));

export function addServe(program: Command): void {
  program
    .command("serve")
    .description("Serve models over HTTP in OpenAI's and DeepSeek's form, with the studio beside them")
    .argument("[model...]", "folders or GGUF files, ORG/NAME that was pulled, or NAME=PATH; without any, those that ship")
    .option("--port <n>", "port; 0 picks a free one", wholeNumber(0, 65535), 3141)
    .option("--host <address>", "address to listen on; anything but loopback needs keys", "127.0.0.1")
    .option("--api-key <key>", "take this key, beside those of `longjing keys` (default: the environment's LONGJING_API_KEY)")
    .option("--insecure", "listen where other machines can reach the server, and ask for no key")
    .option("--database <file>", "SQLite file of keys and usage (default: the environment's LONGJING_DATABASE, or ~/.longjing/server.db where that exists)")
    .option("--allowed-hosts <name...>", "names that requests may be addressed to, beside this machine's")
    .option("--allowed-origins <origin...>", "web origins whose pages may use the server")
    .option("--adapter <name=dir>", "serve a LoRA adapter in PEFT's format as a model of this name; may be given again", (text, before: readonly string[] = []) => [...before, text])
    .option("--max-model-len <n>", "longest prompt plus completion, in tokens (default: the model's own, at most 4096, or more where a cache of 1 GiB holds eight of it)", wholeNumber(16))
    .addOption(dtypeOption("auto"))
    .addOption(speculativeOption())
    .addOption(providerOption())
    .addOption(threadsOption())
    .option("--max-num-seqs <n>", "sequences that a model runs at once (default: what a cache of a quarter of the machine's memory holds, at most 64)", wholeNumber(1, 4096))
    .option("--max-models <n>", "models in memory at once", wholeNumber(1), 4)
    .option("--max-model-gb <gb>", "size of the models in memory at once, by their files", realNumber(0, 1e6))
    .option("--keep-alive <seconds>", "unload a model that nobody has used for so long; 0 keeps it", wholeNumber(0, 2_000_000), 1800)
    .option("--max-waiting <n>", "requests that may wait for their first token; more are answered with 429", wholeNumber(1), 512)
    .option("--stream-interval <n>", "tokens that one chunk of a stream has at most, of those that leave together; more spare the client work", wholeNumber(1, 1024), 1)
    .option("--drain-timeout <seconds>", "on SIGTERM, how long open requests may go on", wholeNumber(0, 86_400), 30)
    .option("--log <file>", "append the request log to a file (default: standard error); it has no prompts")
    .option("--no-log", "write no request log")
    .option("--log-prompts <dir>", "write what is asked and answered to this folder")
    .option("--runs <dir>", "folder of the training runs", "runs")
    .option("--no-studio", "leave the page out")
    .option("--json", "one JSON line when ready, errors as JSON")
    .action(serve);
}

async function serve(names: readonly string[], options: ServeOptions): Promise<void> {
  const terminal = openTerminal();
  const { createApp, listen, ModelRegistry, openRuns } = await import("../serve/index.ts");
  const accounts = await accountsOf(options);
  const apiKey = options.apiKey ?? process.env.LONGJING_API_KEY;
  const hosts = allowedHosts(options, apiKey !== undefined || accounts?.asksForKeys() === true);
  const sources = await sourcesOf(names, options);
  const registry = new ModelRegistry(sources, {
    maxModels: options.maxModels,
    ...(options.maxModelGb === undefined ? {} : { maxBytes: options.maxModelGb * 1e9 }),
    ...(options.keepAlive === 0 ? {} : { maxIdleMs: options.keepAlive * 1000 }),
  });
  await loadFirst(registry, sources);
  const launcher = packageFile("bin/longjing");
  const runs = openRuns({
    runsDir: options.runs,
    recipesDir: packageFile("recipes"),
    launch: (args) => spawn(process.execPath, [launcher, ...args], { stdio: ["ignore", "ignore", "pipe"] }),
  });
  const studio = packageFile("apps/studio/dist");
  const [closing, cut] = [new AbortController(), new AbortController()];
  const report = (error: unknown): void => terminal.note(`${terminal.noteColors.red("error")} ${error instanceof Error ? error.stack : String(error)}\n`);
  const app = createApp({
    models: registry,
    runs,
    hosts,
    maxWaiting: options.maxWaiting,
    streamInterval: options.streamInterval,
    closing: closing.signal,
    cut: cut.signal,
    log: requestLog(options.log, terminal, report),
    report,
    ...(options.allowedOrigins === undefined ? {} : { origins: options.allowedOrigins }),
    ...(apiKey === undefined ? {} : { auth: apiKey }),
    ...(accounts === undefined ? {} : { accounts }),
    ...(options.logPrompts === undefined ? {} : { promptsDir: options.logPrompts }),
    ...(options.studio && existsSync(studio) ? { studio } : {}),
  });
  const listening = await listen(app, options);
  announce(listening.url, registry.list().map(({ id }) => id), options, terminal);

  await Promise.race([once(process, "SIGINT"), once(process, "SIGTERM")]);
  closing.abort();
  for (const [signal, code] of [["SIGINT", 130], ["SIGTERM", 143]] as const) process.once(signal, () => process.exit(code));
  // Whoever comes while others are still answered is told so, which a closed port could not.
  const drainMs = options.drainTimeout * 1000;
  const deadline = setTimeout(() => cut.abort(), drainMs);
  await Promise.all([runs.close(), listening.drained(drainMs)]);
  await listening.close(1000);
  clearTimeout(deadline);
  registry.close();
  accounts?.close();
}

/** The database that is named, or the one that `longjing keys` has made. */
async function accountsOf({ database }: ServeOptions): Promise<Accounts | undefined> {
  const path = databasePath(database);
  if (database === undefined && !existsSync(path)) return undefined;
  const { openAccounts } = await import("../serve/index.ts");
  return await openAccounts(path);
}

/**
 * Where keys are asked for, a page that rebinds a name has none, so any name will do.
 * @throws LongjingError "bad_argument" for an address that others can reach, without keys
 */
function allowedHosts({ host, insecure, allowedHosts: named = [] }: ServeOptions, hasKeys: boolean): readonly string[] {
  const loopback = ["localhost", "127.0.0.1", "[::1]"];
  if (loopback.includes(host) || host === "::1") return [...loopback, ...named];
  if (hasKeys) return ["*"];
  if (insecure) return [...loopback, "ip", hostname(), ...named];
  throw new LongjingError("bad_argument", "Other machines could reach this server without a key", {
    where: "--host",
    got: host,
    expected: "a loopback address, or keys",
    hint: "Make a key with `longjing keys create NAME`, give one with --api-key, or say --insecure",
  });
}

async function sourcesOf(names: readonly string[], options: ServeOptions): Promise<readonly ModelSource[]> {
  const [{ baseOf, modelSource, nameAdapter, nameModel }, { shippedModels }] = await Promise.all([import("./model-sources.ts"), import("./load-model.ts")]);
  const given = names.length > 0 ? names : await shippedModels();
  const models = await Promise.all(given.map(nameModel));
  const adapters = await Promise.all((options.adapter ?? []).map(nameAdapter));
  const bases = new Map(adapters.map((adapter) => [adapter, baseOf(adapter, models)]));
  const { maxModelLen, maxNumSeqs, dtype, speculativeConfig: speculative } = options;
  const backend = await openBackendWith(options);
  return await Promise.all(models.map((model) => modelSource(model, { backend, maxModelLen, maxNumSeqs, dtype, speculative, adapters: adapters.filter((adapter) => bases.get(adapter) === model) })));
}

/** So that the first answer does not wait, and a model that does not load ends the command. */
async function loadFirst(registry: ModelRegistry, [first]: readonly ModelSource[]): Promise<void> {
  if (first !== undefined) (await registry.acquire(first.id)).release();
}

function requestLog(where: string | false | undefined, terminal: Terminal, report: (error: unknown) => void): (entry: RequestLogEntry) => void {
  if (where === false) return () => {};
  if (typeof where === "string") {
    const file = createWriteStream(where, { flags: "a", mode: 0o600 }).on("error", report);
    return (entry) => void file.write(`${JSON.stringify(entry)}\n`);
  }
  if (!terminal.interactive) return (entry) => terminal.note(`${JSON.stringify(entry)}\n`);
  const { dim } = terminal.noteColors;
  return ({ method, path, status, model, prompt_tokens, completion_tokens, seconds }) =>
    terminal.note(dim(`${status} ${method} ${path}${model === null ? "" : ` ${model} ${prompt_tokens} + ${completion_tokens} tokens`} ${seconds.toFixed(2)} s\n`));
}

function announce(url: string, models: readonly string[], { json }: ServeOptions, terminal: Terminal): void {
  const { bold, dim } = terminal.colors;
  if (json) terminal.out(`${JSON.stringify({ url, models })}\n`);
  else terminal.out(`${bold("Longjing")} listens on ${bold(url)} ${dim(`· API at ${url}/v1 · ${models.join(", ") || "no model"}`)}\n`);
}
