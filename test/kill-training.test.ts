import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, watch } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { random } from "../src/random/index.ts";
import { openStartingModel } from "../src/cli/starting-model.ts";
import { initParameters, parameterSpecs } from "../src/model/index.ts";
import { createTokenizer } from "../src/text/index.ts";
import { readLedger, readLog, runRecipe, withoutClock, type Recipe, type RecipeEvent } from "../src/train/index.ts";
import { writeCheckpoint } from "../src/weights/index.ts";
import { launcher } from "./launcher.ts";
import { backend } from "./providers.ts";
import { recipe as loraRecipe } from "./tiny-lora-recipe.ts";
import { recipe as tinyRecipe } from "./tiny-recipe.ts";

const dir = mkdtempSync(join(tmpdir(), "longjing-kill-training-"));
afterAll(() => rmSync(dir, { recursive: true, force: true }));

const checkpointEvery = 3;
const base = join(dir, "base");

/** What is trained, and how often it dies. */
interface Subject {
  readonly recipe: Recipe;
  readonly file: string;
  readonly kills: number;
  /** On a model that is there already. */
  readonly args: readonly string[];
  readonly weights: string;
  readonly checkpoints: readonly string[];
}

const subjects: readonly Subject[] = [
  { recipe: tinyRecipe, file: "tiny-recipe.ts", kills: 27, args: [], weights: "model.safetensors", checkpoints: ["pretrain-step-3", "pretrain-step-27", "pretrain-step-30", "grpo-step-3", "grpo-step-6", "grpo-step-8", "final-step-1"] },
  { recipe: loraRecipe, file: "tiny-lora-recipe.ts", kills: 9, args: ["--base", base], weights: "adapter_model.safetensors", checkpoints: ["sft-step-3", "sft-step-9", "sft-step-12", "grpo-step-3", "grpo-step-6"] },
];

beforeAll(async () => {
  const files = tinyRecipe.tokenizer!();
  const config = tinyRecipe.model!(createTokenizer(files.tokenizerJson, files.tokenizerConfig));
  const specs = parameterSpecs(config);
  const parameters = initParameters(specs, 0.1, random("a base for adapters"));
  const extraFiles = { "tokenizer.json": JSON.stringify(files.tokenizerJson), "tokenizer_config.json": JSON.stringify(files.tokenizerConfig) };
  await writeCheckpoint(base, { config, tensors: specs.map(({ name, shape }) => ({ name, shape, data: parameters[name]! })), dtype: "float32", extraFiles });
});

/** How far an event is into the run: events of a resumed run stand where they stood in the run that was not stopped. */
function placeOf({ recipe }: Subject, event: RecipeEvent): number {
  if (event.type === "start") return -1;
  if (event.type === "end") return Number.POSITIVE_INFINITY;
  const [, stage, step] = event.type === "checkpoint" ? (/^(.+)-step-(\d+)$/.exec(basename(event.path)) ?? []) : [null, event.stage, event.step];
  return recipe.stages.findIndex(({ name }) => name === stage) * 1000 + Number(step) + (event.type === "checkpoint" ? 0.5 : 0);
}

/** When a trainer dies: `delay` milliseconds after it has come to `place`, or after it then begins to write a checkpoint. */
interface Moment {
  readonly place: number;
  readonly writing: boolean;
  readonly delay: number;
}

/** Trains on in `folder` until it is killed, or has ended by itself. */
async function live(subject: Subject, folder: string, moment: Moment | null): Promise<"killed" | "ended"> {
  const args = ["train", join(import.meta.dirname, subject.file), ...subject.args, "--out", folder, "--resume", "--seed", "3", "--checkpoint-every", String(checkpointEvery), "--json"];
  const child = spawn(process.execPath, [launcher, ...args], { stdio: ["ignore", "pipe", "pipe"] });
  let complaint = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => (complaint += text));
  const closed = once(child, "close");
  const kill = async (): Promise<void> => {
    if (moment!.delay > 0) await sleep(moment!.delay);
    child.kill("SIGKILL");
  };
  let reached = false;
  const watcher = watch(join(folder, "checkpoints"), (_, name) => {
    if (reached && moment?.writing && name?.startsWith(".tmp-")) void kill();
  });
  createInterface({ input: child.stdout }).on("line", (line) => {
    const event = JSON.parse(line) as RecipeEvent;
    if (event.type === "start" && event.warnings.length > 0) complaint += event.warnings.join();
    if (moment === null || reached || placeOf(subject, event) < moment.place) return;
    reached = true;
    if (!moment.writing) void kill();
  });
  const [code, signal] = (await closed) as [number | null, string | null];
  watcher.close();
  expect(complaint).toBe("");
  if (signal === null) expect(code).toBe(0);
  return signal === "SIGKILL" ? "killed" : "ended";
}

