import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { createProgram } from "../src/cli/program.ts";
import { fixture, hasFixture, readFixture } from "./fixtures.ts";
import { longjing } from "./launcher.ts";

interface Expected {
  readonly input_ids: number[][];
  readonly logits: number[][][];
  readonly loss: number;
  readonly grads: Record<string, { shape: number[]; l2: number; first8: number[] }>;
  readonly greedy: { prompt_ids: number[]; new_ids: number[]; logprobs: number[] };
}

type Output = Pick<Expected, "logits" | "loss" | "grads"> & { readonly greedy: Pick<Expected["greedy"], "new_ids" | "logprobs"> };

const dir = mkdtempSync(join(tmpdir(), "longjing-probe-"));
afterAll(() => rmSync(dir, { recursive: true, force: true }));

const names = hasFixture("models") ? readdirSync(fixture("models"), { withFileTypes: true }).filter((e) => e.isDirectory()).map((e) => e.name) : [];

function write(name: string, input: unknown): { readonly input: string; readonly output: string } {
  const paths = { input: join(dir, `${name}.input.json`), output: join(dir, `${name}.output.json`) };
  writeFileSync(paths.input, typeof input === "string" ? input : JSON.stringify(input));
  return paths;
}

const inputOf = ({ input_ids, greedy }: Expected) => ({ input_ids, greedy_prompt_ids: greedy.prompt_ids, greedy_tokens: greedy.new_ids.length });

/** The largest difference of two nests of numbers of equal shape. */
function largest(got: unknown, want: unknown): number {
  if (!Array.isArray(want)) return Math.abs((got as number) - (want as number));
  expect(got).toHaveLength(want.length);
  return Math.max(...want.map((one, i) => largest((got as unknown[])[i], one)));
}

/** The bars are those of the fixtures' README. */
function compare(output: string, expected: Expected): void {
  const got = JSON.parse(readFileSync(output, "utf8")) as Output;
  expect(largest(got.logits, expected.logits)).toBeLessThanOrEqual(1e-4);
  expect(largest(got.loss, expected.loss)).toBeLessThanOrEqual(1e-5);
  expect(Object.keys(got.grads).sort()).toEqual(Object.keys(expected.grads).sort());
  for (const [name, want] of Object.entries(expected.grads)) {
    const { shape, l2, first8 } = got.grads[name]!;
    expect(shape, name).toEqual(want.shape);
    expect(largest(l2, want.l2), name).toBeLessThanOrEqual(1e-5 * want.l2 + 1e-7);
    expect(largest(first8, want.first8), name).toBeLessThanOrEqual(2e-5);
  }
  expect(got.greedy.new_ids).toEqual(expected.greedy.new_ids);
  expect(largest(got.greedy.logprobs, expected.greedy.logprobs)).toBeLessThanOrEqual(5e-5);
}

describe.each(names)("%s", (name) => {
  test("what probe writes is what the reference computed", async () => {
    const expected = readFixture<Expected>("models", name, "expected.json");
    const { input, output } = write(name, inputOf(expected));
    await createProgram().parseAsync(["probe", fixture("models", name), "--input", input, "--output", output], { from: "user" });
    compare(output, expected);
  });
});

describe.runIf(names[0])("the command", () => {
  const model = fixture("models", names[0] ?? "");

  test("writes the same from a shell", async () => {
    const expected = readFixture<Expected>("models", names[0]!, "expected.json");
    const { input, output } = write("shell", inputOf(expected));
    expect(await longjing(["probe", model, "--input", input, "--output", output])).toEqual({ code: 0, stdout: "", stderr: "" });
    compare(output, expected);
  });

  const good = { input_ids: [[1, 2, 3]], greedy_prompt_ids: [1], greedy_tokens: 1 };
  test.each([
    ["input_ids.0.1", { ...good, input_ids: [[1, 1e9]] }],
    ["input_ids.0.0", { ...good, input_ids: [[-1, 2]] }],
    ["input_ids.1.1", { ...good, input_ids: [[1, 2], [1, "2"]] }],
    ["input_ids", { ...good, input_ids: [[1, 2], [1, 2, 3]] }],
    ["input_ids", { ...good, input_ids: [] }],
    ["input_ids.0", { ...good, input_ids: [[1]] }],
    ["greedy_prompt_ids", { ...good, greedy_prompt_ids: [] }],
    ["greedy_tokens", { ...good, greedy_tokens: 0.5 }],
    ["greedy_tokens", { input_ids: good.input_ids, greedy_prompt_ids: [1] }],
    ["", "[1"],
  ])("refuses an input by its file and field: %s", async (field, input) => {
    const paths = write("bad", input);
    const run = createProgram().parseAsync(["probe", model, "--input", paths.input, "--output", paths.output], { from: "user" });
    await expect(run).rejects.toMatchObject({ code: "bad_file", facts: { where: field === "" ? paths.input : `${paths.input}: ${field}` } });
  });
});
