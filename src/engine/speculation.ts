import { LongjingError } from "../errors/index.ts";

/** How tokens are guessed, so that one step checks several. Names are vLLM's. */
export interface SpeculativeConfig {
  /** "ngram": what followed the last tokens where they stood before. "mtp": the model's own next-token module (deepseek_v3). */
  readonly method: "ngram" | "mtp";
  /** Guesses a step. With "mtp" one, as the module was trained. */
  readonly num_speculative_tokens: number;
  /** Longest and shortest run of last tokens that is looked up. Default 4 and 2. */
  readonly prompt_lookup_max?: number;
  readonly prompt_lookup_min?: number;
}

/** @throws LongjingError "bad_argument"; also for "mtp" with a model that was loaded without the module */
export function checkSpeculative({ method, num_speculative_tokens: k, prompt_lookup_max: max = 4, prompt_lookup_min: min = 2 }: SpeculativeConfig, mtp: boolean): void {
  if (method === "mtp" && !mtp) throw new LongjingError("bad_argument", "The model was loaded without its next-token module", { where: "speculative", got: method });
  const most = method === "mtp" ? 1 : 64;
  if (!Number.isInteger(k) || k < 1 || k > most) throw new LongjingError("bad_argument", "So many tokens cannot be guessed at once", { where: "num_speculative_tokens", got: k, expected: `an integer from 1 to ${most}` });
  if (!Number.isInteger(min) || min < 1 || !Number.isInteger(max) || max < min) throw new LongjingError("bad_argument", "The lengths to look up are no range", { where: "prompt_lookup_min, prompt_lookup_max", got: [min, max], expected: "integers, 1 ≤ min ≤ max" });
}

/**
 * Prompt lookup: the `count` tokens that followed the latest earlier occurrence of the last `max` tokens, else of fewer, down to
 * `min`; what reaches the end goes round. None where there is no such occurrence. Good where a text repeats itself or its prompt: code, quotations, lists.
 */
export function promptLookup(tokens: readonly number[], count: number, max = 4, min = 2): number[] {
  const end = tokens.length;
  let best = 0;
  let after = 0;
  for (let at = end - 1; at >= min && best < max; at--) {
    // How many tokens before `at` are those before the end.
    let same = 0;
    while (same < max && same < at && tokens[at - 1 - same] === tokens[end - 1 - same]) same++;
    if (same >= min && same > best) [best, after] = [same, at];
  }
  const period = end - after;
  return best === 0 ? [] : Array.from({ length: count }, (_, i) => tokens[after + (i % period)]!);
}
