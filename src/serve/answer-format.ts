import { z } from "zod";
import { enforceable } from "../constrain/index.ts";
import { LongjingError } from "../errors/index.ts";

/** What the answer, behind any thinking, must be. */
export type AnswerFormat =
  | { readonly type: "text" }
  | { readonly type: "json_object" }
  | { readonly type: "json_schema"; readonly schema: JsonSchema }
  | { readonly type: "regex"; readonly regex: string }
  | { readonly type: "choice"; readonly choice: readonly string[] }
  | { readonly type: "grammar"; readonly grammar: string };

export type JsonSchema = Readonly<Record<string, unknown>> | boolean;

const schema: z.ZodType<JsonSchema> = z.union([z.record(z.string(), z.unknown()), z.boolean()], { error: "must be a JSON Schema" });
const regex = z.string().min(1).max(65536);
const choice = z.array(z.string().min(1)).min(1).max(1024);
const grammar = z.string().min(1).max(65536);

const responseFormat = z.discriminatedUnion(
  "type",
  [
    z.object({ type: z.literal("text") }),
    z.object({ type: z.literal("json_object"), schema: schema.nullish() }),
    z.object({ type: z.literal("json_schema"), json_schema: z.object({ name: z.string().nullish(), schema: schema.nullish(), strict: z.boolean().nullish() }) }),
    z.object({ type: z.literal("regex"), regex }),
    z.object({ type: z.literal("choice"), choice }),
    z.object({ type: z.literal("grammar"), grammar }),
  ],
  { error: "must be text, json_object, json_schema, regex, choice or grammar" },
);

/** vLLM's other ways to ask: `structured_outputs`, and `guided_json` and so on before it. */
const structured = z.object({ json: schema.nullish(), json_object: z.boolean().nullish(), regex: regex.nullish(), choice: choice.nullish(), grammar: grammar.nullish() });

export const formatFields = {
  response_format: responseFormat.nullish(),
  structured_outputs: structured.nullish(),
  guided_json: schema.nullish(),
  guided_regex: regex.nullish(),
  guided_choice: choice.nullish(),
  guided_grammar: grammar.nullish(),
};

type Fields = z.infer<z.ZodObject<typeof formatFields>>;

/** @throws LongjingError "bad_argument" when a request asks for two formats */
export function answerFormatOf(data: Fields): AnswerFormat {
  const asked = [
    data.response_format ? fromResponseFormat(data.response_format) : undefined,
    ...fromStructured(data.structured_outputs ?? {}),
    ...fromStructured({ json: data.guided_json, regex: data.guided_regex, choice: data.guided_choice, grammar: data.guided_grammar }),
  ].filter((format) => format !== undefined && format.type !== "text");
  if (asked.length > 1) throw new LongjingError("bad_argument", "An answer has one format", { where: "response_format", got: asked.map((format) => format?.type).join(" and ") });
  return asked[0] ?? { type: "text" };
}

/** Keywords of a schema that was not asked for to the letter which cannot be enforced, as fields that have no effect. */
export function ignoredOfFormat({ response_format: format }: Fields): string[] {
  if (format?.type !== "json_schema" || format.json_schema.strict === true) return [];
  return enforceable(format.json_schema.schema).left_out.map((keyword) => `response_format.${keyword}`);
}

function fromResponseFormat(format: z.infer<typeof responseFormat>): AnswerFormat {
  if (format.type === "json_schema") {
    const { schema: asked, strict } = format.json_schema;
    return { type: "json_schema", schema: (strict === true ? asked : (enforceable(asked).schema as JsonSchema | null | undefined)) ?? {} };
  }
  if (format.type === "json_object" && format.schema) return { type: "json_schema", schema: format.schema };
  return format.type === "json_object" ? { type: "json_object" } : format;
}

function fromStructured({ json, json_object, regex: pattern, choice: choices, grammar: rules }: z.infer<typeof structured>): (AnswerFormat | undefined)[] {
  return [
    json === undefined || json === null ? undefined : { type: "json_schema", schema: json },
    json_object ? { type: "json_object" } : undefined,
    pattern ? { type: "regex", regex: pattern } : undefined,
    choices ? { type: "choice", choice: choices } : undefined,
    rules ? { type: "grammar", grammar: rules } : undefined,
  ];
}
