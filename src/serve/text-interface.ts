import { createConstrainer, type CompileSpec } from "../constrain/index.ts";
import { LongjingError } from "../errors/index.ts";
import { chatRenderer, toolMarks, toolSyntaxOf, type ChatRenderer, type Tokenizer } from "../text/index.ts";
import type { ServedModel } from "./model.ts";

/**
 * What a model's tokenizer makes of it: how it is talked to, where it ends, and how its answers keep to a form.
 * @param ends tokens that end a completion beside the tokenizer's own
 */
export function textInterface(tokenizer: Tokenizer, ends: readonly number[], compile: CompileSpec): Pick<ServedModel, "tokenizer" | "constrainer" | "stop_token_ids" | "chatTemplate" | "renderChat"> {
  const stop_token_ids = [...new Set([...ends, ...(tokenizer.eosId === null ? [] : [tokenizer.eosId])])];
  const render = openRenderer(tokenizer);
  return {
    tokenizer,
    constrainer: createConstrainer(tokenizer, stop_token_ids, compile, toolMarks(toolSyntaxOf(tokenizer.chatTemplate ?? ""))),
    stop_token_ids,
    chatTemplate: tokenizer.chatTemplate,
    renderChat: (messages, variables) => render(messages, { ...tokenizer.specialTokens, ...variables }),
  };
}

/** A model without a template completes text; only a conversation is refused. */
function openRenderer({ chatTemplate }: Tokenizer): ChatRenderer {
  if (chatTemplate !== null) return chatRenderer(chatTemplate);
  return () => {
    throw new LongjingError("bad_argument", "The model has no chat template, so it cannot be talked to", { where: "messages", expected: "chat_template.jinja, chat_template in tokenizer_config.json, or tokenizer.chat_template in a GGUF file", hint: "It completes text: /v1/completions" });
  };
}
