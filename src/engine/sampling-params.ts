import { LongjingError } from "../errors/index.ts";
import type { SamplingParams } from "./types.ts";

/** Throws `bad_argument` for parameters that no sampler accepts. Ranges are vLLM's. */
export function checkSamplingParams(params: SamplingParams, vocabSize: number): void {
  const { temperature = 1, top_k = 0, top_p = 1, min_p = 0, top_logprobs = 0, prompt_logprobs = 0, max_tokens } = params;
  const { repetition_penalty = 1, presence_penalty = 0, frequency_penalty = 0 } = params;
  const token = (id: number): boolean => Number.isInteger(id) && id >= 0 && id < vocabSize;
  check("temperature", temperature, temperature >= 0 && temperature < Infinity, "a finite number, at least 0");
  check("top_k", top_k, Number.isInteger(top_k) && top_k >= 0, "an integer, at least 0 (0 keeps all)");
  check("top_p", top_p, top_p > 0 && top_p <= 1, "above 0, at most 1");
  check("min_p", min_p, min_p >= 0 && min_p <= 1, "from 0 to 1");
  check("repetition_penalty", repetition_penalty, repetition_penalty >= 0.01 && repetition_penalty < Infinity, "a finite number, at least 0.01");
  check("presence_penalty", presence_penalty, Math.abs(presence_penalty) <= 2, "from -2 to 2");
  check("frequency_penalty", frequency_penalty, Math.abs(frequency_penalty) <= 2, "from -2 to 2");
  const least = params.prompt_logprobs === undefined ? 1 : 0;
  check("max_tokens", max_tokens, Number.isInteger(max_tokens) && max_tokens >= least, `an integer, at least ${least}`);
  check("top_logprobs", top_logprobs, Number.isInteger(top_logprobs) && top_logprobs >= 0 && top_logprobs <= 20, "an integer from 0 to 20");
  check("prompt_logprobs", prompt_logprobs, Number.isInteger(prompt_logprobs) && prompt_logprobs >= 0 && prompt_logprobs <= 20, "an integer from 0 to 20");
  for (const [id, bias] of params.logit_bias ?? []) {
    check("logit_bias", id, token(id), `token ids below ${vocabSize}`);
    check("logit_bias", bias, Math.abs(bias) <= 100, "a bias from -100 to 100");
  }
  for (const id of params.stop_token_ids ?? []) check("stop_token_ids", id, token(id), `token ids below ${vocabSize}`);
}

function check(where: string, got: number, ok: boolean, expected: string): void {
  if (!ok) throw new LongjingError("bad_argument", "A sampling parameter is out of range", { where, got: String(got), expected });
}
