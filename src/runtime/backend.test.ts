import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { describe, expect, test } from "vitest";
import { openBackend } from "#ort";
import { LongjingError } from "../errors/index.ts";
import { join as concatenate, ProtobufWriter } from "../onnx/protobuf.ts";
import type { Backend, Provider } from "./backend.ts";
import { liveObjects } from "./lifetime.ts";

type Port = readonly [name: string, elementType: number, shape: readonly (number | string)[]];
const [float32, int32, int64, bool, float16] = [1, 6, 7, 9, 10];

/** A ModelProto of one node (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto). */
function model(op: string, inputs: readonly Port[], outputs: readonly Port[]): Uint8Array {
  const out = new ProtobufWriter();
  const size = (dim: number | string) => out.message(1, () => (typeof dim === "number" ? out.int(1, dim) : out.string(2, dim)));
  const tensor = ([, type, shape]: Port) => {
    out.int(1, type);
    out.message(2, () => shape.forEach(size));
  };
  const port = (field: number, each: Port) =>
    out.message(field, () => {
      out.string(1, each[0]);
      out.message(2, () => out.message(1, () => tensor(each)));
    });
  out.int(1, 10);
  out.message(7, () => {
    out.message(1, () => {
      for (const [name] of inputs) out.string(1, name);
      for (const [name] of outputs) out.string(2, name);
      out.string(4, op);
    });
    out.string(2, "test");
    for (const each of inputs) port(11, each);
    for (const each of outputs) port(12, each);
  });
  out.message(8, () => out.int(2, 21));
  return concatenate(out.pieces());
}

const addModel = model("Add", [["a", float32, ["rows", 3]], ["b", float32, [3]]], [["sum", float32, ["rows", 3]]]);

async function addition(on: Backend, rows = 2) {
  const session = await on.createSession(addModel, { threads: 2 });
  const [a, b, sum] = [on.tensor("float32", [rows, 3]), on.tensor("float32", [3]), on.tensor("float32", [rows, 3])];
  const dispose = () => [session, a, b, sum].forEach((each) => each.dispose());
  return { session, a, b, sum, bind: () => session.bind({ a, b }, { sum }), dispose };
}

const failure = async (action: () => unknown): Promise<LongjingError> => {
  const error = await Promise.resolve().then(action).then(() => undefined, (thrown: unknown) => thrown);
  if (!(error instanceof LongjingError)) throw new Error(`no LongjingError, but ${String(error)}`);
  return error;
};

const providers: readonly Provider[] = ["cpu", "wasm", ...(process.env["LONGJING_TEST_WEBGPU"] ? ["webgpu" as const] : [])];

