import { basename, dirname, join } from "node:path";
import { tokenizerToGguf } from "../text/index.ts";
import { ggufFileTypes, ggufParameters, writeGguf, type Checkpoint } from "../weights/index.ts";
import { generalMetadata, openMerged, tokenizerOf, type ExportSource } from "./export-source.ts";
import { endsLeftOut, type ExportOptions, type Written } from "./export-target.ts";

/** The file that is asked for, or one with a name that tells model and type in the folder that is. */
export async function exportGguf(source: ExportSource, options: ExportOptions): Promise<Written> {
  const file = options.out.endsWith(".gguf") ? basename(options.out) : ggufName(source, options);
  const folder = options.out.endsWith(".gguf") ? dirname(options.out) : options.out;
  const checkpoint = await openMerged(source, options.adapter);
  try {
    return await writeGgufInto(folder, file, source, options, checkpoint);
  } finally {
    await checkpoint.close();
  }
}

export const ggufName = ({ name }: ExportSource, { type }: ExportOptions): string => `${name}-${type}.gguf`;

/** Writes a model with its tokenizer as a new file of a folder. */
export async function writeGgufInto(folder: string, file: string, source: ExportSource, { type }: ExportOptions, checkpoint: Checkpoint): Promise<Written> {
  const { config, generationConfig } = checkpoint;
  const metadata = {
    ...generalMetadata(source),
    "general.file_type": ggufFileTypes[type],
    ...tokenizerToGguf(await tokenizerOf(source.path), config.vocab_size),
  };
  const parameters = ggufParameters(checkpoint, type);
  const { eos_left_out } = await writeGguf(join(folder, file), { config, generationConfig, metadata, parameters });
  return { tensors: parameters.length, said: `${parameters.length} tensors in ${type} from ${source.path}: ${file}${endsLeftOut(eos_left_out)}`, facts: { type, file, ...(eos_left_out.length > 0 && { eos_left_out }) } };
}
