import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { FakeRunner } from "../../test/fake-runner.ts";
import { picksOf } from "./chunk.ts";
import { Generator } from "./generator.ts";
import type { EngineEvent, EngineRequest } from "./types.ts";

const max_model_len = 40;
const requests = fc.array(
  fc.record({
    // Few different tokens: prefixes are often shared.
    prompt_ids: fc.oneof(fc.array(fc.nat(1), { minLength: 1, maxLength: 24 }), fc.array(fc.constant(3), { minLength: 1, maxLength: 24 })),
    sampling: fc.record({ seed: fc.nat(3), max_tokens: fc.integer({ min: 1, max: 16 }), temperature: fc.constantFrom(0, 1), stop_token_ids: fc.constantFrom([], [5]) }),
    cache_salt: fc.constantFrom("", "s"),
    user: fc.constantFrom("u", "v", "w"),
  }),
  { minLength: 1, maxLength: 12 },
);
const speculative = fc.oneof(
  fc.record({ method: fc.constant("ngram" as const), num_speculative_tokens: fc.integer({ min: 1, max: 5 }), prompt_lookup_min: fc.constant(1) }),
  fc.constant({ method: "mtp" as const, num_speculative_tokens: 1 }),
);
const setups = fc.record({ speculative, max_num_seqs: fc.integer({ min: 1, max: 5 }), extra: fc.integer({ min: 2, max: 30 }), block_size: fc.integer({ min: 1, max: 5 }), kv_cache_memory_bytes: fc.constantFrom(0, 64, 4096) });

/** Requests whose prompts are read too, some of them only read. */
const scored = fc
  .array(fc.tuple(requests, fc.integer({ min: 0, max: 2 })), { minLength: 1, maxLength: 3 })
  .map((groups) => groups.flatMap(([group, prompt_logprobs]) => group.map((request, i) => ({ ...request, sampling: { ...request.sampling, ...(i % 3 > 0 && { prompt_logprobs, max_tokens: i % 3 === 1 ? request.sampling.max_tokens : 0 }) } }))));

const alone = async (request: EngineRequest, sensitive = false) => (await new Generator(new FakeRunner(1, max_model_len, sensitive), {}).generate([request]))[0]!;

async function drain(events: AsyncIterable<EngineEvent>): Promise<EngineEvent[]> {
  const all: EngineEvent[] = [];
  for await (const event of events) all.push(event);
  return all;
}

describe("a sequence says what it would say alone", () => {
  test("whatever runs beside it, in whatever chunks, from whatever cache", async () => {
    await fc.assert(
      fc.asyncProperty(requests, requests, setups, async (first, second, { max_num_seqs, extra, ...options }) => {
        const runner = new FakeRunner(max_num_seqs, max_model_len);
        const generator = new Generator(runner, {}, { ...options, max_num_batched_tokens: max_num_seqs + extra });
        for (const batch of [first, second]) expect(await generator.generate(batch)).toEqual(await Promise.all(batch.map((request) => alone(request))));
        expect(generator.stats()).toMatchObject({ num_requests_running: 0, num_requests_waiting: 0, kv_cache_usage_perc: 0 });
      }),
      { numRuns: 150 },
    );
  });

  test("to the bit, where a token that is computed alone differs from one among others", async () => {
    await fc.assert(
      fc.asyncProperty(requests, requests, setups, async (first, second, { max_num_seqs, extra, speculative: _guesses, ...options }) => {
        const generator = new Generator(new FakeRunner(max_num_seqs, max_model_len, true), {}, { ...options, max_num_batched_tokens: max_num_seqs + extra });
        for (const batch of [first, second]) expect(await generator.generate(batch)).toEqual(await Promise.all(batch.map((request) => alone(request, true))));
      }),
      { numRuns: 150 },
    );
  });

  test("and its prompt is as likely as it is alone, and as it was when it was said", async () => {
    const said = (events: readonly EngineEvent[]) => events.flatMap((event) => (event.type === "token" ? [event] : []));
    const read = (events: readonly EngineEvent[]) => events.flatMap((event) => (event.type === "prompt" ? event.logprobs : []));
    await fc.assert(
      fc.asyncProperty(scored, setups, async (batch, { max_num_seqs, extra, ...options }) => {
        const generator = new Generator(new FakeRunner(max_num_seqs, max_model_len), {}, { ...options, max_num_batched_tokens: max_num_seqs + extra });
        const together = await Promise.all(batch.map((request) => drain(generator.submit(request))));
        for (const [i, { prompt_ids, sampling, ...request }] of batch.entries()) {
          const events = together[i]!;
          const single = await drain(new Generator(new FakeRunner(1, max_model_len), {}).submit({ prompt_ids, sampling, ...request }));
          expect([read(events), said(events), events.at(-1)]).toEqual([read(single), said(single), { ...single.at(-1), cached_tokens: expect.any(Number) as number }]);
          if (sampling.prompt_logprobs === undefined) continue;
          expect([read(events).length, events[0]?.type]).toEqual([prompt_ids.length, "prompt"]);
          const again = await drain(new Generator(new FakeRunner(1, max_model_len), {}).submit({ prompt_ids: [...prompt_ids, ...said(events).map(({ token_id }) => token_id)], sampling: { max_tokens: 0, prompt_logprobs: 0 } }));
          expect(again.map(({ type }) => type)).toEqual(["prompt", "finish"]);
          expect(read(again).slice(prompt_ids.length)).toEqual(said(events).map(({ token_id, logprob }) => ({ token_id, logprob })));
        }
      }),
      { numRuns: 60 },
    );
  });

  test("while others come, are abandoned and fail", async () => {
    await fc.assert(
      fc.asyncProperty(requests, requests, setups, async (kept, dropped, { max_num_seqs, extra, ...options }) => {
        const generator = new Generator(new FakeRunner(max_num_seqs, max_model_len), {}, { ...options, max_num_batched_tokens: max_num_seqs + extra });
        const failing = { mask: (into: Uint32Array) => into.fill(0), accept: () => {} };
        const others = dropped.map(async (request, i) => {
          if (i % 2 === 0) return expect(drain(generator.submit({ ...request, constraint: failing }))).rejects.toMatchObject({ code: "runtime" });
          for await (const event of generator.submit(request)) if (event.type === "token") break;
        });
        const results = generator.generate(kept);
        await Promise.all(others);
        expect(await results).toEqual(await Promise.all(kept.map((request) => alone(request))));
        expect(generator.stats().num_requests_running).toBe(0);
      }),
      { numRuns: 60 },
    );
  });
});

