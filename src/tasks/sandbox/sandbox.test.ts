import { afterAll, describe, expect, test } from "vitest";
import { LongjingError } from "../../errors/index.ts";
import { openSandbox, type Sandbox } from "./sandbox.ts";
import { longestProgram, verifyCode, type CodeTest } from "./verify-code.ts";

const sandbox = openSandbox({ seconds: 20, memory: 2 ** 24, output: 1000 });
/** For what never ends. */
const brief = openSandbox({ seconds: 0.2, memory: 2 ** 24, output: 1000 });
afterAll(() => Promise.all([sandbox.close(), brief.close()]));

const sums: readonly CodeTest[] = [[1, 2], [3, -4], [0, 0]].map(([a, b]) => ({ call: "add", arguments: [a, b], result: a! + b! }));
const echo: readonly CodeTest[] = [{ stdin: "3\n1 2 3", stdout: "6\n" }];

describe("a program passes that", () => {
  test.each([
    ["is right", "const add = (a, b) => a + b;", sums],
    ["stands in a fence", "Here it is:\n```js\nfunction add(a, b) { return a + b; }\n```\nDone.", sums],
    ["answers later", "async function add(a, b) { return (await a) + b; }", sums],
    ["reads and prints", "readline(); console.log(readline().split(' ').map(Number).reduce((a, b) => a + b))", echo],
    ["is a method of an object", "class Sum { zero = 0; add(a, b) { return this.zero + a + b; } }", sums.map((sum) => ({ ...sum, call: "new Sum().add" }))],
    ["reads until there is nothing more", "let n = 0; while (readline() !== null) n++; print(n)", [{ stdin: "1\n2\n", stdout: "2" }, { stdin: "1\n\n2", stdout: "3" }, { stdin: "", stdout: "0" }]],
    ["reads and prints any character", "print(input.length, input)", [{ stdin: "a\0b", stdout: "3 a\0b" }]],
    ["returns an object, whatever the order of its keys", "const f = () => ({ b: [1], a: null })", [{ call: "f", arguments: [], result: { a: null, b: [1] } }]],
  ] as [string, string, readonly CodeTest[]][])("%s", async (_, answer, tests) => {
    expect(await verifyCode(sandbox, answer, tests)).toMatchObject({ correct: true, legal: true, passed: tests.length });
  });
});

test("what is printed and what is answered are read in linear time", async () => {
  const saying = (stdout: string): Sandbox => ({ run: () => Promise.resolve({ status: "done", stdout, result: null, message: null }), close: () => Promise.resolve() });
  // Quadratic time would be hours, and the test's own limit ends it.
  expect((await verifyCode(saying(`${" ".repeat(2 ** 20)}x`), "1", [{ stdin: "", stdout: "y" }])).correct).toBe(false);
  expect((await verifyCode(saying("x"), "```x\n".repeat(longestProgram / 5), [{ stdin: "", stdout: "x \r\n" }])).correct).toBe(true);
});

/** What a policy may find when it is paid for passing tests. */
describe("a program does not pass that", () => {
  test.each([
    ["is wrong", "const add = (a, b) => a - b;"],
    ["passes some tests", "const add = (a, b) => 3;"],
    ["is empty", ""],
    ["is no program", "add(a, b) is a + b"],
    ["returns what says that it is equal to all", "const add = () => ({ valueOf: () => 3, toString: () => '3', equals: () => true })"],
    ["changes how it is judged", "JSON.stringify = () => '3'; JSON.parse = () => 3; Object.prototype.toJSON = () => 3; const add = () => ({})"],
    ["adds to every object", "Object.prototype.result = 3; Array.prototype.every = () => true; const add = () => {}"],
    ["gives a proxy", "const add = () => new Proxy({}, { get: () => 3 })"],
    ["answers never", "const add = () => new Promise(() => {})"],
    ["throws what throws", "const add = () => { throw { get name() { throw 1 }, get message() { throw 2 } } }"],
    ["closes what it stands in", "}); } } const add = (a, b) => a + b; {{"],
  ])("%s", async (_, answer) => expect((await verifyCode(sandbox, answer, sums)).correct).toBe(false));

  test.each(["NaN", "[1 / 0]", "new Set([1])", "new Map()", "new Date(0)", "[undefined]", "({ f() {} })", "({ toJSON: () => 3 })", "1n"])("returns what JSON does not have: %s", async (value) => {
    expect(await sandbox.run({ source: `const f = () => ${value}`, call: { name: "f", arguments: [] } })).toMatchObject({ status: "error", result: null });
  });

  test("prints more behind a NUL", async () => expect((await verifyCode(sandbox, "print('42\\0 is not it')", [{ stdin: "", stdout: "42" }])).correct).toBe(false));

  test("is judged by a test that cannot say what is right", async () => {
    await expect(verifyCode(sandbox, "const f = () => 1", [{ call: "f", arguments: [[2 ** 53]], result: 1 }])).rejects.toThrow(LongjingError);
    await expect(verifyCode(sandbox, "const f = () => 1", [{ call: "f", arguments: [], result: { a: 1e25 } }])).rejects.toThrow(LongjingError);
  });

  test("is judged by no test", async () => expect((await verifyCode(sandbox, "1", [])).correct).toBe(false));
});

