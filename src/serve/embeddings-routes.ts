import type { Hono } from "hono";
import { z } from "zod";
import { LongjingError } from "../errors/index.ts";
import { errorResponse } from "./errors.ts";
import { encodePrompt } from "./prompt-tokens.ts";
import { modelName, parseBody, unknownFields, whole } from "./request-fields.ts";
import { abortOf, nameIgnored, readJson, respondJson, type Api } from "./respond.ts";

const ids = z.array(z.int().nonnegative()).min(1);

const known = z.object({
  model: modelName,
  input: z.union([z.string().transform((text) => [text]), ids.transform((list) => [list]), z.array(z.string()).min(1).max(2048), z.array(ids).min(1).max(2048)], {
    error: "must be a text, a list of token ids, or up to 2048 of either",
  }),
  encoding_format: z.enum(["float", "base64"]).nullish(),
  dimensions: whole(1, 2 ** 20),
  user: z.string().nullish(),
});

/** `/embeddings`, as OpenAI has it. */
export function addEmbeddingRoutes(app: Hono, api: Api): void {
  app.post("/embeddings", async (c) => {
    const body = await readJson(c);
    const { model: name, input, encoding_format, dimensions } = parseBody(known, body);
    const model = await api.models.find(name, c);
    const { id, engine: { embed } } = model;
    if (embed === undefined) return errorResponse(c, 501, `The model ${id} makes no embeddings`, "unsupported");
    const abort = abortOf(c);
    const prompts = input.map((text) => (typeof text === "string" ? encodePrompt(model, text, { addSpecialTokens: true }) : text));
    const prompt_tokens = prompts.reduce((sum, prompt) => sum + prompt.length, 0);
    nameIgnored(c, unknownFields(known, body));
    const answer = async (): Promise<object> => {
      const vectors = await Promise.all(prompts.map((prompt) => embed(prompt, abort.signal)));
      const data = vectors.map((vector, index) => {
        const short = shortened(vector, dimensions ?? vector.length);
        return { object: "embedding", index, embedding: encoding_format === "base64" ? base64(short) : [...short] };
      });
      return { object: "list", data, model: id, usage: { prompt_tokens, total_tokens: prompt_tokens } };
    };
    return await respondJson(c, api, abort, answer());
  });
}

/** The first `dimensions` numbers, at unit length again. */
function shortened(vector: Float32Array, dimensions: number): Float32Array {
  if (dimensions > vector.length) throw new LongjingError("bad_argument", "The model has fewer dimensions", { where: "dimensions", got: dimensions, expected: `at most ${vector.length}` });
  if (dimensions === vector.length) return vector;
  const part = vector.subarray(0, dimensions);
  const length = Math.hypot(...part) || 1;
  return part.map((value) => value / length);
}

/** Little-endian float32, whatever the machine's order. */
function base64(vector: Float32Array): string {
  const bytes = Buffer.alloc(vector.length * Float32Array.BYTES_PER_ELEMENT);
  for (const [at, value] of vector.entries()) bytes.writeFloatLE(value, at * Float32Array.BYTES_PER_ELEMENT);
  return bytes.toString("base64");
}
