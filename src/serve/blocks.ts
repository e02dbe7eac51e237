import type { ChatEvent, EndEvent, TokenLogprob } from "./chat-events.ts";

/** A part of an answer as the formats with content blocks have it: a thought, a text or a call, whole. */
export type Block =
  | {
      readonly type: "reasoning" | "text";
      readonly text: string;
      /** Of its tokens, when the request asked for them. */
      readonly logprobs?: TokenLogprob[];
    }
  /** `text` is the JSON of the arguments. */
  | { readonly type: "call"; readonly id: string; readonly name: string; readonly text: string };

/** A block opens empty, grows and closes; then the next one may open. `at` counts them. */
export type BlockEvent =
  | { readonly type: "open" | "close"; readonly at: number; readonly block: Block }
  | { readonly type: "grow"; readonly at: number; readonly block: Block; readonly text: string; readonly logprobs?: readonly TokenLogprob[] | undefined }
  | { readonly type: "end"; readonly end: EndEvent };

/** The events of one choice as blocks. */
export async function* toBlocks(events: AsyncIterable<ChatEvent>): AsyncGenerator<BlockEvent, void> {
  let open: Block | undefined;
  let at = 0;
  for await (const event of events) {
    const next = opens(event, open);
    if (next !== undefined || event.type === "end") {
      if (open !== undefined) yield { type: "close", at: at++, block: open };
      open = next;
      if (next !== undefined) yield { type: "open", at, block: next };
    }
    if (event.type === "end") yield { type: "end", end: event };
    else if (event.type !== "tool-call" && open !== undefined) {
      open = grown(open, event);
      yield { type: "grow", at, block: open, text: event.text, logprobs: "logprobs" in event ? event.logprobs : undefined };
    }
  }
}

/** The list of log-probabilities is the block's own and grows in place: a copy for each token would make a long answer quadratic. */
function grown(block: Block, event: Extract<ChatEvent, { readonly text: string }>): Block {
  const text = block.text + event.text;
  if (block.type === "call" || !("logprobs" in event) || event.logprobs === undefined) return { ...block, text };
  const { logprobs = [] } = block;
  for (const token of event.logprobs) logprobs.push(token);
  return { ...block, text, logprobs };
}

/** The block that an event begins, where it does not go on with the one that is open. */
function opens(event: ChatEvent, open: Block | undefined): Block | undefined {
  switch (event.type) {
    case "tool-call":
      return { type: "call", id: event.id, name: event.name, text: "" };
    case "reasoning-delta":
      return open?.type === "reasoning" ? undefined : { type: "reasoning", text: "" };
    case "text-delta":
      return open?.type === "text" ? undefined : { type: "text", text: "" };
    default:
      return undefined;
  }
}

/** All blocks of a finished answer. */
export async function collectBlocks(events: AsyncIterable<ChatEvent>): Promise<{ readonly blocks: readonly Block[]; readonly end: EndEvent }> {
  const blocks: Block[] = [];
  for await (const event of toBlocks(events)) {
    if (event.type === "close") blocks.push(event.block);
    if (event.type === "end") return { blocks, end: event.end };
  }
  throw new Error("An answer ended without saying why");
}
