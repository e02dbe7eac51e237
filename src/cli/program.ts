import { readFileSync } from "node:fs";
import { Command } from "commander";
import { addBench } from "./bench.ts";
import { addChat } from "./chat.ts";
import { addDoctor } from "./doctor.ts";
import { addEval } from "./eval.ts";
import { addExport } from "./export.ts";
import { exitCodesHelp } from "./exit-codes.ts";
import { addKeys } from "./keys.ts";
import { addProbe } from "./probe.ts";
import { addPull } from "./pull.ts";
import { addQuantize } from "./quantize.ts";
import { addReward } from "./reward.ts";
import { addServe } from "./serve.ts";
import { addTasks } from "./tasks.ts";
import { addTop } from "./top.ts";
import { addTrain } from "./train.ts";

/** The command line. A command's file loads what it works with when it runs, so that `--help` is quick. */
export function createProgram(): Command {
  const manifest = JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8")) as { version: string; description: string };
  const program = new Command("longjing")
    .description(manifest.description)
    .version(manifest.version)
    .addHelpText("after", exitCodesHelp)
    .showHelpAfterError("(longjing --help tells more)")
    .exitOverride();
  addTrain(program);
  addServe(program);
  addKeys(program);
  addTop(program);
  addEval(program);
  addTasks(program);
  addReward(program);
  addProbe(program);
  addBench(program);
  addPull(program);
  addExport(program);
  addQuantize(program);
  addChat(program);
  addDoctor(program);
  return program;
}
