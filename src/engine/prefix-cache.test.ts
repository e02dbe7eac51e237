import fc from "fast-check";
import { expect, test } from "vitest";
import { PrefixCache } from "./prefix-cache.ts";

const block_size = 2;
const caches = fc.record({ blocks: fc.integer({ min: 0, max: 6 }) }).map(({ blocks }) => new PrefixCache({ block_size, floatsPerToken: 1, bytes: blocks * block_size * 4 }));
// Few tokens and namespaces, so that prefixes are often shared.
const sequence = fc.record({ namespace: fc.constantFrom("", "0", "a"), tokens: fc.array(fc.nat(2), { maxLength: 10 }) });

/** What the model would compute of a token: it depends on all before it, and on the namespace. */
const meaning = (namespace: string, tokens: readonly number[], at: number): number => [...`${namespace}/${tokens.slice(0, at + 1).join()}`].reduce((hash, c) => (hash * 31 + c.charCodeAt(0)) % 65521, 7);

test("a hit is the very prefix that was stored, in its own namespace, within the memory", () => {
  fc.assert(
    fc.property(caches, fc.array(sequence, { maxLength: 20 }), (cache, sequences) => {
      const stored = new Set<string>();
      for (const { namespace, tokens } of sequences) {
        const found = cache.match(namespace, tokens);
        for (const [i, block] of found.entries()) {
          expect(stored.has(JSON.stringify([namespace, tokens.slice(0, (i + 1) * block_size)]))).toBe(true);
          expect([...block]).toEqual([0, 1].map((j) => meaning(namespace, tokens, i * block_size + j)));
        }
        cache.store(namespace, tokens, (start, into) => into.set([meaning(namespace, tokens, start), meaning(namespace, tokens, start + 1)]));
        for (let n = block_size; n <= tokens.length; n += block_size) stored.add(JSON.stringify([namespace, tokens.slice(0, n)]));
        const capacity = Math.floor((cache.blocks * 4 * block_size) / (4 * block_size));
        expect(cache.match(namespace, tokens).length).toBeLessThanOrEqual(capacity);
      }
    }),
  );
});

test("what has room is found whole, and nothing after clear", () => {
  fc.assert(
    fc.property(fc.array(sequence, { maxLength: 5 }), (sequences) => {
      const cache = new PrefixCache({ block_size, floatsPerToken: 1, bytes: 2 ** 16 });
      for (const { namespace, tokens } of sequences) cache.store(namespace, tokens, () => {});
      for (const { namespace, tokens } of sequences) expect(cache.match(namespace, tokens)).toHaveLength(Math.floor(tokens.length / block_size));
      cache.clear();
      for (const { namespace, tokens } of sequences) expect(cache.match(namespace, tokens)).toHaveLength(0);
    }),
  );
});

test("the prefix that was used longest ago makes room", () => {
  const cache = new PrefixCache({ block_size, floatsPerToken: 1, bytes: 3 * block_size * 4 });
  const store = (tokens: number[]): void => cache.store("", tokens, () => {});
  store([1, 1, 2, 2]);
  store([3, 3]);
  cache.match("", [1, 1, 2, 2]);
  store([4, 4]);
  expect(cache.match("", [3, 3])).toHaveLength(0);
  expect(cache.match("", [1, 1, 2, 2])).toHaveLength(2);
  // A chain loses its end before its beginning.
  cache.match("", [4, 4]);
  store([5, 5]);
  expect(cache.match("", [1, 1, 2, 2])).toHaveLength(1);
});
