import { join } from "node:path";
import { createTokenizer, longjingTemplate, ollamaTemplate, type Tokenizer } from "../text/index.ts";
import { writeFolder, writeNewFile, type Checkpoint } from "../weights/index.ts";
import { ggufName, writeGgufInto } from "./export-gguf.ts";
import { openMerged, tokenizerOf, type ExportSource } from "./export-source.ts";
import type { ExportOptions, Written } from "./export-target.ts";

/** A folder for `ollama create NAME -f Modelfile`: the GGUF file, and how the model is prompted and sampled. */
export async function exportOllama(source: ExportSource, options: ExportOptions): Promise<Written> {
  const { tokenizerJson, tokenizerConfig } = await tokenizerOf(source.path);
  const tokenizer = createTokenizer(tokenizerJson, tokenizerConfig);
  const template = ollamaTemplate(tokenizer.chatTemplate ?? longjingTemplate, tokenizer);
  const file = ggufName(source, options);
  const checkpoint = await openMerged(source, options.adapter);
  try {
    let written: Written | undefined;
    await writeFolder(options.out, false, async (folder) => {
      written = await writeGgufInto(folder, file, source, options, checkpoint);
      await writeNewFile(join(folder, "Modelfile"), [new TextEncoder().encode(modelfile(file, template, tokenizer, checkpoint))]);
    });
    const { tensors, said, facts } = written!;
    const advice = template === null ? "\nIts chat template has no equal among Ollama's: TEMPLATE in the Modelfile is for you to write." : "";
    return { tensors, said: `${said}${advice}`, facts: { ...facts, template: template === null ? "none" : "written" } };
  } finally {
    await checkpoint.close();
  }
}

/** A longer context is had by asking for it: Ollama reserves memory for what a Modelfile says. */
const longestContext = 8192;

function modelfile(file: string, template: string | null, tokenizer: Tokenizer, { config, generationConfig }: Checkpoint): string {
  const ends = new Set([...(tokenizer.eosId === null ? [] : [tokenizer.eosId]), ...config.eos_token_id, ...(generationConfig?.eos_token_id ?? [])]);
  const { do_sample = false, temperature = 1, top_k, top_p, min_p, repetition_penalty } = generationConfig ?? {};
  const parameters: readonly [string, string | number | undefined][] = [
    ...Array.from(ends, (id): [string, string] => ["stop", JSON.stringify(tokenizer.decode([id]))]),
    ["temperature", do_sample ? temperature : 0],
    ["top_k", top_k],
    ["top_p", top_p],
    ["min_p", min_p],
    ["repeat_penalty", repetition_penalty],
    ["num_ctx", Math.min(config.max_position_embeddings, longestContext)],
  ];
  return [
    `FROM ./${file}`,
    ...(template === null ? [] : [`TEMPLATE """${template}"""`]),
    ...parameters.filter(([, value]) => value !== undefined).map(([name, value]) => `PARAMETER ${name} ${value}`),
    "",
  ].join("\n");
}
