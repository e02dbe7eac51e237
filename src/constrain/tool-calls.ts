import { LongjingError } from "../errors/index.ts";
import type { ToolSyntax } from "../text/tool-syntax.ts";
import { anyChar, choice, empty, literal, optional, repeat, rule, sequence, type Expression, type Grammar } from "./expression.ts";
import { json, jsonRules } from "./json.ts";
import { SchemaCompiler } from "./json-schema.ts";

export interface ConstrainedTool {
  readonly name: string;
  /** JSON Schema of the arguments. */
  readonly parameters: unknown;
  /** Follow the schema to the letter; otherwise any object will do. */
  readonly strict: boolean;
}

interface ToolCallRules {
  readonly syntax: ToolSyntax;
  readonly tools: readonly ConstrainedTool[];
  readonly required: boolean;
  readonly parallel: boolean;
}

/** The rule of one call or more. */
export const anyCalls = "all calls";

/** Any text that holds none of `marks`. */
export function without(...marks: readonly string[]): Expression {
  const any = repeat(anyChar, 0);
  return { type: "and not", item: any, other: sequence(any, choice(...marks.map(literal)), any) };
}

/**
 * A turn with calls, each well formed in a model's own syntax, its arguments by the schema of a strict tool and otherwise any
 * object. Unless calls are required, any text may stand before them that does not open one, or `instead` stands for them.
 */
export function toolCallsGrammar({ syntax, tools, required, parallel }: ToolCallRules, instead?: Grammar): Grammar {
  if (tools.length === 0) throw new LongjingError("bad_argument", "There is no tool to call", { where: "tools" });
  const rules = new Map([...jsonRules, ...(instead?.rules ?? [])]);
  const calls = tools.map(({ name, parameters, strict }, index) => {
    const args = strict ? new SchemaCompiler(ofObjects(parameters, index), `tools.${index}.function.parameters`, rules, `tool ${index} `).compile() : json.object;
    return sequence(head(syntax.before, name), args, literal(syntax.after));
  });
  rules.set("a call", choice(...calls));
  rules.set(anyCalls, wrapped(syntax, sequence(rule("a call"), parallel ? repeat(sequence(optional(literal("\n")), rule("a call")), 0) : empty)));
  rules.set("turn with calls", required ? rule(anyCalls) : instead === undefined ? freely(syntax) : choice(rule(anyCalls), rule(instead.root)));
  return { root: "turn with calls", rules };
}

/** Arguments are an object, also where their schema says nothing of types. @throws LongjingError "bad_argument" where it forbids objects */
function ofObjects(parameters: unknown, index: number): unknown {
  if (typeof parameters !== "object" || parameters === null) return parameters === true ? { type: "object" } : parameters;
  const { nullable: _nullable, ...schema } = parameters as Readonly<Record<string, unknown>>;
  const types = [schema["type"] ?? "object"].flat();
  if (!types.includes("object")) throw new LongjingError("bad_argument", "The arguments of a call are an object", { where: `tools.${index}.function.parameters.type`, got: schema["type"], expected: '"object"' });
  return { ...schema, type: "object" };
}

/** Between the marks that a family puts around all calls, if it has such. */
function wrapped({ layout: [begin, end] }: ToolSyntax, calls: Expression): Expression {
  if (begin === undefined) return calls;
  if (end === undefined) return sequence(optional(literal(begin)), calls);
  return choice(calls, sequence(literal(begin), calls, literal(end)));
}

/** Text that opens no call, and calls after it. An opening that counts only at the start leaves all other texts free. */
function freely({ open, layout, first }: ToolSyntax): Expression {
  const marks = [open, ...layout];
  const any = repeat(anyChar, 0);
  if (first) return choice(rule(anyCalls), { type: "and not", item: any, other: sequence(choice(...marks.map(literal)), any) });
  return sequence(without(...marks), optional(rule(anyCalls)));
}

/** What stands before the arguments: where the pattern has a space, the model may write one, or nothing, or a line break. */
function head(pattern: string, name: string): Expression {
  const space = optional(choice(literal(" "), literal("\n")));
  return sequence(...pattern.split(" ").flatMap((part, i) => [...(i === 0 ? [] : [space]), literal(part.replace("§", name))]));
}