describe("limits", () => {
  test.each([
    ["an endless loop", "for (;;);", "time"],
    ["an endless loop that catches", "for (;;) { try { for (;;); } catch {} finally { continue } }", "time"],
    ["an endless loop of promises", "const again = () => Promise.resolve().then(again); again();", "time"],
    ["a pattern that backtracks", "/^(a+)+$/.test('a'.repeat(40) + 'b')", "time"],
    ["a getter that loops in what is thrown", "throw { get name() { for (;;); } }", "time"],
    ["a memory bomb", "const all = []; for (;;) all.push([1, 2, 3, all.length]);", "memory"],
    ["a buffer too large", "new Uint8Array(2 ** 28)", "memory"],
    ["a string that doubles", "let s = 'x'; for (;;) s += s;", "memory|error"],
    ["endless recursion", "const f = () => f() + 1; f();", "error"],
    ["a flood", "for (;;) console.log('flood')", "output"],
    ["a flood that catches", "for (;;) { try { print('flood') } catch {} }", "output"],
    ["one long line", "print('x'.repeat(2 ** 12))", "output"],
  ])("end %s", async (_, source, status) => {
    const outcome = await (status === "time" ? brief : sandbox).run({ source });
    expect(outcome.message ?? "").not.toMatch(/Aborted|RuntimeError|lifetime/i);
    expect(status.split("|")).toContain(outcome.status);
    expect(outcome.stdout.length).toBeLessThanOrEqual(1000);
  });

  test("end a result too long", async () => {
    expect((await sandbox.run({ source: "const f = () => 'x'.repeat(2000)", call: { name: "f", arguments: [] } })).status).toBe("output");
  });

  test("leave the sandbox in order", async () => {
    const outcomes = await Promise.all(["for (;;) print('flood');", "1", "new Uint8Array(2 ** 28)", "2"].map((source) => sandbox.run({ source })));
    expect(outcomes.map(({ status }) => status)).toEqual(["output", "done", "memory", "done"]);
  });
});

describe("a program finds", () => {
  test.each(["process", "require", "module", "fetch", "WebAssembly", "Worker", "Deno", "Buffer", "setTimeout", "XMLHttpRequest", "write", "std", "os", "scriptArgs"])("no %s", async (name) => {
    expect((await sandbox.run({ source: `print(typeof ${name})` })).stdout).toBe("undefined\n");
  });

  test.each([
    "print.constructor.constructor('return typeof process')()",
    "(() => {}).constructor('return typeof require')()",
    "console.log.constructor('return typeof globalThis.process')()",
    "(async () => {}).constructor === undefined ? '' : eval('typeof process')",
  ])("no way out: %s", async (expression) => expect((await sandbox.run({ source: `print(${expression})` })).stdout).toBe("undefined\n"));

  test("no modules", async () => {
    const { stdout } = await sandbox.run({ source: "import('node:fs').then(() => print('in'), () => print('out'))" });
    expect(stdout).toBe("out\n");
  });

  test("nothing that another left", async () => {
    await sandbox.run({ source: "globalThis.left = 1; Object.prototype.left = 1; Array.prototype.map = null;" });
    expect((await sandbox.run({ source: "print(typeof left, [1].map(String))" })).stdout).toBe('undefined ["1"]\n');
  });
});

test("a closed sandbox runs nothing", async () => {
  const other = openSandbox();
  const running = other.run({ source: "for (;;);" });
  await Promise.all([expect(running).rejects.toThrow(LongjingError), other.close()]);
  await expect(other.run({ source: "1" })).rejects.toThrow(LongjingError);
});
