import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { readFixture } from "../../test/fixtures.ts";
import { random } from "../random/index.ts";
import type { Random } from "../random/index.ts";
import { processLogits, sample, samplerScratch } from "./sampler.ts";
import type { TokenHistory } from "./sampler.ts";
import { checkSamplingParams } from "./sampling-params.ts";
import type { SamplingParams } from "./types.ts";

interface SamplingFixture {
  readonly logits: number[][];
  readonly previous_ids: number[][];
  readonly cases: {
    readonly params: Omit<SamplingParams, "max_tokens">;
    readonly processed_logits: (number | null)[][];
    readonly probs: number[][];
    readonly kept: number[];
  }[];
}

const golden = readFixture<SamplingFixture>("numeric", "sampling.json");
const nothing: TokenHistory = { prompt: new Set(), completion: new Map() };

function historyOf(ids: readonly number[], split: number): TokenHistory {
  const completion = new Map<number, number>();
  for (const id of ids.slice(split)) completion.set(id, (completion.get(id) ?? 0) + 1);
  return { prompt: new Set(ids.slice(0, split)), completion };
}

function softmax(scores: readonly number[]): number[] {
  const top = Math.max(...scores);
  const weights = scores.map((score) => Math.exp(score - top));
  const total = weights.reduce((a, b) => a + b);
  return weights.map((weight) => weight / total);
}

/** The rules said slowly: sort everything, walk down, no memory reused. */
function reference(logits: readonly number[], params: SamplingParams, history: TokenHistory): number[] {
  const { temperature = 1, top_k = 0, top_p = 1, min_p = 0, repetition_penalty = 1 } = params;
  let scores = logits.map((logit, id) => {
    const count = history.completion.get(id) ?? 0;
    let score = logit + (params.logit_bias?.get(id) ?? 0);
    if (count > 0 || history.prompt.has(id)) score = score > 0 ? score / repetition_penalty : score * repetition_penalty;
    score -= (params.frequency_penalty ?? 0) * count + (count > 0 ? (params.presence_penalty ?? 0) : 0);
    return score / temperature;
  });
  if (top_k > 0) {
    const kth = [...scores].sort((a, b) => b - a)[Math.min(top_k, scores.length) - 1] as number;
    scores = scores.map((score) => (score < kth ? -Infinity : score));
  }
  if (top_p < 1) {
    const probs = softmax(scores);
    const order = [...probs.keys()].sort((a, b) => (probs[b] as number) - (probs[a] as number) || b - a);
    let before = 0;
    const kept = new Set<number>();
    for (const id of order) {
      if (kept.size > 0 && before >= top_p) break;
      kept.add(id);
      before += probs[id] as number;
    }
    scores = scores.map((score, id) => (kept.has(id) ? score : -Infinity));
  }
  const best = Math.max(...softmax(scores));
  return softmax(scores).map((p, id) => (p < min_p * best ? -Infinity : (scores[id] as number)));
}

/** A source of randomness that says what it is told, and counts. */
function scripted(value: number): Random & { draws: number } {
  const source = { ...random("scripted"), draws: 0, next: () => (source.draws++, value) };
  return source;
}

/** Equal, or apart: of two that differ in the last bit, an exponential may make equals, and each of two rightly other ones. */
const logitsOf = (max: number) => fc.array(fc.integer({ min: -12 * 2 ** 20, max: 12 * 2 ** 20 }).map((n) => n / 2 ** 20), { minLength: 2, maxLength: max });
const params = fc.record(
  {
    temperature: fc.double({ min: 0.2, max: 2, noNaN: true }),
    top_k: fc.integer({ min: 0, max: 40 }),
    // A prime: no sum of equal shares is n / 997, and so rounding never decides where the nucleus ends.
    top_p: fc.integer({ min: 50, max: 997 }).map((n) => n / 997),
    min_p: fc.double({ min: 0, max: 0.9, noNaN: true }),
    repetition_penalty: fc.double({ min: 0.5, max: 2, noNaN: true }),
    presence_penalty: fc.double({ min: -2, max: 2, noNaN: true }),
    frequency_penalty: fc.double({ min: -2, max: 2, noNaN: true }),
    max_tokens: fc.constant(1),
  },
  { requiredKeys: ["max_tokens"] },
);

