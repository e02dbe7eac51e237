import { availableParallelism, constants } from "node:os";
import type { Command } from "commander";
import { LongjingError } from "../errors/index.ts";
import type { LoraOptions, RecipeEvent } from "../train/index.ts";
import { openBackendWith, providerOption, threadsOption, type BackendOptions } from "./backend.ts";
import { realNumber, wholeNumber } from "./options.ts";
import { processMemory } from "./process-memory.ts";
import { openTerminal } from "./terminal.ts";

interface TrainOptions extends BackendOptions {
  readonly out: string;
  readonly base?: string;
  readonly lora?: true;
  readonly loraR?: number;
  readonly loraAlpha?: number;
  readonly loraTargetModules?: readonly string[];
  readonly useRslora?: true;
  readonly resume?: true;
  readonly seed?: number;
  readonly maxSteps?: number;
  readonly checkpointEvery?: number;
  readonly json?: true;
}

export function addTrain(program: Command): void {
  program
    .command("train")
    .description("Run a recipe, or go on with one. Ctrl-C ends the step, saves it and stops; again, it stops at once")
    .argument("<recipe>", "file that exports `recipe`, such as recipes/countdown-zero.ts")
    .requiredOption("--out <dir>", "the run's folder: log, ledger, checkpoints")
    .option("--base <model>", "what a recipe starts from that makes no model of its own: run, folder, GGUF file or ORG/NAME")
    .option("--lora", "train a LoRA adapter and leave the base as it is: a GGUF file's blocks of 4 bits stay in them")
    .option("--lora-r <n>", "its rank (default: 16)", wholeNumber(1, 4096))
    .option("--lora-alpha <x>", "its update counts alpha / rank times (default: 32)", realNumber(0, 1e6))
    .option("--lora-target-modules <names...>", "last parts of the names of what it changes, such as q_proj v_proj (default: all linear layers)")
    .option("--use-rslora", "its update counts alpha / √rank times")
    .option("--resume", "go on with the run in the folder; begin one if there is none")
    .option("--seed <n>", "of everything random (default: the run's own, or 0)", wholeNumber(0))
    .option("--max-steps <n>", "end each stage after so many steps", wholeNumber(1))
    .option("--checkpoint-every <n>", "steps between checkpoints (default: 50)", wholeNumber(1))
    .addOption(providerOption())
    .addOption(threadsOption())
    .option("--json", "one JSON line per event")
    .action(train);
}

async function train(path: string, options: TrainOptions): Promise<void> {
  const { out: dir, resume = false, seed, maxSteps, checkpointEvery } = options;
  const terminal = openTerminal();
  const { loadRecipe, recipeSha256 } = await import("./load-recipe.ts");
  const { runRecipe } = await import("../train/index.ts");
  const { defaultThreads } = await import("../runtime/cores.ts");
  const { summaryOf, summaryText } = await import("./run-summary.ts");
  const { trainView } = await import("./train-view.ts");
  const { openStartingModel } = await import("./starting-model.ts");
  const recipe = await loadRecipe(path);
  const lora = loraOf(options);
  const base = options.base === undefined ? undefined : await openStartingModel(options.base);
  const backend = await openBackendWith(options);
  const view = trainView(terminal);
  const report = options.json ? (event: RecipeEvent): void => terminal.out(`${JSON.stringify(event)}\n`) : view.report;
  const stop = stopOnSignal(() => view.say("Stops after this step, with a checkpoint. Again: at once"));
  const ended = await runRecipe(recipe, {
    backend,
    dir,
    resume,
    recipeSha256: await recipeSha256(path),
    ...(base && { base }),
    ...(lora && { lora }),
    ...(seed !== undefined && { seed }),
    ...(maxSteps !== undefined && { maxSteps }),
    ...(checkpointEvery !== undefined && { checkpointEvery }),
    cores: options.threads ?? defaultThreads() ?? availableParallelism(),
    memory: processMemory(),
    now: () => performance.now() / 1000,
    cpu: () => {
      const { user, system } = process.cpuUsage();
      return (user + system) / 1e6;
    },
    report,
    signal: stop.signal,
  });
  stop.release();
  await base?.close();
  if (ended === "stopped") process.exitCode = 128 + constants.signals[stop.name() ?? "SIGINT"];
  else if (options.json) terminal.out(`${JSON.stringify({ type: "summary", ...summaryOf(dir) })}\n`);
  else terminal.out(summaryText(summaryOf(dir), terminal.colors));
  if (ended === "stopped") view.say(`Go on with: longjing train ${path} --out ${dir}${options.base === undefined ? "" : ` --base ${options.base}`}${maxSteps === undefined ? "" : ` --max-steps ${maxSteps}`} --resume`);
}

/** @throws LongjingError "bad_argument" for options of an adapter where none is trained */
function loraOf({ lora, loraR, loraAlpha, loraTargetModules, useRslora }: TrainOptions): LoraOptions | undefined {
  const chosen: LoraOptions = {
    ...(loraR !== undefined && { r: loraR }),
    ...(loraAlpha !== undefined && { lora_alpha: loraAlpha }),
    ...(loraTargetModules && { target_modules: loraTargetModules }),
    ...(useRslora && { use_rslora: useRslora }),
  };
  if (lora) return chosen;
  if (Object.keys(chosen).length > 0) throw new LongjingError("bad_argument", "These options are an adapter's", { got: Object.keys(chosen).join(", "), hint: "Train one: --lora" });
  return undefined;
}

type StopSignal = "SIGINT" | "SIGTERM";

/** Aborts at the first signal. From then on a signal does what it does by default: it ends the process. */
function stopOnSignal(onStop: () => void): { readonly signal: AbortSignal; name(): StopSignal | undefined; release(): void } {
  const controller = new AbortController();
  let received: StopSignal | undefined;
  const release = (): void => {
    for (const name of ["SIGINT", "SIGTERM"] as const) process.off(name, stop);
  };
  const stop = (name: StopSignal): void => {
    received = name;
    release();
    onStop();
    controller.abort();
  };
  for (const name of ["SIGINT", "SIGTERM"] as const) process.on(name, stop);
  return { signal: controller.signal, name: () => received, release };
}
