import { existsSync } from "node:fs";
import { basename, resolve } from "node:path";
import { Option, type Command } from "commander";
import { LongjingError } from "../errors/index.ts";
import type { ParameterSpec } from "../model/index.ts";
import type { Checkpoint, GgufFileType } from "../weights/index.ts";
import type { ExportSource } from "./export-source.ts";
import type { ExportOptions, ExportTarget, Written } from "./export-target.ts";
import { wholeNumber } from "./options.ts";
import { openTerminal } from "./terminal.ts";

/** The formats, in the order of the help; those that need little of this file have files of their own. */
const targets = {
  hf: exportFolder,
  gguf: async (source, options) => (await import("./export-gguf.ts")).exportGguf(source, options),
  ollama: async (source, options) => (await import("./export-ollama.ts")).exportOllama(source, options),
  onnx: exportOnnx,
  lora: exportAdapter,
} satisfies Record<string, ExportTarget>;

const ggufTypes = ["F32", "F16", "Q8_0", "Q4_0", "Q4_K_M"] satisfies GgufFileType[];

const formats = [
  "hf: config, safetensors, tokenizer, chat template, model card",
  "gguf: a file for llama.cpp, LM Studio and others",
  "ollama: the same with a Modelfile",
  "onnx: for transformers.js",
  "lora: the adapter that a run trained, or what was learnt since --base",
];

export function addExport(program: Command): void {
  program
    .command("export")
    .description("Write a model for everyone else's tools: a Hugging Face folder, GGUF, Ollama, ONNX for transformers.js, or a PEFT adapter")
    .argument("<model>", "a run (its newest checkpoint), one of its checkpoints, a model folder, a GGUF file, or ORG/NAME that was pulled")
    .addOption(new Option("--to <format>", formats.join("; ")).choices(Object.keys(targets)).makeOptionMandatory())
    .requiredOption("--out <path>", "a folder, which must be new or empty (gguf: or NAME.gguf)")
    .addOption(new Option("--dtype <type>", "of the weights (hf)").choices(["float32", "bfloat16", "float16"]).default("float32"))
    .addOption(new Option("--type <type>", "of most weights (gguf, ollama)").choices(ggufTypes).default("F16"))
    .option("--adapter <folder>", "merge this PEFT adapter into the weights first (all but lora)")
    .option("--base <model>", "the model that this one was trained from: named on the card, and what an adapter is for")
    .option("--rank <r>", "of an adapter that is extracted (lora; default: 16)", wholeNumber(1, 4096))
    .option("--license <id>", "licence of the weights for the card (default: what the source says of itself; apache-2.0 for a run that began with nothing)")
    .option("--json", "one JSON line with what was written; errors as JSON")
    .action(exportModel);
}

async function exportModel(model: string, options: ExportOptions & { readonly to: keyof typeof targets }): Promise<void> {
  const terminal = openTerminal();
  const { described, findExportSource } = await import("./export-source.ts");
  const source = described(await findExportSource(model), options);
  const { tensors, said, facts } = await targets[options.to](source, options);
  terminal.out(options.json ? `${JSON.stringify({ to: options.to, out: options.out, source: source.path, tensors, ...facts })}\n` : `${said}\n${options.out}\n`);
}

async function exportFolder(source: ExportSource, options: ExportOptions): Promise<Written> {
  const { cardTags, modelCardText, writeCheckpoint } = await import("../weights/index.ts");
  const { cardOf, companionFiles, openMerged } = await import("./export-source.ts");
  const checkpoint = await openMerged(source, options.adapter);
  try {
    const { config } = checkpoint;
    const specs = await folderSpecs(checkpoint);
    const data = await readSpecs(checkpoint, specs);
    const tensors = specs.map(({ name, shape }) => ({ name, shape, data: data[name]! }));
    const card = cardOf(source, { library_name: "transformers", tags: cardTags(config), body: folderBody(source, options) });
    const extraFiles = { ...(await companionFiles(source.path)), "generation_config.json": generationConfigText(checkpoint), "README.md": modelCardText(card) };
    await writeCheckpoint(options.out, { config, tensors, dtype: options.dtype, extraFiles });
    return { tensors: tensors.length, said: `${tensors.length} tensors in ${options.dtype} from ${source.path}`, facts: { dtype: options.dtype } };
  } finally {
    await checkpoint.close();
  }
}

