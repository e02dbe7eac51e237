import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { loadServedModel } from "../src/cli/load-model.ts";
import type { AnswerRecord, SuiteResult } from "../src/eval/index.ts";
import { createApp, listen, type Listening } from "../src/serve/index.ts";
import { readLog, runRecipe } from "../src/train/index.ts";
import { longjing } from "./launcher.ts";
import { backend } from "./providers.ts";
import { recipe } from "./tiny-recipe.ts";

// A measurement is a process or two, on a machine that may be busy.
vi.setConfig({ testTimeout: 300_000, hookTimeout: 300_000 });

const dir = mkdtempSync(join(tmpdir(), "longjing-eval-"));
const model = join(dir, "checkpoints", "final-step-1");
const path = (name: string): string => join(dir, name);
let listening: Listening;
let id: string;
const served: Awaited<ReturnType<typeof loadServedModel>>[] = [];

beforeAll(async () => {
  await runRecipe(recipe, { backend: await backend("cpu"), dir, seed: 3, resume: false, cores: 2, now: () => 0 });
  served.push(await loadServedModel(model));
  id = served[0]!.id;
  listening = await listen(createApp({ models: served, auth: "secret-of-the-server" }), { port: 0 });
});
afterAll(async () => {
  await listening.close(0);
  served[0]?.engine.dispose();
  rmSync(dir, { recursive: true, force: true });
});

const short = ["--level", "1", "--problems", "4", "--seed", "3", "--max-tokens", "24", "--language", "en"];

async function measured(args: readonly string[]): Promise<SuiteResult> {
  const { code, stdout, stderr } = await longjing(["eval", ...args, "--json"]);
  expect({ code, stderr }).toMatchObject({ code: 0 });
  return JSON.parse(stdout) as SuiteResult;
}

const answersIn = (file: string): AnswerRecord[] => readFileSync(file, "utf8").trim().split("\n").map((line) => JSON.parse(line) as AnswerRecord);

test("what a run found right of a model, eval finds right", async () => {
  const found = readLog(join(dir, "log.jsonl")).find(({ stage }) => stage === "final") as unknown as { readonly greedy: { readonly accuracy: number } };
  const { results } = await measured([model, "--task", "parity", ...short, "--samples", "1", "--temperature", "0"]);
  // It reads an answer also where its form is not what the task's reward asks for.
  expect(results[0]!.pass_at["1"]!.value).toBeGreaterThanOrEqual(found.greedy.accuracy);
});

test("a model scores over HTTP what it scores by the engine, answer by answer", async () => {
  process.env["EVAL_TEST_KEY"] = "secret-of-the-server";
  const asked = [...short, "--samples", "3", "--temperature", "1", "--top-p", "1"];
  const own = await measured(["parity", model, ...asked, "--answers", path("own.jsonl")]);
  const remote = await measured(["parity", "--endpoint", `${listening.url}/v1`, "--model", id, "--api-key-env", "EVAL_TEST_KEY", ...asked, "--answers", path("remote.jsonl"), "--input-price", "1", "--output-price", "2"]);
  const without = ({ results }: SuiteResult): unknown[] => results.map(({ usd: _usd, usd_per_solved: _solved, ...rest }) => rest);
  expect(without(remote)).toEqual(without(own));
  const bySample = (file: string): unknown[] =>
    answersIn(path(file)).map(({ id: question, sample, answer: { core_seconds: _seconds, usage, ...answer } }) => ({ question, sample, ...answer, tokens: usage?.completion_tokens }))
      .sort((a, b) => (`${a.question} ${a.sample}` < `${b.question} ${b.sample}` ? -1 : 1));
  expect(bySample("remote.jsonl")).toEqual(bySample("own.jsonl"));
  expect(bySample("own.jsonl")).toHaveLength(12);
  expect(readFileSync(path("remote.jsonl"), "utf8")).not.toContain("secret-of-the-server");
  const tokens = answersIn(path("remote.jsonl")).map(({ answer }) => answer.usage!);
  const cost = tokens.reduce((sum, { prompt_tokens, completion_tokens }) => sum + prompt_tokens + 2 * completion_tokens, 0) / 1e6;
  expect(remote.results[0]!.usd).toBeCloseTo(cost, 12);
  expect(own.results[0]!.usd).toBeGreaterThan(0);
});

