import { existsSync } from "node:fs";
import { availableParallelism, cpus, freemem, totalmem } from "node:os";
import { fileURLToPath } from "node:url";
import type { Command } from "commander";
import { LongjingError } from "../errors/index.ts";
import { exitCodes } from "./exit-codes.ts";
import { openTerminal } from "./terminal.ts";

export function addDoctor(program: Command): void {
  program
    .command("doctor")
    .description("Say what this machine has, and which execution provider will run")
    .option("--json", "one JSON object")
    .action(doctor);
}

interface Finding {
  readonly name: string;
  readonly state: "ok" | "missing" | "failed";
  readonly text: string;
}

async function doctor(options: { readonly json?: true }): Promise<void> {
  const terminal = openTerminal();
  const findings = [...machine(), await provider("cpu", true), await provider("webgpu", false), await shipped(), page()];
  const failed = findings.some(({ state }) => state === "failed");
  if (options.json) {
    terminal.out(`${JSON.stringify({ healthy: !failed, findings })}\n`);
  } else {
    const { green, yellow, red } = terminal.colors;
    const marks = { ok: green("✓"), missing: yellow("–"), failed: red("✗") };
    for (const { name, state, text } of findings) terminal.out(`${marks[state]} ${name.padEnd(10)} ${text}\n`);
    terminal.out(failed ? red("\nTraining and serving will not run here.\n") : green("\nTraining and serving run here.\n"));
  }
  if (failed) process.exitCode = exitCodes.machine;
}

function machine(): Finding[] {
  const gib = (bytes: number): string => `${(bytes / 2 ** 30).toFixed(1)} GiB`;
  return [
    { name: "node", state: "ok", text: `${process.version} on ${process.platform} ${process.arch}` },
    { name: "processor", state: "ok", text: `${cpus()[0]?.model ?? "unknown"}, ${availableParallelism()} to use` },
    { name: "memory", state: "ok", text: `${gib(freemem())} free of ${gib(totalmem())}` },
  ];
}

/** Runs a graph of one op, and looks at the result. */
async function provider(name: "cpu" | "webgpu", needed: boolean): Promise<Finding> {
  try {
    const { openBackend, compile, allocate } = await import("../runtime/index.ts");
    const { add } = await import("../tensor/index.ts");
    const backend = await openBackend(name);
    const type = { shape: [2], dtype: "float32" as const };
    const program = await compile(backend, ({ x }) => ({ y: add(x, x) }), { x: type });
    const { x, y } = allocate(backend, { x: type, y: type });
    if (x === undefined || y === undefined) throw new LongjingError("runtime", "No memory was given");
    x.data.set([1, 2] as never);
    const binding = program.bind({ x }, { y });
    await binding.run();
    const right = y.data[0] === 2 && y.data[1] === 4;
    binding.dispose();
    program.dispose();
    return { name, state: right ? "ok" : "failed", text: `ONNX Runtime ${backend.version}${right ? "" : " computed 1 + 1 wrongly"}` };
  } catch (error) {
    if (!LongjingError.is(error)) throw error;
    return { name, state: needed ? "failed" : "missing", text: needed ? error.message : "no adapter on this machine" };
  }
}

async function shipped(): Promise<Finding> {
  const { shippedModel } = await import("./load-model.ts");
  return await shippedModel().then(
    (folder) => ({ name: "model", state: "ok", text: folder }),
    (error: unknown) => {
      if (!LongjingError.is(error)) throw error;
      return { name: "model", state: "missing", text: error.message };
    },
  );
}

function page(): Finding {
  const built = existsSync(fileURLToPath(new URL("../../apps/studio/dist/index.html", import.meta.url)));
  return { name: "studio", state: built ? "ok" : "missing", text: built ? "built" : "not built yet: npm start builds it" };
}
