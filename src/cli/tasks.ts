import { InvalidArgumentError, type Command } from "commander";
import { z } from "zod";
import { LongjingError } from "../errors/index.ts";
import { jsonObject, wholeNumber } from "./options.ts";
import type { GymConfig } from "./reasoning-gym.ts";
import { openTerminal } from "./terminal.ts";

interface ImportOptions {
  readonly task?: readonly string[];
  readonly all?: true;
  readonly config?: GymConfig;
  readonly hard?: string | true;
  readonly size: number;
  readonly seed: number;
  readonly out?: string;
}

export function addTasks(program: Command): void {
  program
    .command("tasks")
    .description("Problems with verifiers from elsewhere")
    .command("import")
    .description("Write problems as JSON lines: task, question, answer, metadata, and what its verifier needs to make it again")
    .argument("<source>", "reasoning-gym (from PyPI; LONGJING_PYTHON names the Python that has it)", sourceName)
    .option("--task <name...>", "these tasks")
    .option("--all", "every task there is")
    .option("--config <json>", "fields of the task's configuration", jsonObject)
    .option("--hard [file]", "each task's hard configuration, from the published ones or a JSON file (levels.hard.NAME.config); --config goes on top")
    .option("--size <n>", "problems of each task", wholeNumber(1), 50)
    .option("--seed <n>", "of the generator", wholeNumber(0), 0)
    .option("--out <file>", "a file instead of stdout")
    .action((_source: string, options: ImportOptions) => importProblems(options));
}

async function importProblems(options: ImportOptions): Promise<void> {
  const terminal = openTerminal();
  const { ReasoningGym } = await import("./reasoning-gym.ts");
  if (!options.task && !options.all) throw new LongjingError("bad_argument", "No task is named", { expected: "--task NAME … or --all" });
  const hard = options.hard === undefined ? null : await hardConfigs(options.hard === true ? (await import("./published.ts")).publishedPath : options.hard);
  const gym = new ReasoningGym();
  const output = options.out === undefined ? null : await outputTo(options.out);
  try {
    for (const task of options.task ?? (hard ? Object.keys(hard) : await gym.tasks())) {
      const config = { ...configOf(hard, task), ...options.config, size: options.size, seed: options.seed };
      for (let start = 0; start < options.size; start += batch) {
        const problems = await gym.entries(task, config, start, Math.min(batch, options.size - start));
        const text = problems.map((problem, i) => `${JSON.stringify({ ...problem, config, index: start + i })}\n`).join("");
        if (output) await output.write(text);
        else terminal.out(text);
      }
      terminal.note(`${task}: ${options.size}\n`);
    }
  } finally {
    gym.close();
    await output?.close();
  }
}

/** A file that is made, or emptied, when there is something to write: what was there stays where nothing could be got. */
async function outputTo(where: string): Promise<{ write(text: string): Promise<void>; close(): Promise<void> }> {
  const { open } = await import("node:fs/promises");
  let file: Awaited<ReturnType<typeof open>> | undefined;
  const refused = (cause: unknown): never => {
    throw new LongjingError("disk", "The problems cannot be written", { where, got: (cause as Error).message }, { cause });
  };
  return {
    write: async (text) => {
      file ??= await open(where, "w").catch(refused);
      await file.appendFile(text).catch(refused);
    },
    close: async () => file?.close(),
  };
}

// Problems asked for at once.
const batch = 200;

const levels = z.object({ levels: z.object({ hard: z.record(z.string(), z.object({ config: z.record(z.string(), z.unknown()) })) }) });

async function hardConfigs(path: string): Promise<Readonly<Record<string, GymConfig>>> {
  const { readFile } = await import("node:fs/promises");
  const parsed = z.string().transform((text): unknown => JSON.parse(text)).pipe(levels).safeParse(await readFile(path, "utf8"));
  if (!parsed.success) throw new LongjingError("bad_file", "The file has no hard configurations", { where: path, expected: "levels.hard.NAME.config" });
  return Object.fromEntries(Object.entries(parsed.data.levels.hard).map(([name, { config }]) => [name, config]));
}

function configOf(hard: Readonly<Record<string, GymConfig>> | null, task: string): GymConfig {
  if (!hard) return {};
  const found = hard[task];
  if (!found) throw new LongjingError("not_found", "The file has no hard configuration of this task", { got: task, expected: Object.keys(hard) });
  return found;
}

function sourceName(text: string): string {
  if (text === "reasoning-gym") return text;
  throw new InvalidArgumentError("Expected reasoning-gym.");
}