describe("processLogits against transformers", () => {
  const scratch = samplerScratch((golden.logits[0] as number[]).length);
  test.each(golden.cases.map((one) => [JSON.stringify(one.params), one] as const))("%s", (_, one) => {
    golden.logits.forEach((row, r) => {
      const ids = golden.previous_ids[r] as number[];
      const history = historyOf(ids, 3);
      const got = [...processLogits(Float32Array.from(row), { ...one.params, max_tokens: 1 }, history, scratch)];
      expect(got.filter((score) => score > -Infinity).length).toBe(one.kept[r]);
      (one.processed_logits[r] as (number | null)[]).forEach((want, id) => {
        if (want === null) expect(got[id]).toBe(-Infinity);
        else expect(Math.abs((got[id] as number) - want)).toBeLessThan(1e-5);
      });
      softmax(got).forEach((p, id) => expect(Math.abs(p - (one.probs[r]?.[id] as number))).toBeLessThan(1e-5));
    });
  });
});

describe("processLogits against the slow reference", () => {
  test("any parameters, any logits", () => {
    fc.assert(
      fc.property(logitsOf(60), params, fc.array(fc.nat(59)), fc.nat(10), (row, some, ids, split) => {
        const logits = Float32Array.from(row);
        const history = historyOf(ids.filter((id) => id < row.length), split);
        const biased = { ...some, logit_bias: new Map([[1, 0.5]]) };
        const got = [...processLogits(logits, biased, history, samplerScratch(row.length))];
        const want = reference([...logits], biased, history);
        got.forEach((score, id) => {
          if (want[id] === -Infinity) expect(score).toBe(-Infinity);
          else expect(score).toBeCloseTo(want[id] as number, 9);
        });
      }),
      { numRuns: 500 },
    );
  });

  test("ties: all equal to the k-th stay, the nucleus keeps the higher ids", () => {
    const tied = Float32Array.from([1, 0, 1, 1, 0, -5]);
    const kept = (some: Partial<SamplingParams>): number[] =>
      [...processLogits(tied, { max_tokens: 1, ...some }, nothing, samplerScratch(6)).entries()].filter(([, s]) => s > -Infinity).map(([id]) => id);
    expect(kept({ top_k: 2 })).toEqual([0, 2, 3]);
    expect(kept({ top_k: 4 })).toEqual([0, 1, 2, 3, 4]);
    expect(kept({ top_p: 0.3 })).toEqual([2, 3]);
    expect(kept({ top_p: 1e-9 })).toEqual([3]);
  });
});

