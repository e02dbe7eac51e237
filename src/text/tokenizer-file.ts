import { z } from "zod";

const mostTokens = 2 ** 24;

/** The id of a token. */
export const tokenId = z.int().nonnegative().lt(mostTokens);

const isId = (id: unknown): id is number => Number.isInteger(id) && (id as number) >= 0 && (id as number) < mostTokens;
const isRecord = (value: unknown): value is Readonly<Record<string, unknown>> => typeof value === "object" && value !== null && !Array.isArray(value);
const isPair = (merge: string): boolean => merge.includes(" ") && merge.indexOf(" ") === merge.lastIndexOf(" ");
const isMerge = (merge: unknown): boolean => (typeof merge === "string" ? isPair(merge) : Array.isArray(merge) && merge.length === 2 && typeof merge[0] === "string" && typeof merge[1] === "string");

/** The two long lists of a tokenizer.json, by loops of our own: a schema looks at each of a hundred thousand entries ten times as long. */
export const vocabulary = z.custom<Readonly<Record<string, number>>>((value) => isRecord(value) && Object.values(value).every(isId), `tokens with ids below ${mostTokens}`);
export const mergeList = z.custom<readonly (string | readonly [string, string])[]>((value) => Array.isArray(value) && value.every(isMerge), "pairs of tokens");

/** "left right" → when the two are merged; the lowest goes first. */
export const ranksOf = (merges: z.infer<typeof mergeList>): Map<string, number> => new Map(merges.map((merge, rank) => [typeof merge === "string" ? merge : `${merge[0]} ${merge[1]}`, rank]));

const tokenName = z
  .union([z.string(), z.looseObject({ content: z.string() }).transform(({ content }) => content)])
  .nullish();

/** What we read of a tokenizer_config.json. */
export const configFile = z.looseObject({
  bos_token: tokenName,
  eos_token: tokenName,
  pad_token: tokenName,
  chat_template: z.unknown().optional(),
});

/** The rule that puts BOS before a text and EOS behind it, for those of the two that are named; null for none. */
export function postProcessor(bos: string | null, eos: string | null, ids: { get(token: string): number | undefined }): object | null {
  if (bos === null && eos === null) return null;
  const special = (id: string | null): object[] => (id === null ? [] : [{ SpecialToken: { id, type_id: 0 } }]);
  const sequence = (id: "A" | "B"): object[] => [...special(bos), { Sequence: { id, type_id: 0 } }, ...special(eos)];
  const used = [bos, eos].filter((token) => token !== null);
  return {
    type: "TemplateProcessing",
    single: sequence("A"),
    pair: [...sequence("A"), ...sequence("B")],
    special_tokens: Object.fromEntries(used.map((token) => [token, { id: token, ids: [ids.get(token)], tokens: [token] }])),
  };
}
