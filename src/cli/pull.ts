import { existsSync } from "node:fs";
import { basename } from "node:path";
import { Option, type Command } from "commander";
import { LongjingError } from "../errors/index.ts";
import type { HubName, Pulled } from "../hub/index.ts";
import type { CheckedModel } from "./check-model.ts";
import { progress, type Progress } from "./progress.ts";
import { table } from "./table.ts";
import { openTerminal, type Terminal } from "./terminal.ts";

interface PullOptions {
  readonly hub?: HubName;
  readonly include: readonly string[];
  readonly json?: true;
}

export function addPull(program: Command): void {
  program
    .command("pull")
    .description("Bring a model from a hub into the cache that is shared with other tools, or check a local one")
    .argument("<model>", "ORG/NAME, ORG/NAME@revision, or a folder or file")
    .addOption(new Option("--hub <name>", "default: the one whose endpoint is set, else huggingface").choices(["huggingface", "modelscope"]))
    .option("--include <glob>", "bring these files instead of what a model needs, such as '*Q4_0.gguf'; may be repeated", (glob: string, globs: readonly string[]) => [...globs, glob], [])
    .option("--json", "one JSON line with what is there; errors as JSON")
    .addHelpText(
      "after",
      `
Environment:
  HF_ENDPOINT, HF_TOKEN                      a hub that speaks Hugging Face's layout
  MODELSCOPE_ENDPOINT, MODELSCOPE_API_TOKEN  ModelScope
  HF_HUB_CACHE, HF_HOME                      where models are kept (default: ~/.cache/huggingface/hub)`,
    )
    .action(pullModel);
}

async function pullModel(model: string, options: PullOptions): Promise<void> {
  const terminal = openTerminal();
  const report = existsSync(model) ? await (await import("./check-model.ts")).checkModel(model) : await pullRemote(model, options, terminal);
  terminal.out(options.json ? `${JSON.stringify(report)}\n` : reportText(report, terminal));
}

async function pullRemote(model: string, { hub, include, json }: PullOptions, terminal: Terminal): Promise<Pulled> {
  const { cacheFolder, openHub, parseRepository, pull } = await import("../hub/index.ts");
  const ref = parseRepository(model);
  if (ref === null) throw new LongjingError("not_found", "There is no such folder or file, and it names no model of a hub", { where: model, expected: "a path, ORG/NAME or ORG/NAME@revision" });
  let line: Progress | undefined;
  const pulled = await pull(ref, {
    hub: openHub(process.env, hub),
    cache: cacheFolder(process.env),
    include,
    onProgress: ({ done, total, path }) => {
      if (json) return;
      line ??= progress(terminal, { label: basename(ref.id), total: megabytes(total), unit: "MB", done: megabytes(done) });
      line.update(megabytes(done), path);
    },
  }).finally(() => line?.end());
  return pulled;
}

const megabytes = (bytes: number): number => Math.round(bytes / 1e5) / 10;

function reportText({ folder, files }: CheckedModel | Pulled, { colors }: Terminal): string {
  const rows = files.map(({ path, size, digest, cached }) => [path, `${megabytes(size)} MB`, `${digest.algorithm} ${digest.hex.slice(0, 12)}`, cached ? "was there" : ""]);
  return `${table([["file", "size", "checked", ""], ...rows], colors.bold)}\n${folder}\n`;
}