async function exportOnnx(source: ExportSource, options: ExportOptions): Promise<Written> {
  const { cardTags, modelCardText } = await import("../weights/index.ts");
  const { cardOf, companionFiles, openMerged } = await import("./export-source.ts");
  const { writeOnnxFolder } = await import("./export-onnx.ts");
  const { parameterSpecs } = await import("../model/index.ts");
  const checkpoint = await openMerged(source, options.adapter);
  try {
    const { config } = checkpoint;
    const data = await readSpecs(checkpoint, parameterSpecs(config));
    const body = `${source.origin}\n\n## Use\n\n\`\`\`js\nimport { pipeline } from "@huggingface/transformers";\n\nconst generate = await pipeline("text-generation", "${source.name}", { dtype: "fp32" });\n\`\`\``;
    const card = cardOf(source, { library_name: "transformers.js", tags: ["onnx", ...cardTags(config)], body });
    await writeOnnxFolder(options.out, config, data, { ...(await companionFiles(source.path)), "generation_config.json": generationConfigText(checkpoint), "README.md": modelCardText(card) });
    const tensors = Object.keys(data).length;
    return { tensors, said: `${tensors} tensors in float32 from ${source.path}` };
  } finally {
    await checkpoint.close();
  }
}

async function exportAdapter(source: ExportSource, options: ExportOptions): Promise<Written> {
  if (source.adapter !== undefined) return copyAdapter({ ...source, adapter: source.adapter }, options);
  return extractedAdapter(source, options);
}

/** The adapter that a run has trained, with a card. */
async function copyAdapter(source: ExportSource & { readonly adapter: string }, options: ExportOptions): Promise<Written> {
  if (options.rank !== undefined) throw new LongjingError("bad_argument", "The adapter has the rank that it was trained with", { where: "--rank", got: options.rank, hint: "Leave it out" });
  const { cardTags, modelCardText, openCheckpoint, readAdapter, writeAdapter } = await import("../weights/index.ts");
  const { parameterSpecs } = await import("../model/index.ts");
  const { cardOf } = await import("./export-source.ts");
  const before = await openCheckpoint(source.path);
  await before.close();
  const { config, modules, tensors } = await readAdapter(source.adapter, parameterSpecs(before.config));
  const base = options.base ?? config.base_model_name_or_path ?? source.path;
  const body = `${source.origin}\n\nA LoRA adapter of rank ${config.r} for \`${called(base)}\`.\n\n${adapterUse(called(base))}`;
  const card = cardOf({ ...source, base }, { library_name: "peft", tags: ["lora", ...cardTags(before.config)], body });
  await writeAdapter(options.out, { config: { ...config, base_model_name_or_path: base }, tensors, extraFiles: { "README.md": modelCardText(card) } });
  return { tensors: 2 * modules.length, said: `Adapter of rank ${config.r} for ${modules.length} linear layers`, facts: { rank: config.r } };
}

async function extractedAdapter(source: ExportSource, options: ExportOptions): Promise<Written> {
  const { base, rank = 16 } = options;
  if (base === undefined) throw new LongjingError("bad_argument", "An adapter is for a base model", { where: "--base", expected: "the model that this one was trained from: a folder, a checkpoint or ORG/NAME" });
  const { cardTags, extractAdapter, modelCardText, writeAdapter } = await import("../weights/index.ts");
  const { parameterSpecs } = await import("../model/index.ts");
  const { cardOf, findExportSource, openMerged } = await import("./export-source.ts");
  const tuned = await openMerged(source);
  const before = await openMerged(await findExportSource(base));
  try {
    const specs = parameterSpecs(tuned.config);
    const { config, tensors, modules, captured } = extractAdapter(await readSpecs(before, specs), await readSpecs(tuned, specs), specs, rank);
    const share = `${(captured * 100).toFixed(1)} %`;
    const body = `${source.origin}\n\nA LoRA adapter of rank ${rank} for \`${called(base)}\`: of the squared difference between the two models it holds ${share}.\n\n${adapterUse(called(base))}`;
    const card = cardOf({ ...source, results: [] }, { library_name: "peft", tags: ["lora", ...cardTags(tuned.config)], body });
    await writeAdapter(options.out, { config: { ...config, base_model_name_or_path: base }, tensors, extraFiles: { "README.md": modelCardText(card) } });
    return { tensors: 2 * modules.length, said: `Adapter of rank ${rank} for ${modules.length} linear layers: ${share} of the squared difference from ${base}`, facts: { rank, captured } };
  } finally {
    await before.close();
    await tuned.close();
  }
}

