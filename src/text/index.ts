export { parseTranscript, renderTranscript, tags, type Transcript } from "./transcript.ts";
export { TranscriptSplitter, type TranscriptDelta } from "./splitter.ts";
