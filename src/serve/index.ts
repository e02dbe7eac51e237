export { createApp, type AppOptions } from "./app.ts";
export { chatEvents, type ChatEvent, type TokenLogprob } from "./chat-events.ts";
export { parseChatRequest, type ChatRequest } from "./chat-request.ts";
export type { ChatChunk, ChatCompletion, Usage } from "./chat-wire.ts";
export type { ErrorBody } from "./errors.ts";
export { loopbackHosts } from "./guard.ts";
export { listen, type Listening } from "./listen.ts";
export type { ChatMessage, ServedModel, ServedSplitter, ServedTokenizer, TokenStream } from "./model.ts";
export { openRuns, type RunInfo, type Runs, type RunsOptions } from "./runs.ts";