const tokens = (length: number, seed = 0): number[] => Array.from({ length }, (_, i) => (i * 7 + seed) % 6);
const greedy = (max_tokens: number) => ({ temperature: 0, max_tokens });
type Finish = Extract<EngineEvent, { type: "finish" }>;
const finishOf = async (generator: Generator, request: EngineRequest): Promise<Finish> => (await drain(generator.submit(request))).at(-1) as Finish;

test("no run computes more than the budget, padding included, and nothing is computed twice", async () => {
  const runner = new FakeRunner(4, 200);
  const generator = new Generator(runner, {}, { max_num_batched_tokens: 20 });
  await generator.generate([6, 10, 100, 7, 90, 12, 64].map((length, i) => ({ prompt_ids: tokens(length, i), sampling: greedy(8) })));
  expect(Math.max(...runner.runs)).toBeLessThanOrEqual(20);
  const prompts = 6 + 10 + 100 + 7 + 90 + 12 + 64;
  // A prompt under way beside others costs a row of its own at each of their steps: at most one is.
  const said = 7 * 7 * 2;
  expect(runner.runs.reduce((a, b) => a + b)).toBeLessThanOrEqual(prompts + said + 20);
});

test("no run gives more logits of prompts than memory is meant for", async () => {
  let most = 0;
  class Counting extends FakeRunner {
    override forward(...args: Parameters<FakeRunner["forward"]>): Promise<Float32Array> {
      most = Math.max(most, picksOf(args[2]));
      return super.forward(...args);
    }
  }
  const generator = new Generator(new Counting(8, 200), {});
  await Promise.all([90, 120, 60, 150, 40, 130].map((length, i) => drain(generator.submit({ prompt_ids: tokens(length, i), sampling: { ...greedy(2), prompt_logprobs: 0 } }))));
  // One more for each sequence that says something.
  expect(most).toBeLessThanOrEqual(64 + 8);
  expect(most).toBeGreaterThan(30);
});

test("a long prompt does not keep others waiting for their next token", async () => {
  const generator = new Generator(new FakeRunner(2, 400), {}, { max_num_batched_tokens: 10 });
  const events: string[] = [];
  const follow = async (name: string, length: number, max_tokens: number): Promise<void> => {
    for await (const { type } of generator.submit({ prompt_ids: tokens(length), sampling: greedy(max_tokens) })) events.push(`${name} ${type}`);
  };
  await Promise.all([follow("short", 2, 25), follow("long", 300, 1)]);
  // 300 tokens take more than 25 steps of 10.
  expect(events.indexOf("short finish")).toBeLessThan(events.indexOf("long token"));
});

test("whoever asks for much waits for himself: another user's request comes next", async () => {
  const generator = new Generator(new FakeRunner(1, 40), {});
  const order: string[] = [];
  const ask = (user: string): Promise<unknown> => generator.generate([{ prompt_ids: [1, 2], sampling: greedy(3), user }], () => order.push(user));
  await Promise.all([...Array.from({ length: 6 }, () => ask("many")), ask("one"), ask("two")]);
  expect(order.slice(0, 3)).toEqual(expect.arrayContaining(["many", "one", "two"]));
});

