import fc from "fast-check";
import { expect, test } from "vitest";
import type { ChatEvent, TokenLogprob } from "./chat-events.ts";
import { toChunks, toCompletion, type ChatChunk, type ChatCompletion, type ChatHead } from "./chat-wire.ts";

const head: ChatHead = { id: "chatcmpl-1", created: 1, model: "m", system_fingerprint: "fp" };

const logprob = fc.record({ token: fc.string(), logprob: fc.double({ noNaN: true, max: 0 }), bytes: fc.constant([]), top_logprobs: fc.constant([]) });
const delta = (index: number) =>
  fc.record({
    type: fc.constantFrom("reasoning-delta" as const, "text-delta" as const),
    index: fc.constant(index),
    text: fc.string({ minLength: 1 }),
    logprobs: fc.array(logprob, { minLength: 1, maxLength: 2 }),
  });
const end = (index: number) =>
  fc.record({
    type: fc.constant("end" as const),
    index: fc.constant(index),
    finish_reason: fc.constantFrom("stop" as const, "length" as const, "tool_calls" as const),
    prompt_tokens: fc.constant(7),
    completion_tokens: fc.nat(100),
    reasoning_tokens: fc.nat(100),
    stop_sequence: fc.constant(null),
    cached_tokens: fc.nat(7),
  });
const call = (index: number, at: number): fc.Arbitrary<ChatEvent[]> =>
  fc.tuple(fc.string({ minLength: 1 }), fc.array(fc.string({ minLength: 1 }), { maxLength: 3 })).map(([name, texts]) => [
    { type: "tool-call", index, call: at, id: `call_${at}`, name },
    ...texts.map((text): ChatEvent => ({ type: "tool-arguments-delta", index, call: at, text })),
  ]);
const calls = (index: number): fc.Arbitrary<ChatEvent[]> => fc.tuple(...[0, 1].map((at) => call(index, at))).chain((all) => fc.nat(2).map((count) => all.slice(0, count).flat()));
const choice = (index: number): fc.Arbitrary<ChatEvent[]> => fc.tuple(fc.array(delta(index), { maxLength: 6 }), calls(index), end(index)).map(([deltas, made, last]) => [...deltas, ...made, last]);

/** Any number of choices, each in order, in any interleaving, with and without logprobs. */
const streams = fc
  .integer({ min: 1, max: 3 })
  .chain((n) => fc.tuple(fc.tuple(...Array.from({ length: n }, (_, index) => choice(index))), fc.infiniteStream(fc.nat()), fc.boolean()))
  .map(([choices, order, logprobs]) => {
    const queues = choices.map((events) => [...events]);
    const events: ChatEvent[] = [];
    for (const pick of order) {
      const open = queues.filter((queue) => queue.length > 0);
      if (open.length === 0) break;
      events.push(open[pick % open.length]?.shift() as ChatEvent);
    }
    return { n: choices.length, events: logprobs ? events : events.map(({ ...event }) => ("logprobs" in event ? (delete event.logprobs, event) : event)) };
  });

async function* from<T>(items: readonly T[]): AsyncGenerator<T, void> {
  yield* items;
}

type Finish = ChatCompletion["choices"][number]["finish_reason"];

/** What a client does with a stream, written without looking at the server. */
function foldChunks(chunks: readonly ChatChunk[]): ChatCompletion {
  const choices: { index: number; content: string; reasoning: string; calls: { index: number; id: string; type: "function"; function: { name: string; arguments: string } }[]; tokens: { content: TokenLogprob[]; reasoning: TokenLogprob[] }; finish: Finish | null }[] = [];
  let usage = null;
  for (const { choices: [part], usage: reported } of chunks) {
    usage = reported ?? usage;
    if (part === undefined) continue;
    const into = (choices[part.index] ??= { index: part.index, content: "", reasoning: "", calls: [], tokens: { content: [], reasoning: [] }, finish: null });
    into.content += part.delta.content ?? "";
    into.reasoning += part.delta.reasoning_content ?? "";
    for (const piece of part.delta.tool_calls ?? []) {
      if ("id" in piece) into.calls[piece.index] = { ...piece, function: { ...piece.function } };
      else into.calls[piece.index]!.function.arguments += piece.function.arguments;
    }
    into.tokens.content.push(...(part.logprobs?.content ?? []));
    into.tokens.reasoning.push(...(part.logprobs?.reasoning_content ?? []));
    into.finish ??= part.finish_reason;
  }
  const orNull = (list: TokenLogprob[]) => (list.length > 0 ? list : null);
  return {
    ...head,
    object: "chat.completion",
    choices: choices.map(({ index, content, reasoning, calls, tokens, finish }) => ({
      index,
      message: { role: "assistant", content, reasoning_content: reasoning === "" ? null : reasoning, ...(calls.length === 0 ? {} : { tool_calls: calls }) },
      logprobs: tokens.content.length + tokens.reasoning.length === 0 ? null : { content: orNull(tokens.content), reasoning_content: orNull(tokens.reasoning) },
      finish_reason: finish as Finish,
    })),
    usage: usage as unknown as ChatCompletion["usage"],
  };
}

async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const out: T[] = [];
  for await (const item of items) out.push(item);
  return out;
}

test("the chunks of any events add up to their completion, wherever the usage is told", async () => {
  await fc.assert(
    fc.asyncProperty(streams, fc.constantFrom(undefined, true), async ({ n, events }, include_usage) => {
      const chunks = await collect(toChunks(head, n, from(events), include_usage));
      expect(foldChunks(chunks)).toEqual(await toCompletion(head, from(events)));
    }),
  );
});

test("a stream has DeepSeek's shape whatever happens in it", async () => {
  await fc.assert(
    fc.asyncProperty(streams, async ({ n, events }) => {
      const chunks = await collect(toChunks(head, n, from(events)));
      for (const { delta: first } of chunks.slice(0, n).map((chunk) => chunk.choices[0]!)) {
        expect(first).toEqual({ role: "assistant", content: null, reasoning_content: "" });
      }
      for (const { delta: next } of chunks.slice(n).map((chunk) => chunk.choices[0]!)) {
        expect(next.role).toBeUndefined();
        expect([next.content, next.reasoning_content, next.tool_calls ?? null].filter((part) => part !== null)).toHaveLength(1);
      }
      expect(chunks.map((chunk) => chunk.usage !== null)).toEqual(chunks.map((_, at) => at === chunks.length - 1));
      expect(chunks.at(-1)?.choices[0]!.finish_reason).not.toBeNull();
    }),
  );
});

test("a stream that is asked for its usage has OpenAI's shape, one that is told to keep it has none", async () => {
  await fc.assert(
    fc.asyncProperty(streams, async ({ n, events }) => {
      const [plain, asked, without] = await Promise.all([undefined, true, false].map((include_usage) => collect(toChunks(head, n, from(events), include_usage))));
      expect(asked!.at(-1)).toMatchObject({ choices: [], usage: plain!.at(-1)!.usage });
      expect(asked!.slice(0, -1)).toEqual(plain!.map((chunk) => ({ ...chunk, usage: null })));
      expect((JSON.parse(JSON.stringify(without)) as object[]).some((chunk) => "usage" in chunk)).toBe(false);
      expect(without!.map((chunk) => ({ ...chunk, usage: undefined }))).toEqual(plain!.map((chunk) => ({ ...chunk, usage: undefined })));
    }),
  );
});
