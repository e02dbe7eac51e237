import { existsSync } from "node:fs";
import { basename } from "node:path";
import { Option, type Command } from "commander";
import { LongjingError } from "../errors/index.ts";
import type { Calibration, Grid, Storage, StoredParameter } from "../quantize/index.ts";
import { tasks, type TaskName } from "../tasks/index.ts";
import { openBackendWith, providerOption, threadsOption, type BackendOptions } from "./backend.ts";
import type { ExportSource } from "./export-source.ts";
import type { Measured } from "./measure-model.ts";
import { wholeNumber } from "./options.ts";
import { progress } from "./progress.ts";
import { table } from "./table.ts";
import { openTerminal } from "./terminal.ts";

type Bits = "4" | "8" | "16" | "32";

interface QuantizeCommandOptions extends BackendOptions {
  readonly bits: "4" | "8";
  readonly asymmetric?: boolean;
  readonly embeddings: Bits;
  readonly head: Bits;
  readonly calibrate?: string;
  readonly calibrationTokens: number;
  readonly perplexity?: string;
  readonly task?: TaskName;
  readonly problems: number;
  readonly license?: string;
  readonly json?: true;
}

const widths: readonly Bits[] = ["4", "8", "16", "32"];

export function addQuantize(program: Command): void {
  program
    .command("quantize")
    .description("Store a model's weights in 4 or 8 bits, in blocks of 32, as a GGUF file, and report what it costs and saves")
    .argument("<model>", "a run (its newest checkpoint), one of its checkpoints, a model folder, a GGUF file, or ORG/NAME that was pulled")
    .argument("<out>", "NAME.gguf, which must be new")
    .addOption(new Option("--bits <n>", "of the linear layers").choices(["4", "8"]).default("4"))
    .option("--asymmetric", "each block has a minimum beside its scale (4 bits: Q4_1, else Q4_0)")
    .addOption(new Option("--embeddings <bits>", "of the embeddings, and of a head that is tied to them").choices(widths).default("8"))
    .addOption(new Option("--head <bits>", "of a head of its own").choices(widths).default("8"))
    .option("--calibrate <text>", "a text file like what the model will meet: rounding makes up for its own errors on it (GPTQ); without it, to nearest")
    .option("--calibration-tokens <n>", "most tokens of it", wholeNumber(1), 16_384)
    .option("--perplexity <text>", "report the perplexity of this text file, before and after: another than that of --calibrate")
    .addOption(new Option("--task <name>", "report the accuracy on held-out problems, greedy, before and after").choices(Object.keys(tasks)))
    .option("--problems <n>", "how many of them", wholeNumber(1, 1_000_000), 200)
    .option("--license <id>", "licence of the weights (default: that of the source's card, else apache-2.0)")
    .addOption(providerOption())
    .addOption(threadsOption())
    .option("--json", "one JSON line with the report; errors as JSON")
    .action(quantize);
}

async function quantize(model: string, out: string, options: QuantizeCommandOptions): Promise<void> {
  const terminal = openTerminal();
  const grids = gridsOf(out, options);
  const { readText } = await import("./text-file.ts");
  const { measureModel } = await import("./measure-model.ts");
  const { findExportSource } = await import("./export-source.ts");
  const asked = { text: options.perplexity === undefined ? undefined : await readText(options.perplexity), task: options.task, problems: options.problems };
  const calibrationText = options.calibrate === undefined ? undefined : await readText(options.calibrate);
  if (calibrationText !== undefined && calibrationText === asked.text) throw new LongjingError("bad_argument", "A text that the weights were fitted to says nothing of what they lost", { where: "--perplexity", expected: "another text than that of --calibrate" });
  const source = await findExportSource(model);
  const backend = await openBackendWith(options);
  const before = await measureModel(backend, source.path, asked);
  const bar = progress(terminal, { label: "quantize", total: 100, unit: "%" });
  const stored = await writeQuantized(out, source, options, { ...grids, calibration: calibrationText === undefined ? undefined : { backend, text: calibrationText, most: options.calibrationTokens }, onProgress: (done, total) => bar.update(Math.floor((100 * done) / total)) });
  bar.end();
  const report: Report = { out, ...stored, before, after: await measureModel(backend, out, asked) };
  terminal.out(options.json ? `${JSON.stringify(report)}\n` : reportText(report, options, terminal.colors.bold));
}

interface Grids {
  readonly linear: Grid;
  readonly embeddings: Storage;
  readonly head: Storage;
}

function gridsOf(out: string, { bits, asymmetric = false, embeddings, head }: QuantizeCommandOptions): Grids {
  if (!out.endsWith(".gguf")) throw new LongjingError("bad_argument", "The output has another name", { where: "<out>", got: out, expected: "NAME.gguf" });
  if (existsSync(out)) throw new LongjingError("conflict", "There is something already", { where: out, hint: "Choose another name." });
  if (bits === "8" && asymmetric) throw new LongjingError("unsupported", "GGUF has no weights of 8 bits with a minimum", { where: "--asymmetric", got: "--bits 8", expected: "--bits 4, or symmetric blocks" });
  const storage = (of: Bits): Storage => (of === "4" ? { bits: 4, kind: asymmetric ? "minimum" : "symmetric" } : of === "8" ? { bits: 8, kind: "symmetric" } : of === "16" ? 16 : 32);
  return { linear: storage(bits) as Grid, embeddings: storage(embeddings), head: storage(head) };
}

