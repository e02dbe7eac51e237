import type { TokenConstraint } from "../engine/types.ts";
import { LongjingError } from "../errors/index.ts";
import type { Tokenizer } from "../text/tokenizer.ts";
import { tags } from "../text/transcript.ts";
import type { CompiledGrammar } from "./compile.ts";
import { grammarConstraint, workCounter } from "./constraint.ts";
import { TokenMasks } from "./masks.ts";
import { compileSpec, type ConstraintSpec, type Surroundings } from "./spec.ts";
import { withThinkingBudget } from "./thinking-budget.ts";
import { createVocabulary, type Vocabulary } from "./vocabulary.ts";

/** Compiles a specification: `compileSpec` itself, or a worker that can be stopped. */
export type CompileSpec = (spec: ConstraintSpec, around: Surroundings) => Promise<CompiledGrammar>;

export interface ConstraintRequest {
  /** What the answer must be; any answer will do where it is left out. */
  readonly spec?: ConstraintSpec;
  /** Where the model's turn begins: inside the thinking, before it may open it, or behind it. */
  readonly thinking: Surroundings["thinking"];
  /** The text is no turn of a conversation: nothing stands around what it must be. */
  readonly plain?: boolean;
  /** Most tokens to think. Default: no limit. */
  readonly thinking_budget?: number;
  /** The answer's beginning, where the prompt holds it already. Default "". */
  readonly begun?: string;
}

/** Makes the constraints of one model. */
export interface Constrainer {
  /**
   * A function that makes one constraint a sequence; undefined where nothing is asked for.
   * @throws LongjingError "bad_argument" when the specification is malformed, too complex or not to be satisfied,
   *   "unsupported" for what we do not do
   */
  constraintFor(request: ConstraintRequest): Promise<(() => TokenConstraint) | undefined>;
}

type ModelTokenizer = Pick<Tokenizer, "tokenBytes" | "encode" | "idOf">;

/** Grammars that are kept with their masks. */
const mostKept = 32;

/**
 * @param stop_token_ids tokens that end a completion
 * @param marks texts that count as text even where the tokenizer marks them special, as the parts of tool calls
 */
export function createConstrainer(tokenizer: ModelTokenizer, stop_token_ids: readonly number[], compile: CompileSpec = async (...args) => compileSpec(...args), marks: readonly string[] = []): Constrainer {
  const encoder = new TextEncoder();
  // A vocabulary's bytes are not made before an answer has to keep to something.
  let known: readonly (Uint8Array | null)[] | undefined;
  const tokens = (): readonly (Uint8Array | null)[] => (known ??= bytesOfTokens(tokenizer, stop_token_ids, marks));
  let vocabulary: Vocabulary | undefined;
  const answerTags = tokenizer.idOf(tags.answerOpen) !== null;
  const kept = new Map<string, Promise<TokenMasks>>();
  const masksOf = (spec: ConstraintSpec, around: Surroundings): Promise<TokenMasks> => {
    const key = JSON.stringify([around, spec]);
    const masks = kept.get(key) ?? compile(spec, around).then((grammar) => new TokenMasks(grammar, (vocabulary ??= createVocabulary(tokens()))));
    kept.delete(key);
    kept.set(key, masks);
    if (kept.size > mostKept) kept.delete(kept.keys().next().value as string);
    // What failed once, by a deadline perhaps, is tried again when it is asked for again.
    masks.catch(() => kept.delete(key));
    return masks;
  };
  return {
    async constraintFor({ spec, thinking, thinking_budget, begun = "", plain = false }) {
      if (spec === undefined && (thinking_budget === undefined || thinking === "none")) return undefined;
      const masks = spec === undefined ? undefined : await masksOf(spec, { thinking, answerTags: answerTags && !plain });
      const start = masks === undefined ? undefined : continueFrom(masks, begun);
      const grammar = (): TokenConstraint | null => (masks === undefined || start === undefined ? null : grammarConstraint(masks, stop_token_ids, start));
      if (thinking_budget === undefined || thinking === "none") return () => grammar() as TokenConstraint;
      const end_ids = tokenizer.encode(tags.thinkClose);
      const [open, close] = [encoder.encode(tags.thinkOpen), encoder.encode(tags.thinkClose)];
      return () => withThinkingBudget(grammar(), { budget: thinking_budget, end_ids, thinking: thinking === "inside", open, close, tokens: tokens() });
    },
  };
}

function bytesOfTokens(tokenizer: ModelTokenizer, stop_token_ids: readonly number[], marks: readonly string[]): readonly (Uint8Array | null)[] {
  const tokens = [...tokenizer.tokenBytes];
  for (const mark of [...Object.values(tags), ...marks]) {
    const id = tokenizer.idOf(mark);
    if (id !== null) tokens[id] = new TextEncoder().encode(mark);
  }
  for (const id of stop_token_ids) if (id < tokens.length) tokens[id] = null;
  return tokens;
}

function continueFrom({ machine }: TokenMasks, begun: string): TokenMasks["machine"]["start"] {
  let at = machine.start;
  const spend = workCounter(machine);
  for (const byte of new TextEncoder().encode(begun)) {
    machine.begin();
    const next = machine.step(at, byte);
    if (next === null) throw new LongjingError("bad_argument", "The answer begins otherwise than its format allows", { got: begun });
    spend();
    at = next;
  }
  return at;
}
