import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { brokenRules, effectsInside, findCycle, forbiddenEdges, layerOf, loadGraph, readArchitecture, readSource } from "./architecture.ts";

const root = join(import.meta.dirname, "..");
const read = (path: string): string => readFileSync(join(root, path), "utf8");

const sourcesIn = (folder: string) =>
  readdirSync(join(root, folder), { recursive: true, encoding: "utf8" })
    .map((name) => `${folder}/${name.replaceAll("\\", "/")}`)
    .filter((path) => /\.tsx?$/.test(path))
    .map((path) => readSource(path, read(path)));

const architecture = readArchitecture(read("docs/architecture.md"));
const files = ["src", "apps/studio/src", "recipes"].flatMap(sourcesIn);
const folders = [...new Set(files.map(({ path }) => layerOf(path)))];

describe("the sources", () => {
  test("every folder has a row, and every row but that for all a folder", () => {
    expect([...architecture.layers.keys()].filter((layer) => layer !== "*").sort()).toEqual(folders.sort());
  });

  test("import what their rows name", () => expect(forbiddenEdges(architecture, files)).toEqual([]));

  test("have no cycle, file by file or row by row", () => {
    expect(findCycle(loadGraph(files))).toBeUndefined();
    expect(findCycle(architecture.layers)).toBeUndefined();
  });

  test("touch the world at the rim only, and the rim is there", () => {
    expect(effectsInside(architecture, files)).toEqual([]);
    expect(architecture.rim.filter((place) => !existsSync(join(root, place)))).toEqual([]);
  });

  test("keep the house rules", () => expect(brokenRules(files)).toEqual([]));

  test("each folder of src says in index.ts what it gives", () => {
    expect(readdirSync(join(root, "src")).filter((folder) => !existsSync(join(root, "src", folder, "index.ts")))).toEqual([]);
  });
});

/** The checks themselves, on sources that break them. */
describe("a check finds", () => {
  const table = readArchitecture(
    "| folder | what is in it | may import |\n|---|---|---|\n| `src/*/` | for all | errors |\n| `src/low/` | x | – |\n| `src/high/` | x | low |\n| `recipes/` | x | longjing |\n" +
      "\n| where | what |\n|---|---|\n| `src/high/file.ts` | files |\n",
  );
  const edges = (path: string, text: string): string[] => forbiddenEdges(table, [readSource(path, text)]);
  const effects = (path: string, text: string): string[] => effectsInside(table, [readSource(path, text)]);

  test.each([
    'import { a } from "../high/a.ts";',
    'import type { A } from "../high/a.ts";',
    'export { a } from "../high/a.ts";',
    'const a = await import("../high/a.ts");',
    'type A = import("../high/a.ts").A;',
    'import { random } from "../random/index.ts";',
    'import { a } from "../../test/a.ts";',
    'import { a } from "longjing/high";',
  ])("an edge upward: %s", (text) => expect(edges("src/low/x.ts", text)).toHaveLength(1));

  test.each([
    ["src/low/x.ts", 'import { a } from "./a.ts"; import { b } from "../errors/index.ts"; import { z } from "zod";'],
    ["src/high/deep/x.ts", 'import { a } from "../../low/deep/a.ts";'],
    ["src/low/x.test.ts", 'import { fixture } from "../../test/fixtures.ts";'],
    ["recipes/x.ts", 'import { a } from "longjing/high";'],
  ])("nothing in %s: %s", (path, text) => expect(edges(path, text)).toEqual([]));

  test("a recipe that reaches past the package, and a folder without a row", () => {
    expect(edges("recipes/x.ts", 'import { a } from "../src/high/index.ts";')).toHaveLength(1);
    expect(edges("src/new/x.ts", "export {};")).toHaveLength(1);
  });

  test("a cycle of values, not of types", () => {
    const cycle = (kind: string) => findCycle(loadGraph([readSource("src/a/x.ts", 'import { y } from "./y.ts";'), readSource("src/a/y.ts", `import ${kind} { X } from "./x.ts";`)]));
    expect(cycle("")).toEqual(["src/a/x.ts", "src/a/y.ts", "src/a/x.ts"]);
    expect(cycle("type")).toBeUndefined();
  });

  test.each(['import { readFileSync } from "node:fs";', "const now = Date.now();", "const seed = process.env.SEED;", 'await fetch("http://127.0.0.1");'])("an effect inside: %s", (text) => {
    expect(effects("src/high/x.ts", text)).toHaveLength(1);
    expect(effects("src/high/file.ts", text)).toEqual([]);
    expect(effects("src/high/x.test.ts", text)).toEqual([]);
  });

  test("no effect in the name of a property or a type", () => expect(effects("src/high/x.ts", "export const f = (o: { process: Date }, d: Date) => [o.process, { fetch: d }];")).toEqual([]));

  test.each(["export default 1;", "let x: any;", "enum E { A }", 'export * from "./a.ts";', "console.log(1);", "const x = Math.random();", "// @ts-ignore\n"])("a broken rule: %j", (text) => {
    expect(brokenRules([readSource("src/low/x.ts", text)])).toHaveLength(1);
  });

  test("a long file, and a folder of odds and ends", () => {
    expect(brokenRules([readSource("src/low/x.ts", `${"\n".repeat(399)}x;`)])).toEqual([]);
    expect(brokenRules([readSource("src/low/x.ts", `${"\n".repeat(400)}x;`)])).toHaveLength(1);
    expect(brokenRules([readSource("src/low/utils/x.ts", "")])).toHaveLength(1);
  });
});
