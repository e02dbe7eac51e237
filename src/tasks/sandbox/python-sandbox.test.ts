import { createServer } from "node:net";
import { fileURLToPath } from "node:url";
import { afterAll, describe, expect, test } from "vitest";
import { LongjingError } from "../../errors/index.ts";
import { codeReward } from "./code-reward.ts";
import { parseExactJson } from "./exact-json.ts";
import { openPythonSandbox } from "./python-sandbox.ts";
import { verifyCode, type CodeTest } from "./verify-code.ts";

const sandbox = openPythonSandbox({ seconds: 30, memory: 2 ** 25, output: 1000 });
/** For what never ends. */
const brief = openPythonSandbox({ seconds: 0.3, processes: 1 });
afterAll(() => Promise.all([sandbox.close(), brief.close()]));

const sums: readonly CodeTest[] = [{ call: "add", arguments: [1, 2], result: 3 }];
const run = (...lines: readonly string[]) => sandbox.run({ source: lines.join("\n") });
const value = (source: string, name = "f") => sandbox.run({ source, call: { name, arguments: [] } });

describe("a program passes that", () => {
  test.concurrent.each([
    ["is right and stands in a fence", "Here it is:\n```python\ndef add(a, b):\n    return a + b\n```\nDone.", [...sums, { call: "add", arguments: ["a", "é𝄞"], result: "aé𝄞" }]],
    ["answers later", "import asyncio\nasync def add(a, b):\n    await asyncio.sleep(0)\n    return a + b", sums],
    ["reads as it likes, prints, and ends itself", "import sys\nn = int(input())\nprint(sum(map(int, sys.stdin.readline().split())))\nprint(sys.stdin.read(), end='')\nif __name__ == '__main__': sys.exit()", [{ stdin: "3\n1 2 3\né𝄞", stdout: "6\né𝄞\n" }]],
    ["returns what JSON has, whatever the order of its keys", "class Solution:\n    def f(self): return {'b': (1, 2.0), 'a': None}", [{ call: "Solution().f", arguments: [], result: { a: null, b: [1, 2] } }]],
  ] as [string, string, readonly CodeTest[]][])("%s", async (_, answer, tests) => {
    expect(await verifyCode(sandbox, answer, tests)).toMatchObject({ correct: true, legal: true, passed: tests.length });
  });

  test("is right to the last digit", async () => {
    const factorial = parseExactJson('{"call": "f", "arguments": [25], "result": 15511210043330985984000000}') as CodeTest;
    const digit = parseExactJson('{"call": "f", "arguments": [12345678901234567891], "result": 1}') as CodeTest;
    const correct = async (body: string, wanted: CodeTest): Promise<boolean> => (await verifyCode(sandbox, `import math\ndef f(n): return ${body}`, [wanted])).correct;
    expect(await Promise.all([correct("math.factorial(n)", factorial), correct("math.factorial(n) + 1", factorial), correct("float(math.factorial(n))", factorial), correct("n % 10", digit)])).toEqual([true, false, false, true]);
  });

  test("passes some tests for its share of the reward", async () => {
    const { reward } = codeReward(sandbox, () => [...sums, { call: "add", arguments: [1, 1], result: 2 }]);
    const turns = ["def add(a, b): return 3"];
    expect(await reward({ problem: {}, turns } as never)).toBe(0.5);
  });
});

/** What a policy may find when it is paid for passing tests. */
describe("a program does not pass that", () => {
  test.concurrent.each([
    ["is wrong", "def add(a, b): return a - b"],
    ["is empty", ""],
    ["is no program", "add(a, b) is a + b"],
    ["returns what says that it is equal to all", "class All:\n    def __eq__(self, other): return True\n    def __repr__(self): return '3'\n    __str__ = __repr__\ndef add(a, b): return All()"],
    ["returns a number that says that it is another", "class Three(int):\n    def __repr__(self): return '3'\n    __str__ = __eq__ = __index__ = __repr__\ndef add(a, b): return Three(4)"],
    ["changes how it is judged", "import builtins, json, json.encoder\njson.dumps = lambda *a, **k: '3'\njson.encoder.c_make_encoder = builtins.str = builtins.type = builtins.eval = lambda *a: lambda *a: ['3']\ndef add(a, b): return 4"],
    ["changes who judges it", "import sys\ndef add(a, b):\n    sys._getframe(1).f_globals['encode'] = lambda *a: ['{']\n    return 4"],
    ["answers for its interpreter", "import sys\ndef add(a, b):\n    sys._getframe(1).f_globals['ending'] = lambda *a: '{\"status\": \"done\", \"stdout\": 3, \"result\": {}}'\n    return 4"],
    ["leaves before it is called", "import os\nos._exit(0)"],
  ])("%s", async (_, answer) => expect(await verifyCode(sandbox, answer, sums)).toMatchObject({ correct: false, passed: 0 }));
});