type NamedShape = Pick<ParameterSpec, "name" | "shape">;

/** What a folder holds of a model: its parameters, and where there are any, the modules of deepseek_v3 that predict further tokens, which may have an embedding and a head of their own. */
async function folderSpecs({ config, names }: Checkpoint): Promise<readonly NamedShape[]> {
  const { parameterSpecs } = await import("../model/index.ts");
  const mtp = names.some((name) => name.endsWith(".eh_proj.weight"));
  const own = mtp ? names.filter((name) => /^model\.layers\.\d+\.(embed_tokens|shared_head\.head)\.weight$/.test(name)) : [];
  return [...parameterSpecs(config, { mtp }), ...own.map((name) => ({ name, shape: [config.vocab_size, config.hidden_size] }))];
}

/** The parameters of a model, and of no other: what is missing or of another shape is refused by name. */
async function readSpecs(checkpoint: Checkpoint, specs: readonly NamedShape[]): Promise<Record<string, Float32Array>> {
  const data: Record<string, Float32Array> = {};
  for (const { name, shape } of specs) data[name] = (await checkpoint.read(name, shape)).data;
  return data;
}

/** How a text for people calls a model. */
const called = (model: string): string => (existsSync(model) ? basename(resolve(model)) : model);

/** How the model's makers sample from it, or where nothing is said, which tokens begin and end a text. */
export function generationConfigText({ config, generationConfig }: Checkpoint): string {
  const { bos_token_id, eos_token_id, pad_token_id, ...sampling } = generationConfig ?? { ...idsOf(config), do_sample: false };
  const [first = null, ...others] = eos_token_id;
  const fields = { bos_token_id, eos_token_id: others.length === 0 ? first : eos_token_id, pad_token_id, ...sampling };
  return `${JSON.stringify(Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== null)), null, 2)}\n`;
}

const idsOf = ({ bos_token_id, eos_token_id, pad_token_id }: Checkpoint["config"]): Pick<Checkpoint["config"], "bos_token_id" | "eos_token_id" | "pad_token_id"> => ({ bos_token_id, eos_token_id, pad_token_id });

function folderBody({ name, origin, results }: ExportSource, { dtype, adapter }: ExportOptions): string {
  const rows = results.flatMap(({ dataset, metrics }) => Object.entries(metrics).map(([metric, value]) => `| ${dataset} | ${metric} | ${value.toFixed(4)} |`));
  const merged = adapter === undefined ? "" : ` The adapter \`${called(adapter)}\` is merged in.`;
  const table = rows.length === 0 ? [] : [`## Evaluation\n\n| on | metric | value |\n| --- | --- | --- |\n${rows.join("\n")}`];
  const use = `## Use\n\n\`\`\`python\nfrom transformers import AutoModelForCausalLM, AutoTokenizer\n\ntokenizer = AutoTokenizer.from_pretrained("${name}")\nmodel = AutoModelForCausalLM.from_pretrained("${name}")\n\`\`\`\n\n\`\`\`sh\nnpx longjing chat ${name}\n\`\`\``;
  return [`${origin}${merged} Weights are stored in ${dtype}.`, ...table, use].join("\n\n");
}

const adapterUse = (base: string): string => `\`\`\`python\nfrom peft import PeftModel\nfrom transformers import AutoModelForCausalLM\n\nmodel = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained("${base}"), ".")\n\`\`\``;
