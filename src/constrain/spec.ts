import { LongjingError } from "../errors/index.ts";
import type { ToolSyntax } from "../text/tool-syntax.ts";
import { tags } from "../text/transcript.ts";
import { compileGrammar, type CompiledGrammar } from "./compile.ts";
import { choice, literal, optional, repeat, rule, sequence, type Grammar } from "./expression.ts";
import { parseGbnf } from "./gbnf.ts";
import { jsonRules } from "./json.ts";
import { jsonSchemaGrammar } from "./json-schema.ts";
import { parseRegex } from "./regex.ts";
import { anyCalls, toolCallsGrammar, without, type ConstrainedTool } from "./tool-calls.ts";

/** What an answer must be. Plain data, as a request gives it. */
export type ConstraintSpec =
  | { readonly type: "json_object" }
  | { readonly type: "json_schema"; readonly schema: unknown }
  | { readonly type: "regex"; readonly regex: string }
  | { readonly type: "choice"; readonly choice: readonly string[] }
  | { readonly type: "grammar"; readonly grammar: string }
  | ToolCallsSpec;

/** `required`: nothing but calls; otherwise whatever the model says, with calls in it that are well formed. */
export interface ToolCallsSpec {
  readonly type: "tool_calls";
  readonly syntax: ToolSyntax;
  readonly tools: readonly ConstrainedTool[];
  readonly required: boolean;
  readonly parallel: boolean;
  /** What it may say instead of a call, where that is not free. */
  readonly instead?: { readonly type: "json_object" } | { readonly type: "json_schema"; readonly schema: unknown };
}

/** What stands around the answer in a model's turn. */
export interface Surroundings {
  /** The turn begins inside the thinking, or the model may open it, or it answers at once. */
  readonly thinking: "inside" | "before" | "none";
  /** The model may put its answer between answer tags. */
  readonly answerTags: boolean;
}

const mostChoices = 10_000;
const mostCharacters = 2 ** 20;

/**
 * @throws LongjingError "bad_argument" when the specification is malformed or too complex, "unsupported" when it asks for what we
 *   do not do; `where` names the place
 */
export function compileSpec(spec: ConstraintSpec, around: Surroundings): CompiledGrammar {
  return compileGrammar(surround(grammarOf(spec), around, spec.type === "tool_calls" ? spec : undefined));
}

function grammarOf(spec: ConstraintSpec): Grammar {
  switch (spec.type) {
    case "json_object":
      return { root: "object", rules: jsonRules };
    case "json_schema":
      return jsonSchemaGrammar(spec.schema);
    case "regex":
      checkLength("regex", spec.regex);
      return { root: "root", rules: new Map([["root", parseRegex(spec.regex, "whole")]]) };
    case "choice":
      if (spec.choice.length === 0 || spec.choice.length > mostChoices) throw new LongjingError("bad_argument", "There is nothing to choose from, or too much", { where: "choice", got: spec.choice.length, expected: `1 to ${mostChoices} texts` });
      checkLength("choice", ...spec.choice);
      return { root: "root", rules: new Map([["root", choice(...spec.choice.map(literal))]]) };
    case "grammar":
      checkLength("grammar", spec.grammar);
      return parseGbnf(spec.grammar);
    case "tool_calls":
      return toolCallsGrammar(spec, spec.instead && grammarOf(spec.instead));
  }
}

function checkLength(where: string, ...texts: readonly string[]): void {
  const length = texts.reduce((sum, text) => sum + text.length, 0);
  if (length > mostCharacters) throw new LongjingError("bad_argument", "The constraint is too long", { where, got: `${length} characters`, expected: `at most ${mostCharacters}` });
}

/**
 * A turn: thinking of any kind up to its first closing tag, layout, the answer. A call may also break off a thought that was never
 * closed, and a model whose answer is free may end inside it. Names with a space are in no other grammar.
 */
function surround({ root, rules }: Grammar, { thinking, answerTags }: Surroundings, calls: ToolCallsSpec | undefined): Grammar {
  const answer = answerTags ? choice(rule(root), sequence(literal(tags.answerOpen), rule(root), literal(tags.answerClose))) : rule(root);
  const marks = calls === undefined ? [] : [calls.syntax.open, ...calls.syntax.layout].filter((mark) => mark.startsWith("<"));
  const unclosed = without(tags.thinkClose, ...marks);
  const closed = sequence(unclosed, literal(tags.thinkClose), repeat(literal("\n"), 0, 2), answer);
  const free = calls !== undefined && !calls.required && calls.instead === undefined;
  const thought = calls === undefined ? closed : choice(closed, sequence(unclosed, free ? optional(rule(anyCalls)) : rule(anyCalls)));
  const turn = { inside: thought, before: choice(answer, sequence(literal(tags.thinkOpen), thought)), none: answer }[thinking];
  return { root: "the turn", rules: new Map([...rules, ["the turn", turn]]) };
}
