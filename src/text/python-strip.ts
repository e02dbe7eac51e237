import type { Template } from "@huggingface/jinja";

/** Python's `str.strip(chars)` and its one-sided forms, under names that no template can define. */
export const pythonStrip: Readonly<Record<string, (text: string, chars: string) => string>> = {
  "str.strip": (text, chars) => stripStart(stripEnd(text, chars), chars),
  "str.lstrip": stripStart,
  "str.rstrip": stripEnd,
};

/**
 * Points calls such as `content.lstrip('\n')` in a parsed template at `pythonStrip`: the interpreter's own methods ignore the
 * argument and strip all white space, which changes what a model is told.
 */
export function withPythonStrip(template: Template): Template {
  rewrite(template.parsed);
  return template;
}

/** The part of the interpreter's syntax tree that matters here. */
interface Call {
  readonly type?: unknown;
  callee?: {
    readonly type: string;
    readonly value?: string;
    readonly computed?: boolean;
    readonly object?: unknown;
    readonly property?: { readonly value?: unknown };
  };
  args?: readonly unknown[];
}

function rewrite(node: unknown): void {
  if (typeof node !== "object" || node === null) return;
  for (const child of Object.values(node)) rewrite(child);
  const call: Call = node;
  const { callee, args } = call;
  if (call.type !== "CallExpression" || callee?.type !== "MemberExpression" || callee.computed === true) return;
  const name = `str.${String(callee.property?.value)}`;
  if (!(name in pythonStrip) || args?.length !== 1) return;
  call.args = [callee.object, ...args];
  call.callee = { type: "Identifier", value: name };
}

function stripStart(text: string, chars: string): string {
  let start = 0;
  while (start < text.length && chars.includes(text[start] as string)) start++;
  return text.slice(start);
}

function stripEnd(text: string, chars: string): string {
  let end = text.length;
  while (end > 0 && chars.includes(text[end - 1] as string)) end--;
  return text.slice(0, end);
}
