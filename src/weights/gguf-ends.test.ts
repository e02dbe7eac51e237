import { expect, test } from "vitest";
import { parseConfig } from "../model/config.ts";
import { endsByName } from "./gguf-ends.ts";
import { endTokens, ggufMetadata } from "./gguf-metadata.ts";

test("a text ends at the tokens that llama.cpp stops at: of the golden Llama files, 312, 315 and 317", () => {
  // From llama_vocab_is_eog of llama.cpp (llama-cpp-python 0.3), for these tokens at these places.
  const tokens = Array.from({ length: 320 }, (_, id) => `t${id}`);
  const special = ["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|im_start|>", "<|im_end|>"];
  for (const [i, token] of special.entries()) tokens[311 + i] = token;
  expect(endsByName(tokens, tokens.map((_, id) => (id > 310 && id < 318 ? 3 : 1)))).toEqual([312, 315, 317]);
});

test("only a token that is marked counts, unless none is", () => {
  expect(endsByName(["</s>", "<|im_end|>", "<EOT>", "[EOS]"], Int32Array.of(1, 4, 3, 6))).toEqual([1, 2]);
  expect(endsByName(["</s>", "<|im_end|>", "<EOT>"], [1, 3, 4])).toEqual([1, 2]);
  expect(endsByName(["</s>", "a"], undefined)).toEqual([0]);
  expect(endsByName(undefined, [3])).toEqual([]);
});

test("a name that ends nothing beside others is left out", () => {
  expect(endsByName(["<|end|>", "<|return|>", "<|call|>"], undefined)).toEqual([1, 2]);
  expect(endsByName(["<|end|>", "<|return|>"], undefined)).toEqual([0, 1]);
  expect(endsByName(["</s>", "<|tool_response>"], undefined)).toEqual([1]);
});

test("more end tokens than there are keys are written where their names say so", () => {
  const tokens = ["a", "<|im_end|>", "<|eot_id|>", "<|eom_id|>", "<|endoftext|>", "b", "c", "d"];
  const config = parseConfig({ model_type: "llama", vocab_size: 8, hidden_size: 32, intermediate_size: 64, num_hidden_layers: 1, num_attention_heads: 2, eos_token_id: [5, 1, 2, 3, 4] }, "test");
  const given = { "tokenizer.ggml.tokens": tokens, "tokenizer.ggml.token_type": tokens.map((_, id) => (id > 0 && id < 5 ? 3 : 1)) };
  expect(ggufMetadata(config, null, given)).toMatchObject({ "tokenizer.ggml.eos_token_id": 5 });
  expect(endTokens(config, null, given)).toEqual({ written: [5], leftOut: [] });
  expect(endTokens({ ...config, eos_token_id: [5, 0, 6, 1, 7] }, null, given)).toEqual({ written: [5, 0, 6], leftOut: [7] });
});
