import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { FakeRunner } from "../../test/fake-runner.ts";
import { Generator, type GeneratorOptions } from "./generator.ts";
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
const setups = fc.record({ max_num_seqs: fc.integer({ min: 1, max: 5 }), extra: fc.integer({ min: 1, max: 30 }), block_size: fc.integer({ min: 1, max: 5 }), kv_cache_memory_bytes: fc.constantFrom(0, 64, 4096) });

const alone = async (request: EngineRequest) => (await new Generator(new FakeRunner(1, max_model_len), {}).generate([request]))[0]!;

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
        for (const batch of [first, second]) expect(await generator.generate(batch)).toEqual(await Promise.all(batch.map(alone)));
        expect(generator.stats()).toMatchObject({ num_requests_running: 0, num_requests_waiting: 0, kv_cache_usage_perc: 0 });
      }),
      { numRuns: 150 },
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
        expect(await results).toEqual(await Promise.all(kept.map(alone)));
        expect(generator.stats().num_requests_running).toBe(0);
      }),
      { numRuns: 60 },
    );
  });
});
