import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { FakeRunner } from "../../test/fake-runner.ts";
import { Generator } from "./generator.ts";
import type { Continuation, EngineRequest, Turn } from "./types.ts";

const max_model_len = 80;
const script = fc.array(fc.record({ token_ids: fc.array(fc.nat(5), { maxLength: 7 }), max_tokens: fc.integer({ min: 1, max: 6 }), turns: fc.nat(12) }), { maxLength: 3 });
type Script = readonly (Continuation & { readonly turns: number })[];
const conversations = fc.array(
  fc.record({
    prompt_ids: fc.oneof(fc.array(fc.nat(1), { minLength: 1, maxLength: 12 }), fc.array(fc.constant(3), { minLength: 1, maxLength: 12 })),
    sampling: fc.record({ seed: fc.nat(3), max_tokens: fc.integer({ min: 1, max: 8 }), temperature: fc.constantFrom(0, 1), stop_token_ids: fc.constantFrom([], [5]) }),
    script: fc.option(script, { nil: undefined }),
  }),
  { minLength: 1, maxLength: 8 },
);
const setups = fc.record({ max_num_seqs: fc.integer({ min: 1, max: 5 }), extra: fc.integer({ min: 2, max: 30 }), block_size: fc.integer({ min: 1, max: 5 }), kv_cache_memory_bytes: fc.constantFrom(0, 4096), blocking: fc.boolean() });

const eventLoopTurns = async (count: number): Promise<void> => {
  for (let i = 0; i < count; i++) await new Promise((resolve) => setImmediate(resolve));
};

/** A request whose turns are followed by a script, each part of which comes after a while. */
function requestOf({ script: parts, ...request }: { readonly prompt_ids: number[]; readonly sampling: EngineRequest["sampling"]; readonly script?: Script | undefined }): EngineRequest {
  if (!parts) return request;
  let at = 0;
  return {
    ...request,
    next: async () => {
      const part = parts[at++];
      await eventLoopTurns(part?.turns ?? 0);
      return part ?? null;
    },
  };
}

const greedy = (max_tokens: number, more: Partial<EngineRequest["sampling"]> = {}): EngineRequest["sampling"] => ({ temperature: 0, max_tokens, ...more });
const tokens = (length: number, seed = 0): number[] => Array.from({ length }, (_, i) => (i * 7 + seed) % 6);
const sum = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0);
const once = (more: Continuation): NonNullable<EngineRequest["next"]> => {
  let asked = 0;
  return () => (asked++ === 0 ? more : null);
};

describe("a sequence of several turns", () => {
  test.each([false, true])("says what it would say alone, whatever runs beside it and however long it waits (bits that differ: %s)", async (sensitive) => {
    const alone = async (request: EngineRequest) => (await new Generator(new FakeRunner(1, max_model_len, sensitive), {}).generate([request]))[0]!;
    await fc.assert(
      fc.asyncProperty(conversations, setups, async (asked, { max_num_seqs, extra, ...options }) => {
        const generator = new Generator(new FakeRunner(max_num_seqs, max_model_len, sensitive), {}, { ...options, max_num_batched_tokens: max_num_seqs + extra });
        expect(await generator.generate(asked.map(requestOf))).toEqual(await Promise.all(asked.map((one) => alone(requestOf(one)))));
        expect(generator.stats()).toMatchObject({ num_requests_running: 0, num_requests_waiting: 0 });
      }),
      { numRuns: 100 },
    );
  });

  test("keeps every token as it was said or given, and says which is which", async () => {
    const turns: Turn[] = [];
    const given = [{ token_ids: [1, 2, 3], max_tokens: 2 }, { token_ids: [4], max_tokens: 3 }];
    const [completion] = await new Generator(new FakeRunner(1, max_model_len), {}).generate([{ prompt_ids: tokens(5), sampling: greedy(4), next: (turn) => given[turns.push(turn) - 1] ?? null }]);
    const { token_ids, logprobs, tool_mask, finish_reason } = completion!;
    expect(tool_mask).toEqual([1, 1, 1, 1, 0, 0, 0, 1, 1, 0, 1, 1, 1]);
    expect(token_ids).toEqual([...turns[0]!.token_ids, 1, 2, 3, ...turns[1]!.token_ids, 4, ...turns[2]!.token_ids]);
    expect(logprobs.map((value) => value < 0)).toEqual(tool_mask!.map((said) => said === 1));
    expect([finish_reason, turns.map((t) => t.finish_reason)]).toEqual(["length", ["length", "length", "length"]]);
  });

  test("goes on as a prompt of all that went before would", async () => {
    const [whole] = await new Generator(new FakeRunner(1, max_model_len), {}).generate([{ prompt_ids: tokens(9), sampling: greedy(5), next: once({ token_ids: [2, 2, 4], max_tokens: 6 }) }]);
    const before = [...tokens(9), ...whole!.token_ids.slice(0, 8)];
    const [read] = await new Generator(new FakeRunner(1, max_model_len), {}).generate([{ prompt_ids: before, sampling: greedy(6) }]);
    expect(whole!.token_ids.slice(8)).toEqual(read!.token_ids);
  });

  test("computes no token twice: the prompt, what is given, and what is said but the last", async () => {
    const runner = new FakeRunner(1, max_model_len);
    const [said] = await new Generator(runner, {}).generate([{ prompt_ids: tokens(20), sampling: greedy(5), next: once({ token_ids: tokens(11), max_tokens: 4 }) }]);
    expect(sum(runner.runs)).toBe(20 + said!.token_ids.length - 1);
    // Prompt, then one at a time, then what was given behind the token that ended the turn.
    expect(runner.runs).toEqual([20, 1, 1, 1, 1, 12, 1, 1, 1]);
  });

  test("shares its prompt with another that comes while it reads what was given, and not what follows the prompt", async () => {
    const request = { prompt_ids: tokens(18), sampling: greedy(6) };
    const [want] = await new Generator(new FakeRunner(1, max_model_len), {}).generate([request]);
    const runner = new FakeRunner(2, max_model_len);
    // On this thread: what `next` gives and whom it asks are heard in one step.
    const generator = new Generator(runner, {}, { block_size: 2, blocking: true });
    let other = generator.generate([]);
    const next = (): Continuation | null => {
      if (runner.runs.length > 3) return null;
      other = generator.generate([request]);
      return { token_ids: tokens(9), max_tokens: 3 };
    };
    await generator.generate([{ ...request, sampling: greedy(2), next }]);
    expect(await other).toEqual([want]);
    // Eighteen of the prompt, once; the other computes the last two for their logits.
    expect(runner.runs.filter((n) => n > 3)).toEqual([18, 10]);
  });
});

