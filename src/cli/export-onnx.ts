import { join } from "node:path";
import type { ModelConfig } from "../model/index.ts";

/** What transformers.js calls a model by the type of its weights: `dtype: "fp32"`, `"q8"` (its default on processors in browsers) and `"q4"`. */
const variants = [
  { file: "model.onnx", bits: 32 },
  { file: "model_quantized.onnx", bits: 8 },
  { file: "model_q4.onnx", bits: 4 },
] as const;

/**
 * Writes a folder that transformers.js loads: the tokenizer's and configuration's files as on the hub, and the model with its
 * weights in `onnx/`, in float32 and in blocks of 8 and of 4 bits.
 * @param files name → content of what stands beside the model
 */
export async function writeOnnxFolder(out: string, config: ModelConfig, weights: Readonly<Record<string, Float32Array>>, files: Readonly<Record<string, string>>): Promise<void> {
  const { causalLmOnnx, inBlocks } = await import("../export/index.ts");
  const { configToText } = await import("../model/config.ts");
  const { writeFolder, writeNewFile, writeWholeFile } = await import("../weights/files.ts");
  await writeFolder(out, false, async (folder) => {
    const apart: string[] = [];
    for (const { file, bits } of variants) {
      const { model, data } = causalLmOnnx(config, bits === 32 ? weights : inBlocks(config, weights, bits), { dataName: `${file}_data` });
      await writeWholeFile(join(folder, "onnx", file), model);
      if (data === null) continue;
      await writeNewFile(join(folder, "onnx", `${file}_data`), data);
      apart.push(file);
    }
    const text = configToText(config, "float32");
    const external = { use_external_data_format: Object.fromEntries(apart.map((file) => [file, 1])) };
    const configText = apart.length === 0 ? text : text.replace(/\n}\n$/, `,\n  "transformers.js_config": ${JSON.stringify(external)}\n}\n`);
    for (const [name, content] of Object.entries({ ...withChatTemplate(files), "config.json": configText })) await writeNewFile(join(folder, name), [new TextEncoder().encode(content)]);
  });
}

/** transformers.js reads the template where it used to be, in the tokenizer's configuration. */
function withChatTemplate(files: Readonly<Record<string, string>>): Readonly<Record<string, string>> {
  const { "chat_template.jinja": chat_template, "tokenizer_config.json": text } = files;
  if (chat_template === undefined || text === undefined) return files;
  return { ...files, "tokenizer_config.json": `${JSON.stringify({ chat_template, ...(JSON.parse(text) as object) }, null, 2)}\n` };
}
