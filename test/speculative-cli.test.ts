import { readdirSync } from "node:fs";
import { expect, test } from "vitest";
import { fixture } from "./fixtures.ts";
import { longjing } from "./launcher.ts";

const [model] = readdirSync(fixture("models")).filter((name) => name.startsWith("llama"));
const ask = (config?: string) => longjing(["chat", fixture("models", model!), "--temperature", "0", "--max-tokens", "24", "--json", ...(config === undefined ? [] : ["--speculative-config", config])], "hi\n");

test("longjing chat answers the same with guesses; what is no configuration, or no module of the model's, is a mistake of the caller", async () => {
  const [plain, guessing, strange, without] = await Promise.all([ask(), ask('{"method":"ngram","num_speculative_tokens":3,"prompt_lookup_min":1}'), ask('{"method":"oracle"}'), ask('{"method":"mtp","num_speculative_tokens":1}')]);
  expect(guessing).toEqual(plain);
  expect([plain.code, strange.code, without.code]).toEqual([0, 2, 2]);
});
