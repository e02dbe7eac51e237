import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import type { Command } from "commander";
import { LongjingError } from "../errors/index.ts";
import type { Provider } from "../runtime/index.ts";
import type { Machine } from "../runtime/machine.ts";
import { exitCodes } from "./exit-codes.ts";
import { openTerminal } from "./terminal.ts";

export function addDoctor(program: Command): void {
  program
    .command("doctor")
    .description("Say what this machine has, and which execution provider will run")
    .option("--json", "one JSON object")
    .action(doctor);
}

/** One thing that was looked at. Only a failed one keeps Longjing from running. */
interface Finding {
  readonly name: string;
  readonly state: "ok" | "missing" | "failed";
  readonly text: string;
}

async function doctor(options: { readonly json?: true }): Promise<void> {
  const terminal = openTerminal();
  const { describeMachine } = await import("../runtime/machine.ts");
  const machine = await withLibrary(await describeMachine(), terminal.note, describeMachine);
  const findings = [...hardware(machine), ...providers(machine), await ownKernels(), await check("cpu"), await shipped(), page()];
  const healthy = !findings.some(({ state }) => state === "failed");
  if (options.json) {
    terminal.out(`${JSON.stringify({ healthy, machine, findings })}\n`);
  } else {
    const { green, yellow, red } = terminal.colors;
    const marks = { ok: green("✓"), missing: yellow("–"), failed: red("✗") };
    for (const { name, state, text } of findings) terminal.out(`${marks[state]} ${name.padEnd(11)} ${text}\n`);
    terminal.out(healthy ? green("\nTraining and serving run here, by the cpu provider.\n") : red("\nTraining and serving will not run here.\n"));
  }
  if (!healthy) process.exitCode = exitCodes.machine;
}

/** Fetches ONNX Runtime's library where npm has left it out (docs/decisions/0001), and looks again. */
async function withLibrary(machine: Machine, say: (text: string) => void, look: () => Promise<Machine>): Promise<Machine> {
  if ("path" in machine.library) return machine;
  const { fetchOrtLibrary } = await import("../runtime/ort-library.ts");
  say("ONNX Runtime's library is missing; fetching it by npm (once, about 100 MB)…\n");
  await fetchOrtLibrary();
  return look();
}

function hardware({ node, platform, cpu, memory, library }: Machine): Finding[] {
  const gib = (bytes: number): string => `${(bytes / 2 ** 30).toFixed(1)} GiB`;
  const cores = [cpu.physicalCores === null ? "" : `${cpu.physicalCores} cores`, `${cpu.logicalCores} threads`, cpu.quota === null ? "" : `a quota of ${cpu.quota}`].filter((part) => part !== "");
  const used = cpu.threads === null ? "as many as there are cores" : String(cpu.threads);
  return [
    { name: "node", state: "ok", text: `${node} on ${platform}` },
    { name: "processor", state: "ok", text: `${cpu.model}: ${cores.join(", ")}` },
    { name: "kernels", state: "ok", text: `${cpu.simd.join(" ") || "unknown instruction sets"}; threads an op: ${used}` },
    { name: "memory", state: "ok", text: `${gib(memory.free)} free of ${gib(memory.total)}${memory.limit === null ? "" : `, limited to ${gib(memory.limit)}`}` },
    "path" in library ? { name: "library", state: "ok", text: library.path } : { name: "library", state: "failed", text: library.missing },
  ];
}

function providers({ providers: found }: Machine): Finding[] {
  return (Object.keys(found) as Provider[]).map((name) => {
    const provider = found[name];
    if ("version" in provider) return { name, state: "ok", text: `ONNX Runtime ${provider.version}` };
    return { name, state: name === "cpu" ? "failed" : "missing", text: provider.missing.split("; ")[0] ?? "" };
  });
}

/** Compiles our own kernels where that is yet to be done. */
async function ownKernels(): Promise<Finding> {
  const { openOwnKernels } = await import("../runtime/own-kernels.ts");
  const found = await openOwnKernels();
  return "missing" in found ? { name: "own kernels", state: "missing", text: `ONNX Runtime's are used: ${found.missing}` } : { name: "own kernels", state: "ok", text: `for ${found.instructions}` };
}

/** Runs a graph of one op, and looks at the result. */
async function check(provider: Provider): Promise<Finding> {
  try {
    const { openBackend, compile, allocate } = await import("../runtime/index.ts");
    const { add } = await import("../tensor/index.ts");
    const backend = await openBackend(provider);
    const type = { shape: [2], dtype: "float32" as const };
    const program = await compile(backend, ({ x }) => ({ y: add(x, x) }), { x: type });
    const tensors = allocate(backend, { x: type, y: type }) as Record<"x" | "y", ReturnType<typeof backend.tensor>>;
    (tensors.x.data as Float32Array).set([1, 2]);
    const binding = program.bind({ x: tensors.x }, { y: tensors.y });
    await binding.run();
    const right = tensors.y.data[0] === 2 && tensors.y.data[1] === 4;
    binding.dispose();
    program.dispose();
    return right ? { name: "first graph", state: "ok", text: "1 + 1 = 2" } : { name: "first graph", state: "failed", text: "computed 1 + 1 wrongly" };
  } catch (error) {
    if (!LongjingError.is(error)) throw error;
    return { name: "first graph", state: "failed", text: error.message };
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