const wholeCheckpoints = (folder: string): string[] => readdirSync(join(folder, "checkpoints")).filter((name) => !name.startsWith(".")).sort();
const sumsOf = (folder: string, name: string): string => readFileSync(join(folder, "checkpoints", name, "SHA256SUMS"), "utf8");

/** A value with each number and text replaced by its kind, and a list by its first. */
function structure(value: unknown): unknown {
  if (Array.isArray(value)) return value.slice(0, 1).map(structure);
  if (typeof value !== "object" || value === null) return value === null ? "string" : typeof value;
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, structure(inner)]));
}

test.each(subjects)(
  "$recipe.name: killed at $kills random moments of all its stages, the trainer ends as one that was never killed, byte for byte",
  async (subject) => {
    const { recipe, kills, args, weights, checkpoints } = subject;
    const at = (what: string): string => join(dir, `${recipe.name}-${what}`);
    const straight = at("straight");
    const places: number[] = [];
    const sums: Record<string, string> = {};
    const note = (event: RecipeEvent): void => {
      places.push(placeOf(subject, event));
      if (event.type === "checkpoint") sums[basename(event.path)] = sumsOf(straight, basename(event.path));
    };
    const starting = args.length > 0 ? await openStartingModel(base) : undefined;
    await runRecipe(recipe, { backend: await backend("cpu"), dir: straight, ...(starting && { base: starting }), seed: 3, resume: false, checkpointEvery, cores: 2, now: () => performance.now() / 1000, report: note });
    await starting?.close();
    expect(Object.keys(sums)).toEqual(expect.arrayContaining([...checkpoints]));

    const stream = random("moments of a trainer's death", recipe.name);
    let torn = 0;
    let runs = 0;
    let folder = "";
    const begin = (): void => {
      folder = at(`killed-${runs++}`);
      mkdirSync(join(folder, "checkpoints"), { recursive: true });
    };
    // Every checkpoint that is there, whole under its own name, is the one that the other run has made.
    const compare = (): void => {
      for (const name of wholeCheckpoints(folder)) expect(sumsOf(folder, name), name).toBe(sums[name]);
    };
    const compareEnd = (): void => {
      compare();
      expect(wholeCheckpoints(folder)).toEqual(wholeCheckpoints(straight));
      for (const name of wholeCheckpoints(folder))
        for (const file of [weights, "optimizer.safetensors", "state.json"]) {
          const [a, b] = [folder, straight].map((run) => readFileSync(join(run, "checkpoints", name, file)));
          expect(a?.equals(b!), `${name}/${file}`).toBe(true);
        }
      expect(withoutClock(readLog(join(folder, "log.jsonl")))).toEqual(withoutClock(readLog(join(straight, "log.jsonl"))));
      expect(structure(readLedger(folder))).toEqual(structure(readLedger(straight)));
    };

    begin();
    for (let kill = 0; kill < kills; ) {
      // One moment in each of as many equal parts of the run.
      const place = places[Math.floor(((kill + stream.next()) / kills) * places.length)]!;
      const moment = { place, writing: kill % 3 === 1, delay: kill % 3 === 2 ? 0 : stream.next() * (kill % 3 === 1 ? 4 : 40) };
      if ((await live(subject, folder, moment)) === "killed") {
        kill++;
        torn += Number(readdirSync(join(folder, "checkpoints")).some((name) => name.startsWith(".tmp-")));
        compare();
      } else {
        // It came to its end before it could be killed: another run takes its place.
        compareEnd();
        begin();
      }
    }
    expect(await live(subject, folder, null)).toBe("ended");
    compareEnd();
    // Of a few kills none may have met a checkpoint half written.
    if (kills > 20) expect(torn).toBeGreaterThan(0);
  },
  240_000,
);
