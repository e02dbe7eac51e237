import { tags } from "./transcript.ts";
import { ToolCallParser } from "./tool-calls.ts";
import type { ToolSyntax } from "./tool-syntax.ts";

/** A call that a model has made. */
export interface ToolCall {
  readonly name: string;
  /** As the model wrote them; null where that is no JSON object. */
  readonly arguments: Readonly<Record<string, unknown>> | null;
}

/** One turn of a model. */
export interface AssistantTurn {
  /** All that it said, calls and thoughts included. */
  readonly text: string;
  readonly calls: readonly ToolCall[];
}

/** Reads the calls of a turn. Total: what is no call is text; what stands in thoughts, closed or not, is none. */
export function readTurn(text: string, syntax: ToolSyntax): AssistantTurn {
  const parts = text.split(tags.thinkClose);
  const said = parts.length === 1 && text.includes(tags.thinkOpen) ? "" : (parts.at(-1) as string);
  const parser = new ToolCallParser(syntax);
  const calls: { name: string; json: string }[] = [];
  for (const delta of [...parser.push(said), ...parser.end()]) {
    const last = calls.at(-1);
    if (delta.type === "call") calls.push({ name: delta.name, json: "" });
    else if (delta.type === "arguments" && last) last.json += delta.delta;
  }
  return { text, calls: calls.map(({ name, json }) => ({ name, arguments: parsedObject(json) })) };
}

function parsedObject(json: string): Readonly<Record<string, unknown>> | null {
  try {
    // It begins with a brace, so what parses is an object.
    return JSON.parse(json) as Readonly<Record<string, unknown>>;
  } catch {
    return null; // a model without a grammar writes what it likes
  }
}
