import { readdirSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { loadServedModel } from "../src/cli/load-model.ts";
import { loadFrozenModel, perplexity } from "../src/engine/index.ts";
import { random } from "../src/random/index.ts";
import { createApp } from "../src/serve/index.ts";
import { fixture, hasFixture } from "./fixtures.ts";
import { backend } from "./providers.ts";

const names = hasFixture("models") ? readdirSync(fixture("models")).filter((name) => !name.includes(".")) : [];

describe.each(names)("%s", (name) => {
  test("over HTTP a prompt is as likely as it is to the measure of perplexity", async () => {
    const model = await loadServedModel(fixture("models", name), { maxNumSeqs: 2, maxModelLen: 128, dtype: "float32" });
    const loaded = await loadFrozenModel(await backend("cpu"), fixture("models", name), { dtype: "float32" });
    // Longer than what is read at once.
    const draw = random("echo", name);
    const prompt = [100, 2].map((length) => Array.from({ length }, () => draw.below(loaded.config.vocab_size)));
    const response = await createApp({ models: [model] }).request("/v1/completions", { method: "POST", body: JSON.stringify({ prompt, echo: true, logprobs: 0, max_tokens: 0 }) });
    const { choices } = (await response.json()) as { choices: { logprobs: { token_logprobs: [null, ...number[]] } }[] };
    for (const [at, ids] of prompt.entries()) {
      const [first, ...rest] = choices[at]!.logprobs.token_logprobs;
      expect(first).toBeNull();
      const { nll, tokens } = await perplexity(await backend("cpu"), loaded, ids);
      expect(rest).toHaveLength(tokens);
      expect(-rest.reduce((sum, logprob) => sum + logprob, 0) / tokens).toBeCloseTo(nll, 3);
    }
    model.engine.dispose();
  });
});
