import { z } from "zod";
import { LongjingError } from "../errors/index.ts";

const list = z.array(z.looseObject({ name: z.string(), template: z.string() }));

/**
 * The `chat_template` of a tokenizer_config.json: a template, or a list of named ones, which become one.
 * @returns null where there is none
 * @throws LongjingError "bad_file" for a list without one named `default`
 */
export function chatTemplateOf(value: unknown): string | null {
  if (typeof value === "string") return value;
  const read = list.safeParse(value);
  if (!read.success || read.data.length === 0) return null;
  const named = new Map(read.data.map(({ name, template }) => [name, template]));
  const template = named.get("default");
  if (template === undefined) throw new LongjingError("bad_file", "None of the chat templates is the default", { got: [...named.keys()].join(", "), expected: "default", where: "tokenizer_config.json: chat_template" });
  return withToolTemplate(template, named.get("tool_use"));
}

/** One template of two: as in transformers, the one for tools is for every conversation that tools are given with. */
export function withToolTemplate(template: string, toolUse: string | undefined): string {
  if (toolUse === undefined) return template;
  return `{% if tools is defined and tools is not none %}${apart(toolUse)}{% else %}${apart(template)}{% endif %}`;
}

/**
 * Jinja drops a line break behind a block, so that the template begins a line as it does alone, and one at a template's end, but
 * white space ahead of a block only where nothing else stands on its line.
 */
const apart = (template: string): string => `\n${template.replace(/\n$/, "")}{{ '' }}`;