/** How weights are stored, and how many. */
interface Kind {
  readonly type: string;
  readonly method: StoredParameter["method"];
  readonly tensors: number;
  readonly weights: number;
}

interface Stored {
  readonly calibration_tokens: number;
  readonly stored: readonly Kind[];
}

interface Report extends Stored {
  readonly out: string;
  readonly before: Measured;
  readonly after: Measured;
}

interface WriteOptions extends Grids {
  readonly calibration: (Pick<Calibration, "backend"> & { readonly text: string; readonly most: number }) | undefined;
  readonly onProgress: (done: number, total: number) => void;
}

const window = 512;

async function writeQuantized(out: string, source: ExportSource, { license }: QuantizeCommandOptions, { calibration, ...grids }: WriteOptions): Promise<Stored> {
  const { openCheckpoint, writeGguf } = await import("../weights/index.ts");
  const { ggufParameter, quantizeModel } = await import("../quantize/index.ts");
  const { tokenizerToGguf } = await import("../text/index.ts");
  const { tokenizerOf } = await import("./export-source.ts");
  const { loadTokenizer } = await import("./load-model.ts");
  const ids = calibration ? (await loadTokenizer(source.path)).encode(calibration.text).slice(0, calibration.most) : [];
  const checkpoint = await openCheckpoint(source.path);
  try {
    const { config, generationConfig } = checkpoint;
    const tokens = Math.min(window, config.max_position_embeddings);
    const parameters: ReturnType<typeof ggufParameter>[] = [];
    const kinds = new Map<string, Kind>();
    for await (const stored of quantizeModel(config, async ({ name, shape }) => (await checkpoint.read(name, shape)).data, { ...grids, calibration: calibration && { backend: calibration.backend, ids, window: tokens } })) {
      const parameter = ggufParameter(stored);
      parameters.push(parameter);
      const { method, spec: { shape } } = stored;
      const known = kinds.get(`${parameter.dtype} ${method}`) ?? { type: parameter.dtype, method, tensors: 0, weights: 0 };
      kinds.set(`${parameter.dtype} ${method}`, { ...known, tensors: known.tensors + 1, weights: known.weights + shape.reduce((a, b) => a * b, 1) });
    }
    const metadata = { "general.name": source.name, "general.license": license ?? source.license ?? "apache-2.0", ...tokenizerToGguf(await tokenizerOf(source.path), config.vocab_size) };
    await writeGguf(out, { config, generationConfig, metadata, parameters });
    return { calibration_tokens: ids.length - (ids.length % Math.max(1, Math.min(tokens, ids.length))), stored: [...kinds.values()] };
  } finally {
    await checkpoint.close();
  }
}

const said = { gptq: "calibrated (GPTQ)", rtn: "to nearest", none: "not quantised", unfit: "not quantised: rows are no whole blocks of 32" } as const;

function reportText({ out, stored, before, after, calibration_tokens }: Report, { calibrate, perplexity, task, problems }: QuantizeCommandOptions, bold: (text: string) => string): string {
  const count = (n: number): string => n.toLocaleString("en", { maximumFractionDigits: 1 });
  const change = (a: number, b: number): string => `${b >= a ? "+" : "−"}${(Math.abs(b / a - 1) * 100).toFixed(1)} %`;
  const row = (name: string, of: (measured: Measured) => number | undefined, show: (n: number) => string): string[][] => {
    const [a, b] = [of(before), of(after)];
    return a === undefined || b === undefined ? [] : [[name, show(a), show(b), change(a, b)]];
  };
  const figures = table([
    ["", "before", "after", "change"],
    ...row("bytes", (m) => m.bytes, count),
    ...row(`perplexity of ${basename(perplexity ?? "")}`, (m) => m.perplexity?.perplexity, (n) => n.toFixed(3)),
    ...row(`accuracy on ${task}, ${problems} problems`, (m) => m.accuracy?.accuracy, (n) => `${(n * 100).toFixed(1)} %`),
    ...row("tokens/s, decoding one sequence", (m) => m.decode_tokens_per_second, count),
    ...row("tokens/s, reading a prompt", (m) => m.prefill_tokens_per_second, count),
  ], bold);
  const kinds = table([["stored as", "tensors", "weights", "rounded"], ...stored.map(({ type, method, tensors, weights }) => [type, count(tensors), count(weights), said[method]])], bold);
  const text = calibrate === undefined ? "" : `Calibrated on ${count(calibration_tokens)} tokens of ${basename(calibrate)}\n`;
  return `${kinds}\n${figures}\n${text}${out}\n`;
}
