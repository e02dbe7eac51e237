import fc from "fast-check";
import { expect, test } from "vitest";
import { TokenBucket } from "./token-bucket.ts";

test("in any time no more is let through than a minute's worth and what that time refills", () => {
  const gaps = fc.array(fc.double({ min: 0, max: 30_000, noNaN: true }), { maxLength: 300 });
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 100 }), gaps, (perMinute, waits) => {
      const bucket = new TokenBucket(perMinute, 0);
      let now = 0;
      const taken: number[] = [];
      for (const wait of waits) {
        now += wait;
        if (bucket.wait(1, perMinute, now) > 0) continue;
        bucket.take(1);
        taken.push(now);
      }
      for (const [from, start] of taken.entries())
        for (const [to, end] of taken.entries()) if (to > from) expect(to - from + 1).toBeLessThanOrEqual(perMinute + ((end - start) / 60_000) * perMinute + 1e-3);
    }),
    { numRuns: 100 },
  );
});

test("who waits as long as was asked is let in, after any debt", () => {
  const debts = fc.array(fc.double({ min: 0, max: 1e6, noNaN: true }), { minLength: 1, maxLength: 10 });
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 1e6 }), debts, (perMinute, amounts) => {
      const bucket = new TokenBucket(perMinute, 0);
      for (const amount of amounts) bucket.take(amount);
      expect(bucket.wait(1, perMinute, bucket.wait(1, perMinute, 0))).toBe(0);
    }),
  );
});
