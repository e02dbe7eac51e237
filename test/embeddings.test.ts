import { readdirSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { Embedder, loadModel, ModelRunner } from "../src/engine/index.ts";
import { createApp } from "../src/serve/index.ts";
import { fakeModel } from "./fake-model.ts";
import { fixture, hasFixture } from "./fixtures.ts";
import { backend } from "./providers.ts";

const names = hasFixture("models") ? readdirSync(fixture("models")).filter((name) => !name.includes(".")) : [];

/** How alike two directions are: 1 for equal ones. */
function cosine(a: ArrayLike<number>, b: ArrayLike<number>): number {
  const dot = (x: ArrayLike<number>, y: ArrayLike<number>): number => Array.from(x).reduce((sum, value, at) => sum + value * (y[at] ?? 0), 0);
  return dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b));
}

describe.each(names)("%s", (name) => {
  test("through the head, a text's vector is the mean of the logits at its tokens", async () => {
    const on = await backend("cpu");
    const { config, parameters } = await loadModel(on, fixture("models", name));
    const ids = [5, 17, 3, 42, 9].map((id) => id % config.vocab_size);
    const embedder = new Embedder(on, config, parameters, 16);
    const vector = await embedder.embed(ids);
    expect(Math.hypot(...vector)).toBeCloseTo(1, 5);
    const head = parameters[config.tie_word_embeddings ? "model.embed_tokens.weight" : "lm_head.weight"]!.data as Float32Array;
    const runner = new ModelRunner(on, config, { max_num_seqs: 1, max_model_len: 16 });
    const logits = await runner.extend(parameters, 0, 0, ids, ids.length, false);
    const mean = Array.from({ length: config.vocab_size }, (_, token) => ids.reduce((sum, _id, at) => sum + logits[at * config.vocab_size + token]!, 0) / ids.length);
    const through = Array.from({ length: config.vocab_size }, (_, token) => vector.reduce((sum, value, at) => sum + value * head[token * config.hidden_size + at]!, 0));
    expect(cosine(through, mean)).toBeCloseTo(1, 5);
    // Whatever was read before, and at once, a text has one vector.
    const [again, other] = await Promise.all([embedder.embed(ids), embedder.embed(ids.slice(1))]);
    expect(again).toEqual(vector);
    expect(other).not.toEqual(vector);
    await runner.dispose();
    await embedder.dispose();
  });
});

test("are refused for what cannot be read, and leave the embedder in order", async () => {
  const on = await backend("cpu");
  const [name] = names;
  if (name === undefined) return;
  const { config, parameters } = await loadModel(on, fixture("models", name));
  const embedder = new Embedder(on, config, parameters, 4);
  for (const ids of [[], [config.vocab_size], [-1], [0.5], [1, 2, 3, 4, 5]]) await expect(embedder.embed(ids)).rejects.toMatchObject({ code: "bad_argument" });
  await expect(embedder.embed([1], AbortSignal.abort())).rejects.toMatchObject({ code: "runtime" });
  expect(Math.hypot(...(await embedder.embed([1, 2, 3, 4])))).toBeCloseTo(1, 5);
  await embedder.dispose();
});

describe("over HTTP", () => {
  const ask = async (body: object, options = {}) => await createApp({ models: [fakeModel(options)] }).request("/v1/embeddings", { method: "POST", body: JSON.stringify({ model: "fake", ...body }) });
  const vectors = async (body: object) => ((await (await ask(body)).json()) as { data: { index: number; embedding: number[] | string }[]; usage: { prompt_tokens: number } });

  test("the same numbers come as such and as little-endian float32 in base64", async () => {
    const plain = await vectors({ input: ["hello", "help"] });
    const packed = await vectors({ input: ["hello", "help"], encoding_format: "base64" });
    const unpacked = packed.data.map(({ embedding }) => {
      const bytes = Buffer.from(embedding as string, "base64");
      return Array.from({ length: bytes.length / 4 }, (_, at) => bytes.readFloatLE(4 * at));
    });
    expect(unpacked).toEqual(plain.data.map(({ embedding }) => embedding));
    expect(plain.data.map(({ index }) => index)).toEqual([0, 1]);
    expect(plain.usage.prompt_tokens).toBe(9);
    expect((await vectors({ input: [104, 105] })).data[0]?.embedding).toEqual((await vectors({ input: "hi" })).data[0]?.embedding);
  });

  test("fewer dimensions are the first ones, at unit length", async () => {
    const [whole, short] = await Promise.all([vectors({ input: "hello" }), vectors({ input: "hello", dimensions: 9 })]);
    const [a, b] = [whole, short].map(({ data }) => data[0]?.embedding as number[]);
    expect(b).toHaveLength(9);
    expect(Math.hypot(...(b ?? []))).toBeCloseTo(1, 5);
    expect(cosine(b ?? [], (a ?? []).slice(0, 9))).toBeCloseTo(1, 5);
    expect((await ask({ input: "hello", dimensions: 10_000 })).status).toBe(400);
  });

  test("a model that makes none says so", async () => {
    const { embed: _embed, ...engine } = fakeModel().engine;
    const response = await createApp({ models: [{ ...fakeModel(), engine }] }).request("/v1/embeddings", { method: "POST", body: JSON.stringify({ model: "fake", input: "x" }) });
    expect(response.status).toBe(501);
  });
});
