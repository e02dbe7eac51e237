import { afterAll, describe, expect, test } from "vitest";
import { compileSpec, type ConstraintSpec, type Surroundings } from "../constrain/index.ts";
import { openConstraintCompiler } from "./constraint-compiler.ts";

const around: Surroundings = { thinking: "none", answerTags: false };
const compiler = openConstraintCompiler();
afterAll(() => compiler.close());

describe("compiling in a thread", () => {
  test("gives what compiling here gives", async () => {
    for (const spec of [{ type: "json_object" }, { type: "regex", regex: "[a-é]+" }, { type: "choice", choice: ["a", "b"] }] satisfies ConstraintSpec[])
      expect(await compiler.compile(spec, around)).toEqual(compileSpec(spec, around));
  });

  test("gives the same errors", async () => {
    for (const spec of [{ type: "regex", regex: "(a" }, { type: "json_schema", schema: { properties: { a: { not: {} } } } }, { type: "grammar", grammar: "root ::= root" }] satisfies ConstraintSpec[]) {
      const here = await Promise.resolve(spec).then((given) => compileSpec(given, around)).catch((error: unknown) => error);
      const there = await compiler.compile(spec, around).catch((error: unknown) => error);
      expect(there).toEqual(here);
      expect(there).toMatchObject({ facts: (here as { facts: object }).facts, code: (here as { code: string }).code });
    }
  });

  const huge = Object.fromEntries(Array.from({ length: 20_000 }, (_, i) => [`p${i}`, { anyOf: [{ maxLength: 9_000, type: "string" }] }]));
  const hostile: ConstraintSpec[] = [
    { type: "regex", regex: "(a|b)*a(a|b){40}" },
    { type: "regex", regex: "((((a?){5000}){5000}){5000}){5000}" },
    { type: "regex", regex: "(a+)+b" },
    { type: "regex", regex: `${"(".repeat(50_000)}a${")".repeat(50_000)}` },
    { type: "json_schema", schema: { properties: huge } },
    { type: "json_schema", schema: { $ref: "#/$defs/a", $defs: { a: { allOf: [{ $ref: "#/$defs/b" }, { $ref: "#/$defs/b" }] }, b: { allOf: [{ $ref: "#/$defs/a" }] } } } },
    { type: "json_schema", schema: { anyOf: Array.from({ length: 5 }, () => ({ $ref: "#" })), type: "object" } },
    { type: "grammar", grammar: `root ::= ${'("a" | "b")*'.repeat(500)}` },
    { type: "choice", choice: Array.from({ length: 10_000 }, (_, i) => String(i).repeat(50)) },
  ];

  test("what would take too long or too much is a bad request, and others are served meanwhile", async () => {
    const strict = openConstraintCompiler({ deadline: 1500, memory: 64 });
    const outcome = (spec: ConstraintSpec): Promise<unknown> => strict.compile(spec, around).then(() => "compiled", (error: { code: string }) => error.code);
    const outcomes = await Promise.all([...hostile.map(outcome), outcome({ type: "json_object" })]);
    for (const one of outcomes) expect(["compiled", "bad_argument"]).toContain(one);
    expect(outcomes.at(-1)).toBe("compiled");
    expect(outcomes.slice(0, 2)).toEqual(["bad_argument", "bad_argument"]);
    await strict.close();
  });

  test("a thread that exceeds its deadline is ended, and the next request gets another", async () => {
    const hurried = openConstraintCompiler({ deadline: 1 });
    await expect(hurried.compile({ type: "regex", regex: "(a|b)*a(a|b){40}" }, around)).rejects.toMatchObject({ code: "bad_argument" });
    await hurried.close();
    await expect(hurried.compile({ type: "json_object" }, around)).rejects.toMatchObject({ code: "runtime" });
  });
});