describe("sample", () => {
  test("the fast path draws what the filtered path draws", () => {
    fc.assert(
      fc.property(logitsOf(50), fc.double({ min: 0.3, max: 2, noNaN: true }), fc.double({ min: 0, max: 0.999, noNaN: true }), (row, temperature, u) => {
        const logits = Float32Array.from(row);
        const scratch = samplerScratch(row.length);
        const plain = sample(logits, { max_tokens: 1, temperature }, nothing, scripted(u), scratch);
        // A bias of nothing sends the same distribution through the other path.
        const shaped = sample(logits, { max_tokens: 1, temperature, logit_bias: new Map([[0, 0]]) }, nothing, scripted(u), scratch);
        expect(shaped.token_id).toBe(plain.token_id);
        expect(shaped.logprob).toBeCloseTo(plain.logprob, 10);
      }),
    );
  });

  test("frequencies follow the processed distribution, log-probabilities the unprocessed one", () => {
    const logits = Float32Array.from([0.3, 1.5, -0.7, 2.1, 0.9]);
    const some: SamplingParams = { max_tokens: 1, temperature: 0.8, top_k: 4, top_p: 0.95 };
    const scratch = samplerScratch(5);
    const want = softmax([...processLogits(logits, some, nothing, scratch)]);
    const raw = softmax([...logits]).map(Math.log);
    const source = random("frequencies");
    const counts = [0, 0, 0, 0, 0];
    const draws = 20_000;
    for (let i = 0; i < draws; i++) {
      const { token_id, logprob } = sample(logits, some, nothing, source, scratch);
      counts[token_id] = (counts[token_id] as number) + 1;
      expect(logprob).toBeCloseTo(raw[token_id] as number, 10);
    }
    // Five standard errors: about one run in a million would fail by chance, and the seed is fixed.
    counts.forEach((count, id) => {
      const p = want[id] as number;
      expect(Math.abs(count / draws - p)).toBeLessThanOrEqual(5 * Math.sqrt((p * (1 - p)) / draws));
    });
  });

  test("greedy takes the lowest id among equals, obeys penalties, and draws nothing", () => {
    const logits = Float32Array.from([0, 3, 1, 3]);
    const source = scripted(0.99);
    const scratch = samplerScratch(4);
    expect(sample(logits, { max_tokens: 1, temperature: 0, top_k: 2 }, nothing, source, scratch).token_id).toBe(1);
    expect(sample(logits, { max_tokens: 1, temperature: 0, repetition_penalty: 4 }, historyOf([1, 3], 1), source, scratch).token_id).toBe(2);
    expect(source.draws).toBe(0);
  });

  test("a mask: only its tokens are drawn, as if the others were at -inf, and log-probabilities stay as they were", () => {
    fc.assert(
      fc.property(logitsOf(70), params, fc.double({ min: 0, max: 0.999, noNaN: true }), fc.array(fc.nat(69), { minLength: 1 }), (row, some, u, ids) => {
        const allowed = new Set(ids.map((id) => id % row.length));
        const mask = new Uint32Array(Math.ceil(row.length / 32));
        for (const id of allowed) mask[id >> 5] = (mask[id >> 5] as number) | (1 << (id & 31));
        const scratch = samplerScratch(row.length);
        const masked = sample(Float32Array.from(row), some, nothing, scripted(u), scratch, mask);
        const removed = sample(Float32Array.from(row, (logit, id) => (allowed.has(id) ? logit : -Infinity)), some, nothing, scripted(u), scratch);
        expect(allowed).toContain(masked.token_id);
        expect(masked.token_id).toBe(removed.token_id);
        const logits = Float32Array.from(row);
        expect(masked.logprob).toBeCloseTo(Math.log(softmax([...logits])[masked.token_id] as number), 6);
      }),
    );
    for (const temperature of [0, 1])
      expect(() => sample(Float32Array.from([0, 1]), { max_tokens: 1, temperature }, nothing, scripted(0.5), samplerScratch(2), new Uint32Array(1))).toThrow(expect.objectContaining({ code: "runtime" }));
  });

  test("the ends of the unit interval draw a token that has probability", () => {
    const logits = Float32Array.from([-Infinity, 0, 1, -Infinity]);
    for (const u of [0, 1 - 2 ** -53]) {
      const { token_id, logprob } = sample(logits, { max_tokens: 1 }, nothing, scripted(u), samplerScratch(4));
      expect(token_id).toBe(u === 0 ? 1 : 2);
      expect(Number.isFinite(logprob)).toBe(true);
    }
  });

  test("top_logprobs are the largest, best first, lower id first among equals", () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: -3, max: 3 }), { minLength: 2, maxLength: 40 }), fc.integer({ min: 1, max: 20 }), (row, count) => {
        const { top_logprobs } = sample(Float32Array.from(row), { max_tokens: 1, top_logprobs: count }, nothing, scripted(0.5), samplerScratch(row.length));
        const logprobs = softmax(row).map(Math.log);
        const order = [...row.keys()].sort((a, b) => (row[b] as number) - (row[a] as number) || a - b).slice(0, count);
        expect(top_logprobs?.map((one) => one.token_id)).toEqual(order);
        top_logprobs?.forEach((one) => expect(one.logprob).toBeCloseTo(logprobs[one.token_id] as number, 9));
      }),
    );
  });

  test.each([
    ["NaN", [0, NaN, 1], {}],
    ["NaN first", [NaN, 0, 1], {}],
    ["NaN and greedy", [0, NaN, 1], { temperature: 0 }],
    ["NaN under top-k", [0, NaN, 1], { top_k: 2 }],
    ["NaN under top-p", [0, NaN, 1], { top_p: 0.5 }],
    ["+inf", [0, Infinity, 1], {}],
    ["nothing allowed", [-Infinity, -Infinity], {}],
    ["nothing allowed under top-k", [-Infinity, -Infinity, -Infinity], { top_k: 2 }],
  ])("%s is a runtime error", (_, row, some) => {
    const call = (): unknown => sample(Float32Array.from(row), { max_tokens: 1, ...some }, nothing, scripted(0.5), samplerScratch(row.length));
    expect(call).toThrow(expect.objectContaining({ code: "runtime" }));
  });
});