describe.each(providers)("a session on %s", (provider) => {
  test("reads its inputs at every run and writes its outputs where they are bound", async () => {
    const { a, b, sum, bind, dispose } = await addition(await openBackend(provider));
    const binding = bind();
    for (let round = 1; round <= 3; round++) {
      a.data.set([1, 2, 3, 4, 5, 6].map((v) => v * round));
      b.data.set([10, 20, 30]);
      await binding.run();
      expect([...sum.data]).toEqual([1, 2, 3, 4, 5, 6].map((v, i) => v * round + 10 * ((i % 3) + 1)));
    }
    dispose();
  });

  test("takes any size for a named dimension, by another binding", async () => {
    const on = await openBackend(provider);
    const { session, a, b, sum, bind, dispose } = await addition(on);
    const [one, oneSum] = [on.tensor("float32", [1, 3]), on.tensor("float32", [1, 3])];
    b.data.set([1, 1, 1]);
    const [two, single] = [bind(), session.bind({ a: one, b }, { sum: oneSum })];
    a.data.fill(2);
    one.data.fill(7);
    await Promise.all([two.run(), single.run()]);
    expect([[...sum.data], [...oneSum.data]]).toEqual([[3, 3, 3, 3, 3, 3], [8, 8, 8]]);
    dispose();
  });

  test("carries every dtype, also through memory of the caller's", async () => {
    const on = await openBackend(provider);
    for (const [type, dtype, values] of [[float32, "float32", Float32Array.of(1.5, -0)], [int32, "int32", Int32Array.of(-7, 2 ** 31 - 1)], [int64, "int64", BigInt64Array.of(-(2n ** 63n), 5n)], [bool, "bool", Uint8Array.of(1, 0)], [2, "uint8", Uint8Array.of(255, 3)]] as const) {
      if (provider === "webgpu" && dtype === "uint8") continue; // no kernel there has bytes
      const session = await on.createSession(model("Identity", [["x", type, [2]]], [["y", type, [2]]]));
      const whole = new (values.constructor as Float64ArrayConstructor)(4) as unknown as typeof values;
      const y = on.tensorOver(dtype, [2], whole.subarray(1, 3));
      const binding = session.bind({ x: on.tensorOver(dtype, [2], values) }, { y });
      await binding.run();
      expect(whole).toEqual((values.constructor as Int32ArrayConstructor).from([0, ...values, 0].map((v) => (dtype === "int64" ? BigInt(v) : v)) as number[]));
      session.dispose();
    }
  });

  test("names itself, its version, its inputs and its outputs", async () => {
    const on = await openBackend(provider);
    const { session, dispose } = await addition(on);
    expect(on.provider).toBe(provider);
    expect(on.version).toMatch(/^\d+\.\d+\.\d+/);
    expect([session.inputNames, session.outputNames]).toEqual([["a", "b"], ["sum"]]);
    dispose();
  });

  test("says which input or output does not fit", async () => {
    const on = await openBackend(provider);
    const { session, a, b, sum, dispose } = await addition(on);
    const wrong = on.tensor("float32", [2, 4]);
    const integers = on.tensor("int32", [3]);
    expect(await failure(() => session.bind({ a }, { sum }))).toMatchObject({ code: "bad_argument", message: expect.stringContaining('input "b"') });
    expect(await failure(() => session.bind({ a, b, c: b }, { sum }))).toMatchObject({ code: "bad_argument", message: expect.stringContaining('input "c"') });
    expect(await failure(() => session.bind({ a: wrong, b }, { sum }))).toMatchObject({ code: "shape_mismatch", facts: { where: 'input "a"', got: "[2, 4]", expected: "[?, 3]" } });
    expect(await failure(() => session.bind({ a, b: integers }, { sum }))).toMatchObject({ code: "bad_argument", facts: { where: 'input "b"', got: "int32", expected: "float32" } });
    expect(await failure(() => session.bind({ a, b }, { sum: wrong }))).toMatchObject({ code: "shape_mismatch", facts: { where: 'output "sum"' } });
    expect(await failure(() => session.bind({ a, b }, {}))).toMatchObject({ code: "bad_argument", message: expect.stringContaining('output "sum"') });
    dispose();
  });

  test("refuses tensors that are disposed or of another backend", async () => {
    const { session, a, b, sum, dispose } = await addition(await openBackend(provider));
    const foreign = (await openBackend(provider === "wasm" ? "cpu" : "wasm")).tensor("float32", [3]);
    expect(await failure(() => session.bind({ a, b: foreign }, { sum }))).toMatchObject({ code: "bad_argument", facts: { where: 'input "b"' } });
    b.dispose();
    expect(await failure(() => session.bind({ a, b }, { sum }))).toMatchObject({ code: "bad_argument", facts: { where: 'input "b"' } });
    dispose();
  });

  test("reports a corrupt model, an unknown op and a run that fails", async () => {
    const on = await openBackend(provider);
    const before = { ...liveObjects };
    for (const bytes of [new Uint8Array(0), Uint8Array.of(255, 1, 2, 3), addModel.subarray(0, addModel.length - 9), model("NoSuchOp", [["x", float32, [1]]], [["y", float32, [1]]])])
      expect(await failure(() => on.createSession(bytes))).toMatchObject({ code: "runtime" });
    expect(await failure(() => on.createSession(model("Identity", [["x", float16, [1]]], [["y", float16, [1]]])))).toMatchObject({ code: "unsupported", facts: { where: 'input "x"' } });
    const { session, a, b, dispose } = await addition(on);
    const short = on.tensor("float32", [1, 3]); // fits the declared output, not what the run gives
    expect(await failure(() => session.bind({ a, b }, { sum: short }).run())).toMatchObject({ code: "runtime" });
    short.dispose();
    dispose();
    expect(liveObjects).toEqual(before);
  });

  test("frees everything that it opened, in any order, also under a run", async () => {
    const before = { ...liveObjects };
    const first = await addition(await openBackend(provider));
    const binding = first.bind();
    first.a.dispose(); // the binding keeps it
    expect(liveObjects.tensors).toBe(before.tensors + 3);
    first.b.data.fill(1);
    const run = binding.run();
    first.dispose();
    first.dispose();
    await run;
    expect([...first.sum.data]).toEqual([1, 1, 1, 1, 1, 1]);
    expect(liveObjects).toEqual(before);
    expect(await failure(() => binding.run())).toMatchObject({ code: "conflict" });
    expect(await failure(first.bind)).toMatchObject({ code: "conflict" });
  });

  test("runs several bindings at once, each to its own outputs", async () => {
    const on = await openBackend(provider);
    const each = await Promise.all(Array.from({ length: 8 }, () => addition(on)));
    await Promise.all(each.map(({ a, bind }, i) => (a.data.fill(i), bind().run())));
    expect(each.map(({ sum }) => sum.data[0])).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
    for (const { dispose } of each) dispose();
  });

  test("runs one binding once at a time", async () => {
    const { bind, dispose } = await addition(await openBackend(provider));
    const binding = bind();
    const run = binding.run();
    expect(await failure(() => binding.run())).toMatchObject({ code: "conflict" });
    await run;
    dispose();
  });

  test("takes scalars and empty tensors, and refuses memory that does not fit", async () => {
    const on = await openBackend(provider);
    const { session, b, dispose } = await addition(on);
    const empty = on.tensor("float32", [0, 3]);
    const none = on.tensor("float32", [0, 3]);
    await session.bind({ a: empty, b }, { sum: none }).run();
    expect(on.tensor("int64", []).data.length).toBe(1);
    expect(await failure(() => on.tensorOver("float32", [2, 2], new Float32Array(3)))).toMatchObject({ code: "shape_mismatch" });
    expect(await failure(() => on.tensorOver("float32", [2], new Int32Array(2) as never))).toMatchObject({ code: "bad_argument" });
    expect(await failure(() => on.tensor("float32", [2, -1]))).toMatchObject({ code: "bad_argument" });
    dispose();
  });
});

