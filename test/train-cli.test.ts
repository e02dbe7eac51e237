import { spawn } from "node:child_process";
import { once } from "node:events";
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { launcher, longjing } from "./launcher.ts";

const dir = mkdtempSync(join(tmpdir(), "longjing-train-"));
afterAll(() => rmSync(dir, { recursive: true, force: true }));

const tiny = join(import.meta.dirname, "tiny-recipe.ts");
const events = (stdout: string) => stdout.trimEnd().split("\n").map((line) => JSON.parse(line) as { readonly type: string; readonly [key: string]: unknown });

test("a recipe in any folder trains, each event a JSON line, and the folder is not overwritten afterwards", async () => {
  const elsewhere = join(dir, "elsewhere");
  mkdirSync(elsewhere);
  const recipe = join(elsewhere, "mine.ts");
  copyFileSync(tiny, recipe);
  const args = ["train", recipe, "--out", join(dir, "run"), "--seed", "3", "--max-steps", "2"];
  const { code, stdout, stderr } = await longjing([...args, "--json"]);
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
  const told = events(stdout);
  expect(told[0]).toMatchObject({ type: "start", recipe: "tiny", stages: expect.arrayContaining([{ name: "grpo", steps: 2 }]) });
  expect(told.filter(({ type, stage }) => type === "metrics" && stage === "grpo").map(({ step }) => step)).toEqual([1, 2]);
  expect(told.at(-1)).toMatchObject({ type: "summary", evaluations: [{ stage: "base" }, { stage: "final" }] });
  const again = await longjing(args);
  expect(again).toMatchObject({ code: 3, stdout: "" });
  expect(again.stderr).toContain("--resume");
  expect(await longjing([...args, "--resume", "--seed", "4"])).toMatchObject({ code: 3 });
});

test("a recipe that is edited, or what it imports, is told of when its run goes on", async () => {
  const folder = join(dir, "edited");
  mkdirSync(folder);
  const recipe = join(folder, "mine.ts");
  writeFileSync(join(folder, "steps.ts"), "export const steps = 2;\n");
  writeFileSync(recipe, `import { recipe as tiny } from ${JSON.stringify(tiny)};\nimport { steps } from "./steps";\nexport const recipe = { ...tiny, stages: [{ ...tiny.stages[0], steps }] };\n`);
  const go = async (): Promise<unknown> => events((await longjing(["train", recipe, "--out", join(folder, "run"), "--resume", "--json", "--max-steps", "2"])).stdout)[0]!["warnings"];
  expect([await go(), await go()]).toEqual([[], []]);
  writeFileSync(join(folder, "steps.ts"), "export const steps = 3 - 1;\n");
  expect([await go(), await go()]).toEqual([[expect.stringMatching(/source has changed/)], []]);
});

test("SIGTERM ends the step that runs and saves it; the run goes on from there", async () => {
  const out = join(dir, "stopped");
  const child = spawn(process.execPath, [launcher, "train", tiny, "--out", out, "--json"], { stdio: ["ignore", "pipe", "ignore"] });
  let stdout = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    const told = stdout.includes('"type":"metrics"');
    stdout += text;
    if (!told && stdout.includes('"type":"metrics"')) child.kill("SIGTERM"); // once: a second ends it at once
  });
  expect(await once(child, "close")).toEqual([143, null]);
  const last = events(stdout).at(-1);
  expect(last).toMatchObject({ type: "stopped" });
  expect(existsSync(join(out, "checkpoints", `pretrain-step-${String(last?.step)}`))).toBe(true);
  const resumed = await longjing(["train", tiny, "--out", out, "--resume", "--json"]);
  expect(resumed.code).toBe(0);
  expect(events(resumed.stdout).find(({ type }) => type === "metrics")).toMatchObject({ step: Number(last?.step) + 1 });
});

test.each([
  ["a syntax error", "export const recipe = {;", /:1:23/],
  ["no recipe", "export const other = 1;", /export const recipe/],
  ["an import that is not there", 'import "nowhere";', /nowhere/],
  ["a recipe without stages", 'export const recipe = { name: "x", tokenizer() {}, model() {}, stages: [] };', /recipe\.stages/],
  ["no such file", null, /no such recipe/],
])("%s: an error that says where, and no folder is made", async (name, source, said) => {
  const recipe = join(dir, `${name.replaceAll(" ", "-")}.ts`);
  if (source !== null) writeFileSync(recipe, source);
  const out = join(dir, "refused");
  const { code, stdout, stderr } = await longjing(["train", recipe, "--out", out]);
  expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
  expect(stderr).toContain(recipe);
  expect(stderr).toMatch(said);
  expect(stderr).not.toContain("    at ");
  expect(existsSync(out)).toBe(false);
});
