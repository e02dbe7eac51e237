export { documentEncoder, type DocumentEncoder, type TokenDocument } from "./document.ts";
export { ownTokens, trainBpe, type BpeOptions, type TokenizerFiles } from "./bpe.ts";
export {
  chatRenderer,
  longjingTemplate,
  renderChat,
  type ChatMessage,
  type ChatRenderer,
  type ChatVariables,
} from "./chat-template.ts";
export { tokenizerFromGguf } from "./gguf-tokenizer.ts";
export { TranscriptSplitter, type TranscriptDelta } from "./splitter.ts";
export { createTokenizer, type DecodeOptions, type SpecialTokens, type Tokenizer, type TokenStream } from "./tokenizer.ts";
export { parseTranscript, renderTranscript, tags, type Transcript } from "./transcript.ts";