test("an evaluation that lacks some answers asks for those, and comes to the same", async () => {
  const asked = ["parity", model, ...short, "--samples", "2", "--answers", path("resumed.jsonl")];
  const whole = await measured(asked);
  const lines = readFileSync(path("resumed.jsonl"), "utf8").trim().split("\n");
  writeFileSync(path("resumed.jsonl"), `${lines.slice(0, 3).join("\n")}\n${lines[3]!.slice(0, 30)}`);
  const { stderr } = await longjing(["eval", ...asked]);
  expect(stderr).toContain("3 of 8 answers are in");
  expect(readFileSync(path("resumed.jsonl"), "utf8").trim().split("\n")).toHaveLength(8);
  const again = await measured(asked);
  expect(again.results.map(({ usd: _usd, usd_per_solved: _solved, ...rest }) => rest)).toEqual(whole.results.map(({ usd: _usd, usd_per_solved: _solved, ...rest }) => rest));
});

describe("a suite", () => {
  const suite = { name: "two <tasks>", sampling: { temperature: 1, top_p: 1, max_tokens: 16, samples: 2 }, problems: 3, seed: 4, sets: [{ task: "parity", levels: [1, 2], languages: ["en", "zh"] }, { file: "sums.jsonl", verifier: "math", name: "MATH-500" }] };

  test("is measured set by set, and its page says it beside what was published of the same", async () => {
    writeFileSync(path("suite.json"), JSON.stringify(suite));
    writeFileSync(path("sums.jsonl"), [1, 2].map((i) => `${JSON.stringify({ task: "sums", question: `1+${i}`, answer: `${1 + i}` })}\n`).join(""));
    const result = await measured([path("suite.json"), "--model", model, "--report", path("report.html")]);
    expect(result.results.map(({ task, config, problems }) => [task, config, problems])).toEqual([
      ...[1, 2].flatMap((level) => ["en", "zh"].map((language) => ["parity", { level, language }, 3])),
      ["MATH-500", {}, 2],
    ]);
    const html = readFileSync(path("report.html"), "utf8");
    expect(html).toContain("two &lt;tasks&gt;");
    expect(html).toMatch(/DeepSeek-R1.*published/s);
    expect(html).not.toMatch(/<script|<link|<img|@import|https?:\/\//);
  });

  test.each([["--report", "none/report.html"], ["--report", "report.html/below"], ["--report", ""], ["--answers", ""]])("is not begun where %s %s cannot be written", async (option, name) => {
    const { code, stdout, stderr } = await longjing(["eval", "parity", model, ...short, option, path(name), "--json"]);
    expect({ stdout, stderr }).toMatchObject({ stdout: "", stderr: expect.stringContaining("cannot be written") });
    expect(code).toBe(4);
  });

  test("is not left out in silence beside a text", async () => {
    const { code, stderr } = await longjing(["eval", "parity", model, "--perplexity", path("suite.json")]);
    expect({ code, stderr }).toMatchObject({ code: 2, stderr: expect.stringContaining("not by both") });
  });

  test("that reasoning-gym judges asks nothing where it is not there", async () => {
    writeFileSync(path("gym.jsonl"), `${JSON.stringify({ task: "ab", question: "?", answer: "A", metadata: {}, config: { seed: 1 }, index: 0 })}\n`);
    process.env["LONGJING_PYTHON"] = path("no-python");
    const { code, stderr } = await longjing(["eval", path("gym.jsonl"), model, "--answers", path("none.jsonl")]);
    delete process.env["LONGJING_PYTHON"];
    expect({ code, stderr }).toMatchObject({ code: 4, stderr: expect.stringContaining("pip install reasoning-gym") });
    expect(existsSync(path("none.jsonl"))).toBe(false);
  });

  test.each([
    [{ ...suite, sets: [] }, "sets"],
    [{ ...suite, sets: [{ task: "alchemy" }] }, "sets"],
    [{ ...suite, sets: [{ task: "parity", levels: [9] }] }, "parity 9"],
    [{ ...suite, sampling: { temperature: 9 } }, "temperature"],
    [{ ...suite, smapling: {} }, "smapling"],
  ])("is refused for what is wrong in it: %#", async (wrong, named) => {
    writeFileSync(path("wrong.json"), JSON.stringify(wrong));
    const { code, stderr } = await longjing(["eval", path("wrong.json"), model]);
    expect(code).toBe(2);
    expect(stderr).toContain(named);
  });
});

test.each([
  [[], /There is nothing to measure by/],
  [["parity", "--max-tokens", "250", model], /--max-tokens/],
  [["parity", "alchemy", model], /neither a task nor one model/],
  [["parity", "--endpoint", "http://127.0.0.1:1/v1"], /--model NAME/],
  [["parity", "--endpoint", "http://127.0.0.1:1/v1", "--model", "m", "--api-key-env", "NO_SUCH_VARIABLE"], /NO_SUCH_VARIABLE/],
  [["missing.json", model], /missing\.json/],
])("eval %j says what is wrong", async (args, expected) => {
  const { code, stderr } = await longjing(["eval", ...args]);
  expect(code).toBe(2);
  expect(stderr).toMatch(expected);
});
