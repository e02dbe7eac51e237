import { LongjingError } from "../errors/index.ts";
import { chatRenderer, type ChatMessage, type ChatRenderer } from "./chat-template.ts";
import { tags } from "./transcript.ts";
import type { Tokenizer } from "./tokenizer.ts";

/** What a chat template writes around the messages, where it writes nothing else. */
interface ChatPieces {
  /** Ahead of a conversation without a system message, BOS left out. */
  readonly begin: string;
  /** Around a system message, which comes first. */
  readonly system: readonly [before: string, behind: string];
  readonly user: readonly [before: string, behind: string];
  readonly assistant: readonly [before: string, behind: string];
  /** Where the model is to go on. */
  readonly generation: string;
}

/**
 * A chat template as Ollama's (Go, `text/template`), found by rendering: the texts around each role's messages. BOS is left out,
 * since Ollama's tokenizer puts it there; a model with think tags shows its thoughts through `.Thinking`.
 * @returns null for a template that does more than write texts around messages, so that no such one exists
 */
export function ollamaTemplate(chatTemplate: string, tokenizer: Tokenizer): string | null {
  const { bos_token } = tokenizer.specialTokens;
  const renderer = chatRenderer(chatTemplate);
  const beginsWithBos = bos_token !== null && tokenizer.encode("a", { addSpecialTokens: true })[0] === tokenizer.bosId;
  const render: ChatRenderer = (messages, variables) => {
    const text = renderer(messages, { ...tokenizer.specialTokens, ...variables });
    return beginsWithBos && text.startsWith(bos_token) ? text.slice(bos_token.length) : text;
  };
  const pieces = orNull(() => piecesOf(render));
  const faithful = pieces !== null && orNull(() => conversations.every((roles) => isFaithful(pieces, render, roles))) === true;
  const thinks = tokenizer.idOf(tags.thinkOpen) !== null && tokenizer.idOf(tags.thinkClose) !== null;
  return faithful ? goTemplate(pieces, thinks) : null;
}

/** A template may refuse a conversation, a system message say: then it does more than write texts around messages. */
function orNull<T>(action: () => T): T | null {
  try {
    return action();
  } catch (error) {
    if (LongjingError.is(error) && error.code === "bad_argument") return null;
    throw error;
  }
}

const message = (role: string, i: number): ChatMessage => ({ role, content: `content-${role}-${i}` });
const conversation = (roles: readonly string[]): ChatMessage[] => roles.map(message);

/** What stands between two messages of a rendered conversation, in front of the first and behind the last. */
function gaps(text: string, messages: readonly ChatMessage[]): string[] {
  const found: string[] = [];
  let rest = text;
  for (const { content } of messages) {
    const at = rest.indexOf(String(content));
    if (at === -1) return [];
    found.push(rest.slice(0, at));
    rest = rest.slice(at + String(content).length);
  }
  return [...found, rest];
}

function piecesOf(render: ChatRenderer): ChatPieces | null {
  const around = (roles: readonly string[]): string[] => gaps(render(conversation(roles)), conversation(roles));
  const [alone = "", userEnd = ""] = around(["user"]);
  const [, toAssistant = "", assistantEnd = ""] = around(["user", "assistant"]);
  const [, , toUser = ""] = around(["user", "assistant", "user"]);
  const [systemStart = "", systemToUser = ""] = around(["system", "user"]);
  const userStart = without(toUser, assistantEnd, "start");
  const assistantStart = without(toAssistant, userEnd, "start");
  const begin = userStart === null ? null : without(alone, userStart, "end");
  const systemEnd = userStart === null ? null : without(systemToUser, userStart, "end");
  const whole = render(conversation(["user"]), { add_generation_prompt: true });
  const generation = without(whole, render(conversation(["user"])), "start");
  if (userStart === null || assistantStart === null || begin === null || systemEnd === null || generation === null) return null;
  return { begin, system: [systemStart, systemEnd], user: [userStart, userEnd], assistant: [assistantStart, assistantEnd], generation };
}

function without(text: string, part: string, at: "start" | "end"): string | null {
  if (at === "start") return text.startsWith(part) ? text.slice(part.length) : null;
  return text.endsWith(part) ? text.slice(0, text.length - part.length) : null;
}

const conversations: readonly (readonly string[])[] = [["user"], ["system", "user"], ["user", "assistant", "user"], ["system", "user", "assistant", "user", "assistant", "user"]];

function isFaithful({ begin, system, user, assistant, generation }: ChatPieces, render: ChatRenderer, roles: readonly string[]): boolean {
  const around: Readonly<Record<string, readonly [string, string]>> = { system, user, assistant };
  const messages = conversation(roles);
  const texts = messages.map(({ role, content }) => `${around[role]?.[0]}${String(content)}${around[role]?.[1]}`);
  return render(messages, { add_generation_prompt: true }) === `${roles[0] === "system" ? "" : begin}${texts.join("")}${generation}`;
}

/** Texts stand in actions, where white space is kept; a string of JSON is one of Go. */
const literal = (text: string): string => (text === "" ? "" : `{{ ${JSON.stringify(text)} }}`);

function goTemplate({ begin, system, user, assistant, generation }: ChatPieces, thinks: boolean): string {
  const thoughts = thinks ? `{{ if and $last .Thinking }}${tags.thinkOpen}{{ .Thinking }}${tags.thinkClose}{{ end }}` : "";
  return [
    `{{- range $i, $_ := .Messages }}{{ $last := eq (len (slice $.Messages $i)) 1 }}`,
    begin === "" ? "" : `{{- if and (eq $i 0) (ne .Role "system") }}${literal(begin)}{{ end }}`,
    `{{- if eq .Role "system" }}${literal(system[0])}{{ .Content }}${literal(system[1])}`,
    `{{- else if eq .Role "user" }}${literal(user[0])}{{ .Content }}${literal(user[1])}`,
    `{{- else if eq .Role "assistant" }}${literal(assistant[0])}${thoughts}{{ .Content }}{{ if not $last }}${literal(assistant[1])}{{ end }}`,
    `{{- end }}`,
    `{{- if and $last (ne .Role "assistant") }}${literal(generation)}{{ end }}`,
    `{{- end }}`,
  ]
    .filter((line) => line !== "")
    .join("\n");
}
