import { Template } from "@huggingface/jinja";
import { LongjingError } from "../errors/index.ts";
import { renderBounded } from "./bounded-interpreter.ts";
import { withRawText } from "./template-source.ts";
import type { SpecialTokens } from "./tokenizer.ts";

/** A message as the OpenAI API has it; templates read whichever fields they know. */
export interface ChatMessage {
  readonly role: string;
  readonly content?: unknown;
  readonly [field: string]: unknown;
}

/**
 * How our own models are addressed: <|user|>…<|assistant|>…, thoughts before the last question left out as DeepSeek-R1 does; those
 * between calls of tools stay, as Qwen 3 has it, for the model was trained to go on from them. It opens no tag: the model writes <think>
 * itself, so that the format reward sees what the model wrote and nothing else.
 */
export const longjingTemplate: string = `
{{- bos_token }}
{%- set last = namespace(question=-1) %}
{%- for message in messages %}
    {%- if message.role not in ['assistant', 'tool'] %}
        {%- set last.question = loop.index0 %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- if message.role == 'assistant' %}
        {%- set content = message.content %}
        {%- if loop.index0 < last.question and '</think>' in content %}
            {%- set content = content.split('</think>')[-1] %}
        {%- endif %}
        {{- '<|assistant|>' + content + eos_token }}
    {%- else %}
        {{- '<|user|>' + message.content }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|assistant|>' }}
{%- endif %}`.trimStart();

/** Everything else that a template may read: `add_generation_prompt`, `tools`, `enable_thinking`, `bos_token`, … */
export type ChatVariables = Readonly<Record<string, unknown>> & Partial<SpecialTokens>;

/** A template, parsed once and rendered many times. */
export type ChatRenderer = (messages: readonly ChatMessage[], variables?: ChatVariables) => string;

/** A rendered conversation, and where in it the assistant speaks: [start, end) in UTF-16 units, in order. */
export interface MarkedChat {
  readonly text: string;
  readonly spans: readonly (readonly [start: number, end: number])[];
}

/**
 * Renders a Hugging Face chat template as transformers' `apply_chat_template` does. A special token that is null is undefined to the
 * template; `tools` and `documents` that are not given are none. Whoever wrote the template, rendering ends: after a number of steps
 * and characters it is refused.
 * @throws LongjingError `bad_config` when the template does not parse; the renderer throws `bad_argument` when the template
 * refuses the messages, `too_large` when it takes too long or writes too much.
 */
export function chatRenderer(template: string): ChatRenderer {
  const parsed = parse(template);
  return (messages, variables) => render(parsed, messages, variables, unmarked);
}

/**
 * The same, with the spans that the template puts into `{% generation %}` blocks, as `return_assistant_tokens_mask` has them.
 * @throws LongjingError `bad_config` for a template without such a block too
 */
export function markedChatRenderer(template: string): (messages: readonly ChatMessage[], variables?: ChatVariables) => MarkedChat {
  const parsed = parse(template);
  if (!withGenerationBlocks(template).marked) throw new LongjingError("bad_config", "The chat template does not say which text is the assistant's", { expected: "{% generation %} … {% endgeneration %}", where: "chat_template" });
  return (messages, variables) => {
    const mark = freshMark(JSON.stringify([messages, variables]));
    return spansBetween(mark, render(parsed, messages, variables, { [opens]: `${mark}<`, [closes]: `${mark}>` }));
  };
}

/** Renders once. */
export function renderChat(template: string, messages: readonly ChatMessage[], variables?: ChatVariables): string {
  return chatRenderer(template)(messages, variables);
}

const opens = "__generation_opens";
const closes = "__generation_closes";
const unmarked = { [opens]: "", [closes]: "" };

/** A generation block is a call block, as in transformers, of a macro that writes a mark at either end. */
function withGenerationBlocks(template: string): { source: string; marked: boolean } {
  const source = template.replace(/{%(-?)\s*(end)?generation\s*(-?)%}/g, (_, left: string, end: string | undefined, right: string) => `{%${left} ${end === undefined ? "call __generation()" : "endcall"} ${right}%}`);
  if (source === template) return { source, marked: false };
  return { source: `{% macro __generation() %}{{ ${opens} }}{{ caller() }}{{ ${closes} }}{% endmacro %}\n${source}`, marked: true };
}

/** Private to this text: a noncharacter on either side of a number that makes the whole unique. */
function freshMark(taken: string): string {
  for (let n = 0; ; n++) {
    const mark = `\uFDD0${n}\uFDD0`;
    if (!taken.includes(mark)) return mark;
  }
}

function spansBetween(mark: string, marked: string): MarkedChat {
  const [first = "", ...rest] = marked.split(mark);
  let text = first;
  const spans: (readonly [number, number])[] = [];
  const open: number[] = [];
  for (const piece of rest) {
    if (piece.startsWith("<")) open.push(text.length);
    else {
      const start = open.pop() ?? text.length;
      if (open.length === 0) spans.push([start, text.length]);
    }
    text += piece.slice(1);
  }
  return { text, spans };
}

const longestTemplate = 2 ** 18;
/** The lexer looks for its own tags behind every run of white space, from each of its characters on. */
const longestBlank = 2 ** 10;
const blank = new RegExp(`\\s{${longestBlank}}`);

function parse(template: string): Template {
  if (template.length > longestTemplate || blank.test(template)) {
    throw new LongjingError("bad_config", "the chat template is too long", { got: `${template.length} characters`, expected: `${longestTemplate} at most, and fewer than ${longestBlank} of white space in a row`, where: "chat_template" });
  }
  return orThrow("bad_config", "the chat template does not parse", () => new Template(withRawText(withGenerationBlocks(template).source)));
}

function render(template: Template, messages: readonly ChatMessage[], variables: ChatVariables = {}, marks: Readonly<Record<string, string>>): string {
  const given = Object.entries(variables).filter(([name, value]) => value !== undefined && !(value === null && name.endsWith("_token")));
  const scope = { add_generation_prompt: false, tools: null, documents: null, ...Object.fromEntries(given), ...marks, messages };
  return orThrow("bad_argument", "the chat template refused the messages", () => renderBounded(template, scope));
}

function orThrow<T>(code: "bad_config" | "bad_argument", message: string, action: () => T): T {
  try {
    return action();
  } catch (cause) {
    if (LongjingError.is(cause)) throw cause;
    const got = cause instanceof Error ? cause.message : String(cause);
    throw new LongjingError(code, message, { got, where: "chat_template" }, { cause });
  }
}
