import fc from "fast-check";
import { expect, test } from "vitest";
import type { ChatEvent } from "./chat-events.ts";
import { longestWait, Pace, partsTogether } from "./pace.ts";

const token = { token: "t", logprob: -1, bytes: [116], top_logprobs: [] };
const index = fc.nat(2);
const part: fc.Arbitrary<ChatEvent> = fc.oneof(
  { weight: 5, arbitrary: fc.record({ type: fc.constantFrom("text-delta" as const, "reasoning-delta" as const), index, text: fc.string() }) },
  fc.record({ type: fc.constant("text-delta" as const), index, text: fc.string(), logprobs: fc.constant([token]) }),
  fc.record({ type: fc.constant("tool-call" as const), index, call: fc.nat(1), id: fc.string(), name: fc.string() }),
  fc.record({ type: fc.constant("tool-arguments-delta" as const), index, call: fc.nat(1), text: fc.string() }),
);
const end = (of: number): ChatEvent => ({ type: "end", index: of, finish_reason: "stop", stop_sequence: null, prompt_tokens: 1, cached_tokens: 0, completion_tokens: 1, reasoning_tokens: 0 });
const answer = fc.array(part, { maxLength: 80 }).map((parts) => [...parts, end(0), end(1), end(2)]);

/** Each choice's events, pieces of like text as one. */
function whole(events: readonly ChatEvent[]): ChatEvent[][] {
  return [0, 1, 2].map((of) => {
    const own: ChatEvent[] = [];
    for (const event of events.filter((some) => some.index === of)) {
      const last = own.at(-1);
      const joins = last && (last.type === "text-delta" || last.type === "reasoning-delta") && event.type === last.type && !last.logprobs && !event.logprobs;
      if (joins) own[own.length - 1] = { ...last, text: last.text + event.text };
      else own.push(event);
    }
    return own;
  });
}

/** The events, with a turn of the event loop before those that are named; then an error, where there is one. */
async function* source(events: readonly ChatEvent[], pauses: ReadonlySet<number>, error?: Error): AsyncGenerator<ChatEvent, void> {
  for (const [at, event] of events.entries()) {
    if (pauses.has(at)) await new Promise((resolve) => setImmediate(resolve));
    yield event;
  }
  if (error) throw error;
}

async function read(events: AsyncIterable<ChatEvent>): Promise<{ readonly told: ChatEvent[]; readonly error: unknown }> {
  const told: ChatEvent[] = [];
  try {
    for await (const event of events) told.push(event);
    return { told, error: undefined };
  } catch (error) {
    return { told, error };
  }
}

test("an answer that leaves in fewer events says the same, up to an error too; tokens that were asked for stay apart", async () => {
  await fc.assert(
    fc.asyncProperty(answer, fc.array(fc.nat(80)), fc.boolean(), async (events, pauses, fails) => {
      const error = fails ? new Error("broken") : undefined;
      const got = await read(new Pace(16).events(source(events, new Set(pauses), error)));
      expect(whole(got.told)).toEqual(whole(events));
      expect(got.told.length).toBeLessThanOrEqual(events.length);
      expect(got.error).toBe(error);
    }),
  );
});

test("who reads slowly gets more at a time, and the first part leaves alone", async () => {
  const letters: ChatEvent[] = [...Array.from("abcdefghijklmnopqrstuvwxyz", (text): ChatEvent => ({ type: "text-delta", index: 0, text })), end(0)];
  const told: string[] = [];
  for await (const event of new Pace(16).events(source(letters, new Set(letters.keys())))) {
    if (event.type === "text-delta") told.push(event.text);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  expect(told[0]).toBe("a");
  expect(told.join("")).toBe("abcdefghijklmnopqrstuvwxyz");
  expect(told.length).toBeLessThan(20);
});

test("where nobody has asked for it no event is joined to another", async () => {
  await fc.assert(
    fc.asyncProperty(answer, fc.array(fc.nat(80)), async (events, pauses) => {
      expect((await read(new Pace().events(source(events, new Set(pauses))))).told).toEqual(events);
    }),
    { numRuns: 20 },
  );
});

test("a reader that leaves ends the source", async () => {
  let ended = false;
  const endless = async function* (): AsyncGenerator<ChatEvent, void> {
    try {
      for (;;) {
        await new Promise((resolve) => setImmediate(resolve));
        yield { type: "text-delta", index: 0, text: "a" };
      }
    } finally {
      ended = true;
    }
  };
  for await (const event of new Pace().events(endless())) if (event.type === "text-delta") break;
  expect(ended).toBe(true);
});

test("the first part of an answer leaves alone, and later ones wait for more, the longer the more answers there are", () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 500 }), fc.nat(2000), fc.nat(100), (answers, sent, more) => {
      expect(partsTogether(0)).toBe(1);
      expect(partsTogether(sent + more)).toBeGreaterThanOrEqual(partsTogether(sent));
      expect(partsTogether(sent)).toBeLessThanOrEqual(16);
      expect(longestWait(answers + more)).toBeGreaterThanOrEqual(longestWait(answers));
      expect(longestWait(answers)).toBeLessThanOrEqual(250);
      // All answers together: at most fifty writes a second, or four for each.
      expect(answers * 1000).toBeLessThanOrEqual(Math.max(50, 4 * answers) * longestWait(answers));
    }),
  );
});
