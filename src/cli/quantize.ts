import { existsSync } from "node:fs";
import { basename } from "node:path";
import { Option, type Command } from "commander";
import { LongjingError } from "../errors/index.ts";
import type { Calibration, Grid, Storage, StoredParameter } from "../quantize/index.ts";
import type { ParameterSpec } from "../model/index.ts";
import type { Backend } from "../runtime/index.ts";
import { taskNames, type TaskName } from "../tasks/names.ts";
import type { Checkpoint, GgufField } from "../weights/index.ts";
import { openBackendWith, providerOption, threadsOption, type BackendOptions } from "./backend.ts";
import type { ExportSource } from "./export-source.ts";
import type { Measured } from "./measure-model.ts";
import { distilledScales, hasMemoryFor } from "./distilled-scales.ts";
import { endsLeftOut } from "./export-target.ts";
import { wholeNumber } from "./options.ts";
import { progress, type Progress } from "./progress.ts";
import { table } from "./table.ts";
import { openTerminal } from "./terminal.ts";

type Bits = "4" | "8" | "16" | "32";

interface QuantizeCommandOptions extends BackendOptions {
  readonly bits: "4" | "8";
  readonly asymmetric?: boolean;
  readonly embeddings?: Bits;
  readonly head?: Bits;
  readonly calibrate?: string;
  readonly calibrationTokens: number;
  readonly distill: boolean;
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
    .description("Store a model's weights in 4 or 8 bits, in blocks of 32, and report what it costs and saves")
    .argument("<model>", "a run (its newest checkpoint), one of its checkpoints, a model folder, a GGUF file, or ORG/NAME that was pulled")
    .argument("<out>", "NAME.gguf (Q4_0, Q4_1 or Q8_0), or a Hugging Face folder (compressed-tensors, as vLLM reads it); must be new")
    .addOption(new Option("--bits <n>", "of the linear layers").choices(["4", "8"]).default("4"))
    .option("--asymmetric", "each block has a minimum (GGUF: Q4_1) or a zero point (folder) beside its scale")
    .addOption(new Option("--embeddings <bits>", "of the embeddings, and of a head that is tied to them").choices(widths))
    .addOption(new Option("--head <bits>", "of a head of its own (both: 8 by default in a GGUF file, 16 in a folder)").choices(widths))
    .option("--calibrate <text>", "a text file like what the model will meet: rounding makes up for its own errors on it (GPTQ); without it, to nearest")
    .option("--calibration-tokens <n>", "at most half are from all over that text; texts that the model writes by itself make up the rest", wholeNumber(1), 30_720)
    .option("--no-distill", "with --calibrate in 4 bits, leave scales and gains as they were rounded: in half the time, with a quarter of the memory")
    .option("--perplexity <text>", "report the perplexity of this text file, before and after: another than that of --calibrate")
    .addOption(new Option("--task <name>", "report the accuracy on held-out problems, greedy, before and after").choices(taskNames))
    .option("--problems <n>", "how many of them", wholeNumber(1, 1_000_000), 200)
    .option("--license <id>", "licence of the weights (default: what the source says of itself; apache-2.0 for a run that began with nothing)")
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
  const { described, findExportSource } = await import("./export-source.ts");
  const asked = { text: options.perplexity === undefined ? undefined : await readText(options.perplexity), task: options.task, problems: options.problems };
  const calibrationText = options.calibrate === undefined ? undefined : await readText(options.calibrate);
  if (calibrationText !== undefined && calibrationText === asked.text) throw new LongjingError("bad_argument", "A text that the weights were fitted to says nothing of what they lost", { where: "--perplexity", expected: "another text than that of --calibrate" });
  const source = described(await findExportSource(model), options);
  if (source.adapter !== undefined) throw new LongjingError("bad_argument", "An adapter is not quantised: its base is", { where: model, hint: "Merge them first: longjing export --to hf" });
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

function gridsOf(out: string, options: QuantizeCommandOptions): Grids {
  if (existsSync(out)) throw new LongjingError("conflict", "There is something already", { where: out, hint: "Choose another name." });
  const gguf = out.endsWith(".gguf");
  const { bits, asymmetric = false, embeddings = gguf ? "8" : "16", head = gguf ? "8" : "16" } = options;
  if (gguf && bits === "8" && asymmetric) throw new LongjingError("unsupported", "GGUF has no weights of 8 bits with a minimum", { where: "--asymmetric", got: "--bits 8", expected: "--bits 4, symmetric blocks, or a folder" });
  if (!gguf && Number(embeddings) < 16) throw new LongjingError("unsupported", "The format of the folder packs linear layers only", { where: "--embeddings", got: embeddings, expected: "16, 32, or a GGUF file" });
  if (!gguf && Number(head) < 16 && head !== bits) throw new LongjingError("unsupported", "A folder has one width for all that is packed", { where: "--head", got: head, expected: `${bits}, 16, 32, or a GGUF file` });
  const linear: Grid = { bits: bits === "4" ? 4 : 8, kind: !asymmetric ? "symmetric" : gguf ? "minimum" : "zero_point" };
  // GGUF's 8 bits are symmetric whatever the 4 are.
  const storage = (of: Bits): Storage => (of === "16" ? 16 : of === "32" ? 32 : of === bits ? linear : of === "8" ? { bits: 8, kind: "symmetric" } : { bits: 4, kind: asymmetric ? "minimum" : "symmetric" });
  return { linear, embeddings: storage(embeddings), head: storage(head) };
}

/** How weights are stored, and how many. */
interface Kind {
  readonly type: string;
  readonly method: StoredParameter["method"];
  readonly tensors: number;
  readonly weights: number;
}

interface Stored {
  /** Of the text, and of those that the model wrote. */
  readonly calibration_tokens: number;
  readonly own_tokens: number;
  /** Scales and gains were moved to the original's distribution of tokens. */
  readonly distilled: boolean;
  readonly stored: readonly Kind[];
  /** End tokens that a GGUF file has no keys for. */
  readonly eos_left_out?: readonly number[];
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

async function writeQuantized(out: string, source: ExportSource, { distill }: QuantizeCommandOptions, { calibration, ...grids }: WriteOptions): Promise<Stored> {
  const { openCheckpoint } = await import("../weights/index.ts");
  const { quantizeModel } = await import("../quantize/index.ts");
  const { loadTokenizer } = await import("./load-model.ts");
  const ids = calibration ? (await loadTokenizer(source.path)).encode(calibration.text) : [];
  const checkpoint = await openCheckpoint(source.path);
  try {
    const { config } = checkpoint;
    const keys = out.endsWith(".gguf") ? await metadataOf(source, checkpoint) : null;
    const tokens = Math.min(window, config.max_position_embeddings);
    const most = Math.floor((calibration?.most ?? 0) / tokens);
    const read = spread(ids, tokens, Math.ceil(most / 2));
    const own = calibration ? await ownTokens(calibration.backend, source.path, most - read.length, tokens) : [];
    // Whole windows of the text, unless it is shorter than one and nothing else is there.
    const whole = read.length > 0 || own.length > 0 ? [...read.flat(), ...own] : ids.slice(0, calibration?.most);
    let parameters: StoredParameter[] = [];
    const original = async ({ name, shape }: ParameterSpec): Promise<Float32Array> => (await checkpoint.read(name, shape)).data;
    for await (const stored of quantizeModel(config, original, { ...grids, calibration: calibration && { backend: calibration.backend, ids: whole, window: tokens } })) parameters.push(stored);
    const distilled = distill && calibration !== undefined && grids.linear.bits === 4 && hasMemoryFor(parameters);
    if (distilled) parameters = await withBar("distill scales", "windows", (onProgress) => distilledScales(parameters, { backend: calibration.backend, config, ids: whole, read: original, onProgress }));
    const eos_left_out = keys === null ? [] : await writeFile(out, keys, checkpoint, parameters);
    if (keys === null) await writeModelFolder(out, source, checkpoint, grids.linear, parameters);
    return { calibration_tokens: whole.length - own.length, own_tokens: own.length, distilled, stored: kindsOf(parameters, keys !== null), ...(eos_left_out.length > 0 && { eos_left_out }) };
  } finally {
    await checkpoint.close();
  }
}

/** Shows how far a long piece of work is, whose size it learns from the work. */
async function withBar<T>(label: string, unit: string, work: (onProgress: (done: number, total: number) => void) => Promise<T>): Promise<T> {
  let bar: Progress | undefined;
  const result = await work((done, total) => (bar ??= progress(openTerminal(), { label, total, unit })).update(done));
  bar?.end();
  return result;
}

/** Windows of a text, so many at most, at even distances: a long text is of more than one kind. */
function spread(ids: readonly number[], length: number, most: number): (readonly number[])[] {
  const whole = Math.floor(ids.length / length);
  const count = Math.min(whole, most);
  return Array.from({ length: count }, (_, i) => {
    const start = Math.floor((i * whole) / count) * length;
    return ids.slice(start, start + length);
  });
}

async function ownTokens(backend: Backend, path: string, count: number, length: number): Promise<number[]> {
  if (count < 1 || length < 2) return [];
  const { disposeParameters, loadFrozenModel } = await import("../engine/index.ts");
  const { loadTokenizer } = await import("./load-model.ts");
  const { ownTexts, textStarts } = await import("./own-text.ts");
  const model = await loadFrozenModel(backend, path);
  const bar = progress(openTerminal(), { label: "own texts", total: count, unit: "texts" });
  let done = 0;
  const texts = await ownTexts(backend, model, textStarts(await loadTokenizer(path)), count, length, () => bar.update(++done));
  bar.end();
  disposeParameters(model.parameters);
  return texts.flat();
}

/** What a GGUF file says of the model and its tokenizer. What llama.cpp does not compute is refused here, ahead of the work. */
async function metadataOf(source: ExportSource, { config, generationConfig }: Checkpoint): Promise<Readonly<Record<string, GgufField>>> {
  const { ggufMetadata } = await import("../weights/index.ts");
  const { tokenizerToGguf } = await import("../text/index.ts");
  const { generalMetadata, tokenizerOf } = await import("./export-source.ts");
  const metadata = { ...generalMetadata(source), ...tokenizerToGguf(await tokenizerOf(source.path), config.vocab_size) };
  ggufMetadata(config, generationConfig, metadata);
  return metadata;
}

async function writeFile(out: string, metadata: Readonly<Record<string, GgufField>>, { config, generationConfig }: Checkpoint, parameters: readonly StoredParameter[]): Promise<readonly number[]> {
  const { writeGguf } = await import("../weights/index.ts");
  const { ggufParameter } = await import("../quantize/index.ts");
  return (await writeGguf(out, { config, generationConfig, metadata, parameters: parameters.map(ggufParameter) })).eos_left_out;
}

async function writeModelFolder(out: string, source: ExportSource, checkpoint: Checkpoint, linear: Grid, parameters: readonly StoredParameter[]): Promise<void> {
  const { cardTags, modelCardText, writeCheckpoint } = await import("../weights/index.ts");
  const { folderQuantization, folderTensors } = await import("../quantize/index.ts");
  const { cardOf, companionFiles } = await import("./export-source.ts");
  const { generationConfigText } = await import("./export.ts");
  const { config } = checkpoint;
  const body = `${source.origin} Linear layers have ${linear.bits} bits a weight, in groups of 32.`;
  const card = modelCardText(cardOf({ ...source, results: [] }, { library_name: "transformers", tags: ["compressed-tensors", ...cardTags(config)], body }));
  const extraFiles = { ...(await companionFiles(source.path)), "generation_config.json": generationConfigText(checkpoint), "README.md": card };
  await writeCheckpoint(out, { config, tensors: [], stored: parameters.flatMap(folderTensors), dtype: "float16", quantization_config: folderQuantization(linear, parameters), extraFiles });
}

const ggufTypes = { symmetric4: "Q4_0", minimum4: "Q4_1", symmetric8: "Q8_0" } as const;

function kindsOf(parameters: readonly StoredParameter[], gguf: boolean): Kind[] {
  const kinds = new Map<string, Kind>();
  for (const { spec: { shape }, matrix, bits, method } of parameters) {
    const kind = matrix && (`${matrix.grid.kind}${matrix.grid.bits}` as keyof typeof ggufTypes);
    const type = kind === null ? `F${bits}` : gguf ? ggufTypes[kind] : `int${bits}`;
    const known = kinds.get(`${type} ${method}`) ?? { type, method, tensors: 0, weights: 0 };
    kinds.set(`${type} ${method}`, { ...known, tensors: known.tensors + 1, weights: known.weights + shape.reduce((a, b) => a * b, 1) });
  }
  return [...kinds.values()];
}

const said = { gptq: "calibrated (GPTQ)", rtn: "to nearest", none: "not quantised", unfit: "not quantised: rows are no whole blocks of 32" } as const;

function reportText({ out, stored, before, after, calibration_tokens, own_tokens, distilled, eos_left_out = [] }: Report, { calibrate, perplexity, task, problems }: QuantizeCommandOptions, bold: (text: string) => string): string {
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
  const text = calibrate === undefined ? "" : `Calibrated on ${count(calibration_tokens)} tokens of ${basename(calibrate)} and ${count(own_tokens)} that the model wrote${distilled ? "; scales and gains distilled from the original on the same" : ""}\n`;
  return `${kinds}\n${figures}\n${text}${out}${endsLeftOut(eos_left_out)}\n`;
}