describe("a tiny temperature", () => {
  test.each([5e-324, 1e-308])("draws the most likely token, whatever the filters (%s)", (temperature) => {
    const rows = fc.uniqueArray(fc.integer({ min: -100, max: 100 }), { minLength: 2, maxLength: 12 });
    fc.assert(
      fc.property(rows, fc.constantFrom({ top_p: 0.9 }, { top_k: 2 }, { min_p: 0.1 }, { presence_penalty: 0.1 }, {}), (row, filter) => {
        const { token_id } = sample(Float32Array.from(row), { max_tokens: 1, temperature, ...filter }, nothing, scripted(0.5), samplerScratch(row.length));
        expect(token_id).toBe(row.indexOf(Math.max(...row)));
      }),
    );
  });
});

describe("checkSamplingParams", () => {
  test("everything the sampler is tested on passes", () => {
    fc.assert(fc.property(params, (some) => checkSamplingParams(some, 10)));
  });

  test.each([
    { temperature: -1 }, { temperature: NaN }, { top_k: 1.5 }, { top_k: -1 }, { top_p: 0 }, { top_p: 1.1 }, { min_p: -0.1 },
    { repetition_penalty: 0 }, { repetition_penalty: 5e-324 }, { presence_penalty: 3 }, { frequency_penalty: -3 }, { max_tokens: 0 }, { top_logprobs: 21 },
    { logit_bias: new Map([[10, 1]]) }, { logit_bias: new Map([[1, 101]]) }, { stop_token_ids: [10] },
  ])("%o is refused", (some) => {
    expect(() => checkSamplingParams({ max_tokens: 1, ...some }, 10)).toThrow(expect.objectContaining({ code: "bad_argument" }));
  });
});

test("without log-probabilities the same tokens are drawn, by the same numbers", () => {
  const scratch = samplerScratch(40);
  fc.assert(
    fc.property(fc.array(fc.float({ min: -20, max: 20, noNaN: true }), { minLength: 40, maxLength: 40 }), fc.constantFrom(0, 0.6, 1), fc.constantFrom(1, 0.9), fc.nat(), (row, temperature, top_p, seed) => {
      const logits = Float32Array.from(row);
      const [a, b] = [random("draws", seed), random("draws", seed)];
      for (let i = 0; i < 4; i++) {
        const [told, silent] = [sample(logits, { temperature, top_p, max_tokens: 4 }, nothing, a, scratch), sample(logits, { temperature, top_p, max_tokens: 4, logprobs: false }, nothing, b, scratch)];
        expect(silent).toEqual({ token_id: told.token_id, logprob: NaN });
      }
      expect(b.next()).toBe(a.next());
    }),
  );
});

test.each([NaN, Infinity, -Infinity])("logits of %s are refused without log-probabilities too", (value) => {
  expect(() => sample(new Float32Array(40).fill(value), { temperature: 0, max_tokens: 1, logprobs: false }, nothing, random("x"), samplerScratch(40))).toThrow("no distribution");
});
