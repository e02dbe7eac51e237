import { InvalidArgumentError, Option } from "commander";
import { z } from "zod";
import type { SpeculativeConfig } from "../engine/index.ts";
import { parsedJson } from "../eval/parsed-json.ts";

/** Parses an option that is a whole number in a range. */
export function wholeNumber(low: number, high: number = Number.MAX_SAFE_INTEGER): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (/^\d+$/.test(text) && value >= low && value <= high) return value;
    throw new InvalidArgumentError(high === Number.MAX_SAFE_INTEGER ? `Expected a whole number, at least ${low}.` : `Expected a whole number from ${low} to ${high}.`);
  };
}

/** What a model's matrices are multiplied in. */
export function dtypeOption(byDefault: string): Option {
  return new Option("--dtype <type>", `auto: in the blocks that a file stores, faster, activations rounded to 8 bits; float32: exact (default: ${byDefault})`).choices(["auto", "float32"]);
}

const speculative = z.strictObject({
  method: z.enum(["ngram", "mtp"]),
  num_speculative_tokens: z.int(),
  prompt_lookup_max: z.int().optional(),
  prompt_lookup_min: z.int().optional(),
});

/** Whether, and how, tokens are guessed. */
export function speculativeOption(): Option {
  const example = '{"method":"ngram","num_speculative_tokens":4}';
  return new Option("--speculative-config <json>", `guess tokens while one request runs, and check several at once: ${example}, or method mtp with 1 (deepseek_v3)`).argParser((text): SpeculativeConfig => {
    const parsed = z.string().transform(parsedJson).pipe(speculative).safeParse(text);
    if (!parsed.success) throw new InvalidArgumentError(`Expected JSON as ${example}.`);
    const { method, num_speculative_tokens, prompt_lookup_max: max, prompt_lookup_min: min } = parsed.data;
    return { method, num_speculative_tokens, ...(max !== undefined && { prompt_lookup_max: max }), ...(min !== undefined && { prompt_lookup_min: min }) };
  });
}

/** Parses an option that is a number in a range. */
export function realNumber(low: number, high: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (text.trim() !== "" && value >= low && value <= high) return value;
    throw new InvalidArgumentError(`Expected a number from ${low} to ${high}.`);
  };
}

/** Parses an option that is a JSON object. */
export function jsonObject(text: string): Readonly<Record<string, unknown>> {
  const parsed = z.string().transform(parsedJson).pipe(z.record(z.string(), z.unknown())).safeParse(text);
  if (parsed.success) return parsed.data;
  throw new InvalidArgumentError('Expected a JSON object, as {"length":25}.');
}
