import { renderToolCall, renderToolResult, resultRole, tags, toolInstructions, toolSyntaxOf, type ChatMessage, type ToolSyntax } from "../text/index.ts";
import type { AssistantMessage, ServedMessage, ToolCall } from "./chat-messages.ts";
import type { ChatRequest } from "./chat-request.ts";
import { isTooDeep } from "./json-depth.ts";
import type { ServedModel } from "./model.ts";

/** The text that a model goes on with. */
export interface ChatPrompt {
  readonly text: string;
  /** It ends inside the thinking. */
  readonly thinking: boolean;
  /** What it holds of the answer already, with the tag that opens an answer block. */
  readonly begun: string;
}

type PromptRequest = Pick<ChatRequest, "messages" | "thinking" | "tools" | "template">;

/** How a model that thinks goes over to its answer: most as Qwen 3 does, ours straight into an answer block. */
interface Turn {
  readonly emptyThought: string;
  readonly endOfThought: string;
  readonly answer: string;
}

const plainTurn: Turn = { emptyThought: `${tags.thinkOpen}\n\n${tags.thinkClose}\n\n`, endOfThought: `\n${tags.thinkClose}\n\n`, answer: "" };
const ownTurn: Turn = { emptyThought: tags.thinkOpen + tags.thinkClose, endOfThought: tags.thinkClose, answer: tags.answerOpen };

export function chatPrompt(model: ServedModel, { messages, thinking, tools, template }: PromptRequest): ChatPrompt {
  const last = messages.at(-1);
  const prefix = last?.role === "assistant" && last.prefix ? last : undefined;
  const source = model.chatTemplate ?? "";
  const syntax = toolSyntaxOf(source);
  const given = tools?.tools.map(({ strict: _strict, ...definition }) => ({ type: "function", function: definition }));
  const readsTools = /\btools\b/.test(source);
  const turns = templateMessages(prefix === undefined ? messages : messages.slice(0, -1), source, syntax);
  const text = model.renderChat(tools === undefined || readsTools ? turns : withInstructions(turns, toolInstructions(syntax, tools.tools.map(({ strict: _strict, ...tool }) => tool))), {
    ...(thinking.enabled === undefined ? {} : { enable_thinking: thinking.enabled, thinking: thinking.enabled }),
    ...(thinking.effort === undefined ? {} : { reasoning_effort: thinking.effort }),
    ...template,
    ...(given === undefined ? {} : { tools: given }),
    add_generation_prompt: true,
  });
  return finish(text, model.tokenizer.idOf(tags.answerOpen) === null ? plainTurn : ownTurn, thinking.enabled === false && thinks(model), prefix);
}

/** Whether a model thinks before it answers: its template or its vocabulary knows the tag. */
export function thinks({ chatTemplate, tokenizer }: ServedModel): boolean {
  return (chatTemplate ?? "").includes(tags.thinkClose) || tokenizer.idOf(tags.thinkClose) !== null;
}

/** Ends the thinking that was not wanted, where the template has not, and adds what the answer is to begin with. */
function finish(text: string, { emptyThought, endOfThought, answer }: Turn, silence: boolean, prefix: AssistantMessage | undefined): ChatPrompt {
  const trimmed = text.trimEnd();
  const open = trimmed.endsWith(tags.thinkOpen);
  const { content = "", reasoning_content: thought } = prefix ?? {};
  const answering = (before: string): ChatPrompt => ({ text: `${before}${answer}${content}`, thinking: false, begun: answer + content });
  if (thought !== undefined) {
    const begun = `${open ? text : text + tags.thinkOpen}${thought}`;
    return content === "" ? { text: begun, thinking: true, begun: "" } : answering(begun + endOfThought);
  }
  if (open) return silence || content !== "" ? answering(text + endOfThought) : { text, thinking: true, begun: "" };
  if (silence || (content !== "" && answer !== "")) return answering(trimmed.endsWith(tags.thinkClose) ? text : text + emptyThought);
  return { text: text + content, thinking: false, begun: content };
}

/** As the template reads them. One that knows of no calls is shown them, and what they gave, as text. */
function templateMessages(messages: readonly ServedMessage[], template: string, syntax: ToolSyntax): ChatMessage[] {
  const names = new Map(messages.flatMap((turn) => (turn.role === "assistant" ? (turn.tool_calls ?? []) : [])).map((call) => [call.id, call.function.name]));
  if (template.includes("tool_calls")) {
    const asText = concatenatesArguments.test(template);
    return messages.map((turn) => {
      if (turn.role === "tool") return { ...turn, name: names.get(turn.tool_call_id) };
      if (turn.role !== "assistant") return { ...turn };
      const { prefix: _prefix, tool_calls, ...rest } = turn;
      return { ...rest, ...(tool_calls === undefined ? {} : { tool_calls: asText ? tool_calls : tool_calls.map(withParsedArguments) }) };
    });
  }
  const out: { role: string; content: string; reasoning_content?: string }[] = [];
  // Which thoughts are shown is the template's affair; one that knows them by their tags alone gets them in the text.
  const tagged = template.includes(tags.thinkClose) && !template.includes("reasoning_content");
  const role = resultRole(template);
  let afterTool = false;
  for (const turn of messages) {
    if (turn.role === "tool") {
      const result = renderToolResult(turn.content);
      const before = out.at(-1);
      if (afterTool && before !== undefined) before.content += `\n${result}`;
      else out.push({ role, content: result });
    } else if (turn.role === "assistant") {
      const calls = (turn.tool_calls ?? []).map(({ function: { name, arguments: args } }) => renderToolCall(syntax, name, args));
      const { reasoning_content } = turn;
      const content = [turn.content, ...calls].filter((part) => part !== "").join("\n");
      if (tagged) out.push({ role: "assistant", content: reasoning_content === undefined ? content : tags.thinkOpen + reasoning_content + tags.thinkClose + content });
      else out.push({ role: "assistant", content, ...(reasoning_content === undefined ? {} : { reasoning_content }) });
    } else out.push({ ...turn });
    afterTool = turn.role === "tool";
  }
  return out;
}

/** DeepSeek's templates add the arguments to a text; all others write a value as JSON. */
const concatenatesArguments = /\+\s*[\w.'"[\]]*arguments['"]?\]?\s*\+/;

function withParsedArguments(call: ToolCall): unknown {
  const { arguments: text } = call.function;
  return { ...call, function: { ...call.function, arguments: parsedObject(text) ?? text } };
}

function parsedObject(text: string): object | undefined {
  if (isTooDeep(text)) return undefined;
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null ? value : undefined;
  } catch {
    return undefined; // a client may send back what a model without a grammar once wrote
  }
}

function withInstructions(turns: readonly ChatMessage[], instructions: string): ChatMessage[] {
  const [first, ...rest] = turns;
  if (first?.role === "system") return [{ ...first, content: `${String(first.content)}\n\n${instructions}` }, ...rest];
  return [{ role: "system", content: instructions }, ...turns];
}
