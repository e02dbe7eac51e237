import { z } from "zod";
import { LongjingError } from "../errors/index.ts";

/** What may be done to a text before it is split; a rule that replaces text could make it longer without end. */
const normalizers = ["NFC", "NFD", "NFKC", "NFKD", "Lowercase", "Strip", "StripAccents", "Sequence"];

/** What the library follows in another way than the tokenizer's own code does. */
const rulesFile = z.looseObject({
  normalizer: z.unknown().optional(),
  added_tokens: z.array(z.looseObject({ content: z.string(), single_word: z.boolean().default(false) })).default([]),
  post_processor: z.unknown().optional(),
});

const template = z.looseObject({ type: z.literal("TemplateProcessing"), special_tokens: z.record(z.string(), z.looseObject({ ids: z.array(z.number()) })).default({}) });

/**
 * Checks the rules of a tokenizer.json that run on every text beside its splits: a file may come from anyone, and a rule that is
 * followed wrongly gives other ids than the model has learned.
 * @param idOf the id of a token, or undefined
 * @throws LongjingError "unsupported"
 */
export function checkRules(file: unknown, idOf: (token: string) => number | undefined): void {
  const read = rulesFile.safeParse(file);
  if (!read.success) throw refused("The tokenizer's rules cannot be read", z.prettifyError(read.error), "a tokenizer.json", "added_tokens");
  const { normalizer, added_tokens, post_processor } = read.data;
  for (const { type } of rulesIn(normalizer)) {
    if (typeof type === "string" && !normalizers.includes(type)) throw refused("A normalizer of this type is not followed", type, normalizers.join(" | "), "normalizer");
  }
  const whole = added_tokens.find((token) => token.single_word);
  if (whole !== undefined) throw refused("An added token that is found only as a whole word is not followed", whole.content, "single_word: false", "added_tokens");
  for (const rule of rulesIn(post_processor)) {
    for (const [name, { ids }] of Object.entries(template.safeParse(rule).data?.special_tokens ?? {})) {
      if (ids.length !== 1 || ids[0] !== idOf(name)) throw refused("A special token around a text is not the token of its name", `${name}: ${JSON.stringify(ids)}`, JSON.stringify([idOf(name)]), "post_processor");
    }
  }
}

const refused = (message: string, got: string, expected: string, rule: string): LongjingError => new LongjingError("unsupported", message, { got, expected, where: `tokenizer.json: ${rule}` });

/** Every object within a rule, itself included. */
function* rulesIn(rule: unknown): Generator<Readonly<Record<string, unknown>>> {
  const left = [rule];
  while (left.length > 0) {
    const next = left.pop();
    if (typeof next !== "object" || next === null) continue;
    if (!Array.isArray(next)) yield next as Readonly<Record<string, unknown>>;
    for (const child of Object.values(next)) left.push(child);
  }
}