test("on the web there is no synchronous run, no profile and no native code", async () => {
  const on = await openBackend("wasm");
  const { bind, dispose } = await addition(on);
  expect(await failure(() => bind().runSync())).toMatchObject({ code: "unsupported" });
  expect(await failure(() => on.createSession(addModel, { profile: "trace" }))).toMatchObject({ code: "unsupported" });
  const { openBackend: openWeb } = await import("./web.ts");
  expect(await failure(() => openWeb("cpu"))).toMatchObject({ code: "unsupported" });
  expect(await failure(() => openWeb("webgpu"))).toMatchObject({ code: "unsupported" });
  dispose();
});

describe("native code", () => {
  test("runs on this thread when asked to", async () => {
    const { a, b, sum, bind, dispose } = await addition(await openBackend());
    const binding = bind();
    a.data.fill(3);
    b.data.fill(4);
    binding.runSync();
    expect([...sum.data]).toEqual([7, 7, 7, 7, 7, 7]);
    dispose();
  });

  test("lets the event loop turn while it runs", async () => {
    const on = await openBackend();
    const n = 1500;
    const square: Port = ["x", float32, [n, n]];
    const session = await on.createSession(model("MatMul", [square, ["w", float32, [n, n]]], [["y", float32, [n, n]]]), { threads: 1 });
    const binding = session.bind({ x: on.tensor("float32", [n, n]), w: on.tensor("float32", [n, n]) }, { y: on.tensor("float32", [n, n]) });
    const order: string[] = [];
    const run = binding.run().then(() => order.push("run"));
    for (let turn = 0; turn < 3; turn++) await new Promise((resolve) => setImmediate(resolve));
    order.push("turns");
    await run;
    expect(order).toEqual(["turns", "run"]);
    session.dispose();
  });

  test("keeps small arrays where they are while the collector runs", async () => {
    const on = await openBackend();
    const session = await on.createSession(model("Identity", [["x", float32, [2]]], [["y", float32, [2]]]), { threads: 1 });
    const bound = Array.from({ length: 200 }, (_, i) => {
      // Arrays this small begin inside the collector's heap; made young, they are what it moves first.
      const x = on.tensorOver("float32", [2], new Float32Array(2));
      const y = on.tensorOver("float32", [2], new Float32Array(2));
      return { x, y, i, binding: session.bind({ x }, { y }) };
    });
    setFlagsFromString("--expose-gc");
    const collect = runInNewContext("gc") as () => void;
    const garbage: unknown[] = [];
    for (let round = 0; round < 20; round++) {
      for (let i = 0; i < 5000; i++) garbage[i % 100] = new Float32Array(1 + (i % 16));
      collect();
      for (const { x, y, i, binding } of bound) {
        x.data.set([i, round]);
        binding.runSync();
        expect([...y.data]).toEqual([i, round]);
      }
    }
    session.dispose();
  });

  test("aligns its memory to 64 bytes", async () => {
    const { ortApi } = await import("./ort-api.ts");
    const on = await openBackend();
    for (const length of [1, 7, 1000, 100_000]) {
      const { buffer, byteOffset } = on.tensor("float32", [length]).data;
      expect(Number((ortApi().addressOf(new Uint8Array(buffer)) + BigInt(byteOffset)) % 64n)).toBe(0);
    }
  });

  test("lasting memory goes back to the system with the last tensor over it", async (context) => {
    const on = await openBackend();
    if (process.platform !== "linux" || !(await on.hasOwnKernels())) return context.skip();
    for (const kind of ["dense", "sparse"] as const) {
      const whole = on.tensor("float32", [2 ** 22], kind);
      const part = on.tensorOver("float32", [2 ** 21], whole.data.subarray(0, 2 ** 21), whole);
      whole.data.fill(1);
      whole.dispose();
      expect(whole.data.every((value) => value === 1)).toBe(true);
      part.dispose();
      // What the system takes back reads as zero; the pages at both ends may be shared with something else.
      expect(whole.data.subarray(1024, -1024).every((value) => value === 0)).toBe(true);
    }
  });

  test("writes a trace of a profiled session when that is disposed", async () => {
    const folder = mkdtempSync(join(tmpdir(), "longjing-"));
    const on = await openBackend();
    const session = await on.createSession(addModel, { profile: join(folder, "trace") });
    const [a, b, sum] = [on.tensor("float32", [1, 3]), on.tensor("float32", [3]), on.tensor("float32", [1, 3])];
    session.bind({ a, b }, { sum }).runSync();
    session.dispose();
    const [file] = readdirSync(folder);
    const events = JSON.parse(readFileSync(join(folder, file!), "utf8")) as { cat: string; args?: { op_name?: string } }[];
    expect(events.some(({ args }) => args?.op_name === "Add")).toBe(true);
    rmSync(folder, { recursive: true });
    expect(existsSync(folder)).toBe(false);
  });
});
