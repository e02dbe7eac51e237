import { LongjingError } from "../errors/index.ts";
import { markedChatRenderer, type ChatMessage, type ChatVariables } from "./chat-template.ts";
import type { Tokenizer } from "./tokenizer.ts";

/** A whole conversation as token ids; `assistantMask` is 1 on the ids that the assistant said: the labels of supervised training. */
export interface TokenConversation {
  readonly ids: readonly number[];
  readonly assistantMask: readonly (0 | 1)[];
}

/**
 * Conversations to ids and masks by a template with `{% generation %}` blocks, as transformers'
 * `apply_chat_template(return_assistant_tokens_mask=True)`: a token that has any of its characters in a block is the assistant's.
 * @throws LongjingError "bad_config" when there is no template, or none with such blocks
 */
export function conversationEncoder(tokenizer: Tokenizer, template: string | null = tokenizer.chatTemplate): (messages: readonly ChatMessage[], variables?: ChatVariables) => TokenConversation {
  if (template === null) throw new LongjingError("bad_config", "The tokenizer has no chat template", { expected: "chat_template in tokenizer_config.json" });
  const render = markedChatRenderer(template);
  return (messages, variables) => {
    const { text, spans } = render(messages, { ...tokenizer.specialTokens, ...variables });
    const { ids, offsets } = tokenizer.encodeWithOffsets(text);
    let span = 0;
    const assistantMask = offsets.map(([start, end]) => {
      while (span < spans.length && start >= spans[span]![1]) span++;
      return span < spans.length && end > spans[span]![0] ? 1 : 0;
    });
    return { ids, assistantMask };
  };
}
