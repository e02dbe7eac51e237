import type { CompiledGrammar } from "../src/constrain/compile.ts";
import { grammarConstraint } from "../src/constrain/constraint.ts";
import { TokenMasks } from "../src/constrain/masks.ts";
import { compileSpec, type ConstraintSpec } from "../src/constrain/spec.ts";
import { createVocabulary, type Vocabulary } from "../src/constrain/vocabulary.ts";
import type { Random } from "../src/random/index.ts";

const encoder = new TextEncoder();
const pieces = ['{"', '":', '": ', '", "', '"}', '"]', "}}", "},{", "]}", "true", "null", ", ", "10", "é", "\\u00", '\\"'].map((text) => encoder.encode(text));

/** Every byte, and then pieces that run across the joints of JSON. */
export const byteTokens: readonly Uint8Array[] = [...Array.from({ length: 256 }, (_, byte) => Uint8Array.of(byte)), ...pieces];
export const byteVocabulary: Vocabulary = createVocabulary(byteTokens);

export const compiled = (spec: ConstraintSpec): CompiledGrammar => compileSpec(spec, { thinking: "none", answerTags: false });

/** Masks of a specification over `byteVocabulary`. */
export const masksOf = (spec: ConstraintSpec): TokenMasks => new TokenMasks(compiled(spec), byteVocabulary);

/** Whether a text follows the grammar, byte by byte. */
export function accepts({ machine }: TokenMasks, text: string): boolean {
  let at = machine.start;
  for (const byte of encoder.encode(text)) {
    const next = machine.step(at, byte);
    if (next === null) return false;
    at = next;
  }
  return at.mayEnd;
}

/** What a model that is led by the mask alone could write: tokens by chance, and after a while those that come to an end. */
export function walk(masks: TokenMasks, random: Random, patience = 150): string {
  const end = byteTokens.length;
  const constraint = grammarConstraint(masks, [end]);
  const mask = new Uint32Array(Math.ceil((end + 1) / 32));
  const bytes: number[] = [];
  for (let step = 0; step < 20_000; step++) {
    constraint.mask(mask);
    const allowed = [...byteTokens.keys(), end].filter((id) => (((mask[id >> 5] as number) >>> (id & 31)) & 1) === 1);
    if (allowed.length === 0) throw new Error("nothing is allowed");
    const token = step < patience ? pick(allowed, random) : soonest(allowed, end);
    constraint.accept(token);
    if (token === end) return new TextDecoder("utf-8", { fatal: true }).decode(Uint8Array.from(bytes));
    bytes.push(...(byteTokens[token] as Uint8Array));
  }
  throw new Error("the walk does not end");
}

/** Half the time something that JSON is built of. */
function pick(allowed: readonly number[], random: Random): number {
  const joints = allowed.filter((id) => id >= 256 || '{}[]":,'.includes(String.fromCharCode(id)));
  return random.pick(joints.length > 0 && random.next() < 0.5 ? joints : allowed);
}

/** Brackets close before anything opens, and a comma comes last. */
function soonest(allowed: readonly number[], end: number): number {
  if (allowed.includes(end)) return end;
  const [quote, letter] = [34, 81];
  if (allowed.includes(quote) && allowed.includes(letter)) return quote; // inside of a string, where brackets are text
  const order = '}]"0123456789etnrufalsod';
  const found = [...order].map((char) => char.charCodeAt(0)).find((byte) => allowed.includes(byte));
  return found ?? allowed.find((id) => id < 256 && !",\\ \n".includes(String.fromCharCode(id))) ?? (allowed[0] as number);
}