describe("while one waits", () => {
  test("others go on", async () => {
    const order: string[] = [];
    let answer: (value: null) => void = () => {};
    const generator = new Generator(new FakeRunner(2, max_model_len), {});
    const waits = generator.generate([{ prompt_ids: [1, 2], sampling: greedy(2), next: () => new Promise((resolve) => (answer = resolve)) }]).then(() => order.push("waits"));
    const goes = generator.generate([{ prompt_ids: [1, 3], sampling: greedy(30) }, { prompt_ids: [2, 3], sampling: greedy(9) }]).then(() => order.push("goes"));
    await goes;
    answer(null);
    await waits;
    expect(order).toEqual(["goes", "waits"]);
  });

  test("it can be given up, which frees its row, and what comes later is not heard", async () => {
    const abort = new AbortController();
    const generator = new Generator(new FakeRunner(1, max_model_len), {});
    let answer: (value: Continuation) => void = () => {};
    const asked = new Promise<void>((reached) => {
      void generator
        .generate([{ prompt_ids: [1, 2], sampling: greedy(2), signal: abort.signal, next: () => (reached(), new Promise((resolve) => (answer = resolve))) }])
        .then(([given]) => expect(given!.finish_reason).toBe("abort"));
    });
    await asked;
    expect(generator.stats().num_requests_running).toBe(1);
    const other = generator.generate([{ prompt_ids: [1, 2], sampling: greedy(3) }]);
    abort.abort();
    answer({ token_ids: [1], max_tokens: 1 });
    expect((await other)[0]!.token_ids).toHaveLength(3);
    expect(generator.stats().num_requests_running).toBe(0);
  });
});

test("conversations that share a signal listen to it once", async () => {
  const { signal } = new AbortController();
  let listeners = 0;
  const add = signal.addEventListener.bind(signal);
  signal.addEventListener = (...args: Parameters<typeof add>): void => {
    listeners++;
    add(...args);
  };
  const ask = (): EngineRequest => ({ prompt_ids: [1, 2], sampling: greedy(2), signal, next: once({ token_ids: [1], max_tokens: 2 }) });
  await new Generator(new FakeRunner(4, max_model_len), {}).generate(Array.from({ length: 30 }, ask));
  expect(listeners).toBe(1);
});

describe("a sequence fails alone", () => {
  test.each([
    ["where what follows fails", () => Promise.reject(new RangeError("broken tool")), { name: "RangeError" }],
    ["where that does not fit", () => ({ token_ids: tokens(max_model_len), max_tokens: 1 }), { code: "too_large" }],
    ["where nothing may be said after it", () => ({ token_ids: [1], max_tokens: 0 }), { code: "too_large" }],
  ] as const)("%s", async (_, next, error) => {
    const generator = new Generator(new FakeRunner(2, max_model_len), {});
    const [bad, good] = await Promise.allSettled([generator.generate([{ prompt_ids: [1, 2], sampling: greedy(2), next }]), generator.generate([{ prompt_ids: [1, 2], sampling: greedy(20) }])]);
    expect(bad).toMatchObject({ status: "rejected", reason: error });
    expect(good.status).toBe("fulfilled");
    expect(generator.stats().num_requests_running).toBe(0);
  });

  test("with a constraint, which has no second turn", async () => {
    const constraint = { mask: (into: Uint32Array) => into.fill(0xffffffff), accept: () => {} };
    await expect(new Generator(new FakeRunner(1, max_model_len), {}).generate([{ prompt_ids: [1], sampling: greedy(1), constraint, next: () => null }])).rejects.toMatchObject({ code: "bad_argument" });
  });
});