describe("what a prefix costs the second time", () => {
  const request = (prompt_ids: number[], more: Partial<EngineRequest> = {}): EngineRequest => ({ prompt_ids, sampling: greedy(4), ...more });
  const setup = () => {
    const runner = new FakeRunner(4, 80);
    return { runner, generator: new Generator(runner, {}, { kv_cache_memory_bytes: 2 ** 16, block_size: 4 }) };
  };

  test("whole blocks are found, the last two tokens of a prompt are always computed", async () => {
    const { generator } = setup();
    expect(await finishOf(generator, request(tokens(21)))).toMatchObject({ prompt_tokens: 21, cached_tokens: 0 });
    expect(await finishOf(generator, request(tokens(22)))).toMatchObject({ cached_tokens: 20 });
    expect(await finishOf(generator, request(tokens(21)))).toMatchObject({ cached_tokens: 16 });
    expect(await finishOf(generator, request([...tokens(10), 5, 5, 5]))).toMatchObject({ cached_tokens: 8 });
    expect(generator.stats()).toMatchObject({ prefix_cache_queries: 21 + 22 + 21 + 13, prefix_cache_hits: 20 + 16 + 8 });
  });

  test("a conversation that goes on finds the prompt before", async () => {
    const { generator } = setup();
    const { token_ids } = (await generator.generate([request(tokens(10))]))[0]!;
    expect(await finishOf(generator, request([...tokens(10), ...token_ids, 1, 2]))).toMatchObject({ cached_tokens: 8 });
    expect(await finishOf(generator, request([...tokens(10), ...token_ids, 1, 3, 3]))).toMatchObject({ cached_tokens: 12 });
  });

  test("another salt finds nothing, at any time", async () => {
    const { generator } = setup();
    await finishOf(generator, request(tokens(21)));
    expect(await finishOf(generator, request(tokens(21), { cache_salt: "b" }))).toMatchObject({ cached_tokens: 0 });
    const together = await Promise.all(["c", "d", "c"].map((cache_salt) => finishOf(generator, request(tokens(21, 1), { cache_salt }))));
    expect(together.map((f) => f.cached_tokens)).toEqual([0, 0, 20]);
  });

  test("a group's prompt is computed once", async () => {
    const runner = new FakeRunner(8, 80);
    const group = Array.from({ length: 8 }, (_, seed) => ({ prompt_ids: tokens(40), sampling: { seed, max_tokens: 5 } }));
    await new Generator(runner, {}).generate(group);
    expect(runner.runs.filter((n) => n > 8)).toEqual([40]);
  });

  test("new parameters compute everything anew", async () => {
    const { generator } = setup();
    await finishOf(generator, request(tokens(21)));
    generator.useParameters({});
    expect(await finishOf(generator, request(tokens(21)))).toMatchObject({ cached_tokens: 0 });
  });
});

test("guesses are counted, and taken where a text repeats itself", async () => {
  const runner = new FakeRunner(1, 80);
  const repeating = { mask: (into: Uint32Array) => into.fill(1 << 2), accept: () => {} };
  const generator = new Generator(runner, {}, { speculative: { method: "ngram", num_speculative_tokens: 3 } });
  const [said] = await generator.generate([{ prompt_ids: [1, 2, 2, 2], sampling: greedy(41), constraint: repeating }]);
  expect(said!.token_ids).toEqual(Array.from({ length: 41 }, () => 2));
  const { spec_decode_num_drafts: drafts, spec_decode_num_draft_tokens: guessed, spec_decode_num_accepted_tokens: taken } = generator.stats();
  expect([drafts, guessed, taken]).toEqual([runner.runs.length - 1, taken, 41 - 1 - drafts]);
  expect(runner.runs.length).toBeLessThan(15);
});

test("an aborted sequence's row is free at the next step", async () => {
  const generator = new Generator(new FakeRunner(1, 60), {});
  const abort = new AbortController();
  let said = 0;
  const first = (async () => {
    for await (const event of generator.submit({ prompt_ids: [1], sampling: greedy(50), signal: abort.signal })) {
      if (event.type === "finish") return event.reason;
      if (++said === 3) abort.abort();
    }
  })();
  const second = generator.submit({ prompt_ids: [2], sampling: greedy(1) })[Symbol.asyncIterator]();
  expect((await second.next()).value).toMatchObject({ type: "token" });
  expect(await first).toBe("abort");
  // The step that was under way may have said one more.
  expect(said).toBeLessThanOrEqual(5);
});
