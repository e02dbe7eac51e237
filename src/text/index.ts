export { documentEncoder, type DocumentEncoder, type Exchange, type TextDocument, type TokenDocument } from "./document.ts";
export { ownTokens, trainBpe, type BpeOptions, type TokenizerFiles } from "./bpe.ts";
export {
  chatRenderer,
  longjingTemplate,
  markedChatRenderer,
  renderChat,
  type ChatMessage,
  type ChatRenderer,
  type ChatVariables,
  type MarkedChat,
} from "./chat-template.ts";
export { conversationEncoder, type TokenConversation } from "./conversation.ts";
export { beforeMiddle, middleMarks, middleTokens, type MiddleTokens } from "./fill-in-middle.ts";
export { ggufTokenizer, ggufTokenizerSteps, tokenizerFromGguf } from "./gguf-tokenizer.ts";
export { jsonShape } from "./json-shape.ts";
export { tokenizerToGguf } from "./tokenizer-to-gguf.ts";
export { chatTemplateOf, withToolTemplate } from "./named-templates.ts";
export { type Offset } from "./offsets.ts";
export { TranscriptSplitter, type TranscriptDelta } from "./splitter.ts";
export { ToolCallParser, type ToolDelta } from "./tool-calls.ts";
export {
  beforeArguments,
  deepseekV3,
  deepseekV31,
  functionTool,
  hermes,
  llama3,
  renderToolCall,
  resultRole,
  renderToolResult,
  toolInstructions,
  toolMarks,
  toolSyntaxOf,
  type ToolDefinition,
  type ToolSyntax,
} from "./tool-syntax.ts";
export { createTokenizer, type DecodeOptions, type SpecialTokens, type Tokenizer, type TokenStream } from "./tokenizer.ts";
export { ollamaTemplate } from "./ollama-template.ts";
export { parseTranscript, renderTranscript, saidAnswer, tags, type Transcript } from "./transcript.ts";
export { readTurn, type AssistantTurn, type ToolCall } from "./turn.ts";
export { sharedPhrases, trainWordVocabulary, type SharedPhrasesOptions, type WordVocabularyOptions } from "./word-vocabulary.ts";
