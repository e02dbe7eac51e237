import { LongjingError } from "../errors/index.ts";
import { chatRenderer, longjingTemplate, type ChatMessage } from "./chat-template.ts";
import type { Tokenizer } from "./tokenizer.ts";
import { functionTool, renderToolResult, resultRole, toolInstructions, toolSyntaxOf, type ToolDefinition, type ToolSyntax } from "./tool-syntax.ts";

/** A prompt and what should follow it, as token ids; `completion` ends with EOS. */
export interface TokenDocument {
  readonly prompt: readonly number[];
  readonly completion: readonly number[];
  /** 1 for the completion's tokens that the model says, 0 for those that answer its turns. Absent: it says them all. */
  readonly mask?: readonly (0 | 1)[];
}

/** What answers a turn of the model, and what it says then. */
export interface Exchange {
  readonly messages: readonly ChatMessage[];
  readonly completion: string;
}

/** A prompt and its completion, in text. */
export interface TextDocument {
  readonly prompt: string;
  readonly completion: string;
  /** What the model may call. */
  readonly tools?: readonly ToolDefinition[];
  /** How the conversation goes on after the first turn. */
  readonly exchanges?: readonly Exchange[];
}

/** Texts to token ids and back by a tokenizer's chat template: the same ids in training, rollout and serving. */
export interface DocumentEncoder {
  /** Ends every completion. */
  readonly eos: number;
  /** How the model writes calls. */
  readonly toolSyntax: ToolSyntax;
  prompt(text: string, tools?: readonly ToolDefinition[]): number[];
  /**
   * What the template puts between two turns of the model, from behind the EOS of the first to where the second begins: `messages`,
   * and its own fixed text. The tokens of the turns themselves stay those that the model said.
   * @throws LongjingError "bad_config" for a template that does not end a turn with EOS
   */
  between(messages: readonly ChatMessage[]): number[];
  document(text: TextDocument): TokenDocument;
  /** A completion's text, without its EOS. */
  decode(completion: readonly number[]): string;
}

/** Stands for a turn of the model: a noncharacter, which no template writes. */
const turn = "\uFDD1";

/** @throws LongjingError "bad_config" when the tokenizer has no end-of-sequence token */
export function documentEncoder(tokenizer: Tokenizer): DocumentEncoder {
  const template = tokenizer.chatTemplate ?? longjingTemplate;
  const render = chatRenderer(template);
  const { eosId: eos, specialTokens } = tokenizer;
  if (eos === null) throw new LongjingError("bad_config", "The tokenizer has no end-of-sequence token", { expected: "eos_token in tokenizer_config.json" });
  const toolSyntax = toolSyntaxOf(template);
  const prompt = (text: string, tools: readonly ToolDefinition[] = []): number[] => {
    const asked = [{ role: "user", content: text }];
    const variables = { ...specialTokens, add_generation_prompt: true };
    if (tools.length === 0) return tokenizer.encode(render(asked, variables));
    const read = /\btools\b/.test(template);
    const given = tools.map(functionTool);
    if (read) return tokenizer.encode(render(asked, { ...variables, tools: given }));
    return tokenizer.encode(render([{ role: "system", content: toolInstructions(toolSyntax, given.map((tool) => tool.function)) }, ...asked], variables));
  };
  const between = (messages: readonly ChatMessage[]): number[] => {
    const said = template.includes("tool_calls") ? messages : withResultsAsText(messages, resultRole(template));
    const text = render([{ role: "user", content: "" }, { role: "assistant", content: turn }, ...said], { ...specialTokens, add_generation_prompt: true });
    const after = text.slice(text.indexOf(turn) + turn.length);
    const end = tokenizer.decode([eos], { skipSpecialTokens: false });
    if (!text.includes(turn) || !after.startsWith(end)) throw new LongjingError("bad_config", "The chat template does not end a turn as the model does", { where: "chat_template", got: after, expected: `${end} behind the assistant's message` });
    return tokenizer.encode(after.slice(end.length));
  };
  return {
    eos,
    toolSyntax,
    prompt,
    between,
    document: ({ prompt: text, completion, tools, exchanges = [] }) => {
      const document = { prompt: prompt(text, tools), completion: [...tokenizer.encode(completion), eos] };
      if (exchanges.length === 0) return document;
      const mask: (0 | 1)[] = document.completion.map(() => 1);
      for (const exchange of exchanges) {
        const [answer, next] = [between(exchange.messages), [...tokenizer.encode(exchange.completion), eos]];
        document.completion.push(...answer, ...next);
        mask.push(...answer.map(() => 0 as const), ...next.map(() => 1 as const));
      }
      return { ...document, mask };
    },
    decode: (ids) => tokenizer.decode(ids.at(-1) === eos ? ids.slice(0, -1) : ids),
  };
}

/** For a template that knows of no calls: what they gave, as text; neighbours in one message. */
function withResultsAsText(messages: readonly ChatMessage[], role: "tool" | "user"): ChatMessage[] {
  const out: ChatMessage[] = [];
  let afterTool = false;
  for (const message of messages) {
    const result = message.role === "tool";
    const content = result ? renderToolResult(String(message.content)) : message.content;
    if (result && afterTool) out.push({ role, content: `${String(out.pop()?.content)}\n${String(content)}` });
    else out.push({ ...message, role: result ? role : message.role, content });
    afterTool = result;
  }
  return out;
}