describe("limits", () => {
  test.concurrent.each([
    ["an endless loop", "while True: pass", "time"],
    ["an endless loop that catches", "while True:\n    try:\n        while True: pass\n    except BaseException: pass", "time"],
    ["a pattern that backtracks", "import re\nre.match('(a+)+$', 'a' * 40 + 'b')", "time"],
    ["a sleep", "import time\ntime.sleep(1000)", "time"],
    ["a memory bomb", "all = []\nwhile True: all.append([1, 2, 3, len(all)])", "memory"],
    ["a file too large", "with open('/tmp/file', 'wb') as file:\n    while True: file.write(bytes(2 ** 20))", "memory"],
    ["a file with a hole", "import os\nos.truncate(os.open('/tmp/file', os.O_CREAT | os.O_RDWR), 2 ** 31)", "memory"],
    ["endless recursion", "def f(): return f() + 1\nf()", "error"],
    ["recursion without its limit", "import sys\nsys.setrecursionlimit(10 ** 9)\ndef f(): return f() + 1\nf()", "error|memory"],
    ["a flood that catches", "while True:\n    try: print('flood')\n    except BaseException: pass", "output"],
  ])("end %s", async (_, source, status) => {
    const outcome = await (status === "time" ? brief : sandbox).run({ source });
    expect(status.split("|")).toContain(outcome.status);
    expect(outcome.stdout.length).toBeLessThanOrEqual(1000);
  });

  test("leave what was printed before the deadline", async () => {
    expect(await brief.run({ source: "print('before', flush=True)\nwhile True: pass" })).toMatchObject({ status: "time", stdout: "before\n" });
  });

  test("end a result too long, and are not met by what is shorter", async () => {
    expect(await value("def f(): return 'x' * 2000")).toMatchObject({ status: "output", result: null });
    // A buffer that fills what a program may hold, but for the little that it holds beside.
    expect(await run("held = bytearray(2 ** 25 - 2 ** 22)", "print('x' * 999)")).toMatchObject({ status: "done" });
  });
});

describe("a program finds", () => {
  const tried = async (statements: readonly string[]): Promise<string> =>
    (await run(...statements.flatMap((statement) => ["try:", `    exec(${JSON.stringify(statement)}, {})`, `    print(${JSON.stringify(statement)})`, "except BaseException: pass"]))).stdout;

  test("no JavaScript", async () => {
    const found = await tried([
      "import math",
      ...["js", "pyodide", "pyodide_js", "_pyodide", "_pyodide_core", "pyodide.http"].map((name) => `import ${name}`),
      "from pyodide.code import run_js",
      "import sys; del sys.modules['js']; import js",
      "import importlib; importlib.reload(importlib); importlib.import_module('pyodide_js')",
      "import sys; [sys.modules.pop(name) for name in list(sys.modules) if 'pyodide' in name]; from pyodide.code import run_js; run_js('1')",
      "import gc; assert any(type(each).__name__ == 'JsProxy' for each in gc.get_objects())",
    ]);
    expect(found).toBe("import math\n");
  });

  test("no files, processes, variables or threads of the host", async () => {
    process.env["LONGJING_SECRET"] = "secret";
    const found = await tried([
      "open('/tmp/own', 'w')",
      ...["/etc/passwd", process.execPath, fileURLToPath(import.meta.url)].map((path) => `open(${JSON.stringify(path)})`),
      "import os; assert os.system('true') == 0",
      "import os; assert 'LONGJING_SECRET' in os.environ",
      "import os; os.fork()",
      "import os; os.execv('/bin/true', ['true'])",
      "import subprocess; subprocess.run(['true'])",
      "import threading; threading.Thread(target=print).start()",
      "import ctypes; ctypes.CDLL('libc.so.6')",
      "import ctypes; assert ctypes.CDLL(None).system(b'true') == 0",
    ]);
    delete process.env["LONGJING_SECRET"];
    expect(found).toBe("open('/tmp/own', 'w')\n");
  });

  test("no network", async () => {
    let met = 0;
    const server = createServer(() => met++);
    const port = await new Promise<number>((resolve) => server.listen(0, "127.0.0.1", () => resolve((server.address() as { port: number }).port)));
    const found = await tried([`import socket; socket.create_connection(('127.0.0.1', ${port}), 1)`, `import urllib.request; urllib.request.urlopen('http://127.0.0.1:${port}')`, `import asyncio; asyncio.run(asyncio.open_connection('127.0.0.1', ${port}))`]);
    server.close();
    expect([found, met]).toEqual(["", 0]);
  });

  /** Should a program get to JavaScript all the same: it is there, and can have nothing made or fetched. */
  test("nothing in the realm of its interpreter", async () => {
    const { stdout } = await run(
      "import sys",
      "del sys.modules['_pyodide_core']",
      "import _pyodide_core",
      "made = _pyodide_core.create_proxy(print)",
      "print(type(made).__name__)",
      "for make in (made.constructor.constructor, made.constructor.constructor.new):",
      "    try: print(make('return globalThis')())",
      "    except BaseException as error: print(str(error)[:9])",
    );
    expect(stdout).toBe("JsProxy\nEvalError\nEvalError\n");
    const code = await run("import ctypes", "print(ctypes.CDLL(None).emscripten_run_script_int(b'6 * 7'))");
    expect(code).toMatchObject({ status: "error", stdout: "" });
  });

  test("nothing that another left, and the same chance", async () => {
    const look = "import builtins, os, random\nprint(hasattr(builtins, 'left'), os.path.exists('/tmp/left'), random.random(), {'a', 'b', 'c'})";
    const before = await run(look);
    await Promise.all(["", ""].map(() => run("import builtins, json", "builtins.left = 1", "json.loads = None", "open('/tmp/left', 'w').write('1')")));
    expect(before.stdout).toMatch(/^False False 0\.\d+ /);
    expect(await run(look)).toEqual(before);
  });
});

test("a closed sandbox runs nothing", async () => {
  const other = openPythonSandbox({ processes: 1 });
  const [running, waiting] = [other.run({ source: "while True: pass" }), other.run({ source: "1" })];
  await Promise.all([expect(running).rejects.toThrow(LongjingError), expect(waiting).rejects.toThrow(LongjingError), other.close()]);
  await expect(other.run({ source: "1" })).rejects.toThrow(LongjingError);
});
