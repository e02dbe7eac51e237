import { join } from "node:path";
import type { ModelConfig } from "../model/index.ts";

const [modelFile, dataName] = ["model.onnx", "model.onnx_data"] as const;

/**
 * Writes a folder that transformers.js loads: the tokenizer's and configuration's files as on the hub, and the model with its
 * weights in `onnx/`.
 * @param files name → content of what stands beside the model
 */
export async function writeOnnxFolder(out: string, config: ModelConfig, weights: Readonly<Record<string, Float32Array>>, files: Readonly<Record<string, string>>): Promise<void> {
  const { causalLmOnnx } = await import("../export/index.ts");
  const { configToText } = await import("../model/config.ts");
  const { writeFolder, writeNewFile, writeWholeFile } = await import("../weights/files.ts");
  const { model, data } = causalLmOnnx(config, weights, { dataName });
  const text = configToText(config, "float32");
  const configText = data === null ? text : text.replace(/\n}\n$/, `,\n  "transformers.js_config": ${JSON.stringify({ use_external_data_format: { [modelFile]: 1 } })}\n}\n`);
  await writeFolder(out, false, async (folder) => {
    await writeWholeFile(join(folder, "onnx", modelFile), model);
    if (data !== null) await writeNewFile(join(folder, "onnx", dataName), data);
    for (const [name, content] of Object.entries({ ...withChatTemplate(files), "config.json": configText })) await writeNewFile(join(folder, name), [new TextEncoder().encode(content)]);
  });
}

/** transformers.js reads the template where it used to be, in the tokenizer's configuration. */
function withChatTemplate(files: Readonly<Record<string, string>>): Readonly<Record<string, string>> {
  const { "chat_template.jinja": chat_template, "tokenizer_config.json": text } = files;
  if (chat_template === undefined || text === undefined) return files;
  return { ...files, "tokenizer_config.json": `${JSON.stringify({ chat_template, ...(JSON.parse(text) as object) }, null, 2)}\n` };
}
