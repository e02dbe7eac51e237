import { Template } from "@huggingface/jinja";
import { LongjingError } from "../errors/index.ts";
import { pythonStrip, withPythonStrip } from "./python-strip.ts";
import type { SpecialTokens } from "./tokenizer.ts";

/** A message as the OpenAI API has it; templates read whichever fields they know. */
export interface ChatMessage {
  readonly role: string;
  readonly content?: unknown;
  readonly [field: string]: unknown;
}

/**
 * How our own models are addressed: <|user|>…<|assistant|>…, thoughts of earlier turns left out as DeepSeek-R1 does. It opens
 * no tag: the model writes <think> itself, so that the format reward sees what the model wrote and nothing else.
 */
export const longjingTemplate: string = `
{{- bos_token }}
{%- for message in messages %}
    {%- if message.role == 'assistant' %}
        {%- set content = message.content %}
        {%- if not loop.last and '</think>' in content %}
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

/**
 * Renders a Hugging Face chat template as transformers' `apply_chat_template` does. Variables that are null are undefined to
 * the template.
 * @throws LongjingError `bad_config` when the template does not parse; the renderer throws `bad_argument` when the template
 * refuses the messages.
 */
export function chatRenderer(template: string): ChatRenderer {
  const parsed = orThrow("bad_config", "the chat template does not parse", () => withPythonStrip(new Template(template)));
  return (messages, variables = {}) => {
    const given = Object.entries(variables).filter(([, value]) => value !== null && value !== undefined);
    const scope = { add_generation_prompt: false, ...Object.fromEntries(given), ...pythonStrip, messages };
    return orThrow("bad_argument", "the chat template refused the messages", () => parsed.render(scope));
  };
}

/** Renders once. */
export function renderChat(template: string, messages: readonly ChatMessage[], variables?: ChatVariables): string {
  return chatRenderer(template)(messages, variables);
}

function orThrow<T>(code: "bad_config" | "bad_argument", message: string, action: () => T): T {
  try {
    return action();
  } catch (cause) {
    const got = cause instanceof Error ? cause.message : String(cause);
    throw new LongjingError(code, message, { got, where: "chat_template" }, { cause });
  }
}
