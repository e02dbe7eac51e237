import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import type { Command } from "commander";
import { LongjingError } from "../errors/index.ts";
import { wholeNumber } from "./options.ts";
import { openTerminal } from "./terminal.ts";

interface ServeOptions {
  readonly port: number;
  readonly host: string;
  readonly apiKey?: string;
  readonly runs: string;
  readonly studio: boolean;
  readonly json?: true;
}

const packageFile = (path: string): string => fileURLToPath(new URL(`../../${path}`, import.meta.url));

export function addServe(program: Command): void {
  program
    .command("serve")
    .description("Serve models over HTTP in OpenAI's and DeepSeek's form, with the studio beside them")
    .argument("[model...]", "folders with config.json and weights, or ORG/NAME that was pulled; without any, only the studio's Train page works")
    .option("--port <n>", "port; 0 picks a free one", wholeNumber(0, 65535), 3141)
    .option("--host <address>", "address to listen on; anything but loopback needs a key", "127.0.0.1")
    .option("--api-key <key>", "ask every request for this key (default: the environment's LONGJING_API_KEY)")
    .option("--runs <dir>", "folder of the training runs", "runs")
    .option("--no-studio", "leave the page out")
    .option("--json", "one JSON line when ready, errors as JSON")
    .action(serve);
}

async function serve(folders: readonly string[], options: ServeOptions): Promise<void> {
  const terminal = openTerminal();
  const apiKey = options.apiKey ?? process.env.LONGJING_API_KEY;
  const { createApp, listen, loopbackHosts, openRuns } = await import("../serve/index.ts");
  const loopback = loopbackHosts.some((host) => host === options.host || host === `[${options.host}]`);
  if (!loopback && apiKey === undefined) {
    throw new LongjingError("bad_argument", "Other machines could reach this server without a key", { where: "--host", got: options.host, expected: "a loopback address, or --api-key" });
  }
  const { loadServedModel } = await import("./load-model.ts");
  const models = await Promise.all(folders.map((folder) => loadServedModel(folder)));
  const launcher = packageFile("bin/longjing");
  const runs = openRuns({
    runsDir: options.runs,
    recipesDir: packageFile("recipes"),
    launch: (args) => spawn(process.execPath, [launcher, ...args], { stdio: ["ignore", "ignore", "pipe"] }),
  });
  const studio = packageFile("apps/studio/dist");
  const app = createApp({
    models,
    runs,
    hosts: loopback ? loopbackHosts : ["*"],
    ...(apiKey === undefined ? {} : { auth: apiKey }),
    ...(options.studio && existsSync(studio) ? { studio } : {}),
    report: (error) => terminal.note(`${terminal.noteColors.red("error")} ${error instanceof Error ? error.stack : String(error)}\n`),
  });
  const listening = await listen(app, options);
  const { bold, dim } = terminal.colors;
  if (options.json) terminal.out(`${JSON.stringify({ url: listening.url, models: models.map(({ id }) => id) })}\n`);
  else terminal.out(`${bold("Longjing")} listens on ${bold(listening.url)} ${dim(`· API at ${listening.url}/v1 · ${models.map(({ id }) => id).join(", ") || "no model"}`)}\n`);

  await Promise.race([once(process, "SIGINT"), once(process, "SIGTERM")]);
  await Promise.all([runs.close(), listening.close()]);
  for (const { engine } of models) engine.dispose();
}
