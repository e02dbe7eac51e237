import { z } from "zod";
import { asObject, readFields, withoutNulls } from "../model/config-check.ts";
import { tokenId, tokenIds } from "../model/config-schema.ts";

const number = z.number();

const schema = z.object({
  bos_token_id: tokenId.default(null),
  eos_token_id: tokenIds.default([]),
  pad_token_id: tokenId.default(null),
  do_sample: z.boolean().default(false),
  temperature: number.min(0).max(100).exactOptional(),
  // -1 and 0 both mean every token.
  top_k: z
    .int()
    .min(-1)
    .transform((k) => Math.max(0, k))
    .exactOptional(),
  top_p: number.gt(0).max(1).exactOptional(),
  min_p: number.min(0).max(1).exactOptional(),
  repetition_penalty: number.gt(0).max(100).exactOptional(),
});

/** generation_config.json: how the model's makers sample from it. `eos_token_id` is empty when the file names none. */
export type GenerationConfig = Readonly<z.infer<typeof schema>>;

/** Whether a field holds something that it can. */
export const isSampling = (field: string, value: unknown): boolean => value !== undefined && Object.hasOwn(schema.shape, field) && schema.shape[field as keyof typeof schema.shape].safeParse(value).success;

/** @throws LongjingError "bad_config" that names the field */
export function parseGenerationConfig(json: unknown, where: string): GenerationConfig {
  return readFields(schema, withoutNulls(asObject(json, where)), where);
}
