import fc from "fast-check";
import { expect, test } from "vitest";
import { paddedRuns, piecesOf, wantedOf, type Chunk } from "./chunk.ts";

const chunk = fc.record({ length: fc.oneof(fc.constantFrom(0, 1), fc.nat(9)), past: fc.oneof(fc.constant(0), fc.nat(9)) }).map(({ length, past }): Chunk => ({ token_ids: Array.from({ length }, (_, t) => 100 * length + t + 1), past }));

test("every token is in one run, in the row that it was for", () => {
  fc.assert(
    fc.property(fc.array(chunk, { minLength: 1, maxLength: 9 }), (chunks) => {
      const runs = paddedRuns(chunks);
      const computed = runs.flatMap(({ first, chunks }) => chunks.flatMap((own, i) => (wantedOf(own) > 0 ? [[first + i, own] as const] : [])));
      expect(computed.toSorted(([a], [b]) => a - b)).toEqual(chunks.flatMap((own, row) => (own.token_ids.length > 0 ? [[row, own] as const] : [])));
    }),
  );
});

test("each is one that kernels take: one row, one token of each, or the first tokens of rows of like length", () => {
  fc.assert(
    fc.property(fc.array(chunk, { minLength: 1, maxLength: 9 }), (chunks) => {
      for (const { chunks: own } of paddedRuns(chunks)) {
        const lengths = own.map(({ token_ids }) => token_ids.length);
        const longest = Math.max(...lengths);
        expect(own.length === 1 || longest === 1 || own.every(({ past }, i) => past === 0 && lengths[i]! >= longest / 2)).toBe(true);
      }
    }),
  );
});

test("what stands in for a row without a token is overwritten by its own", () => {
  fc.assert(
    fc.property(fc.array(chunk, { minLength: 1, maxLength: 9 }), (chunks) => {
      const written = chunks.map(() => new Map<number, number>());
      for (const { first, chunks: own } of paddedRuns(chunks)) for (const [i, { token_ids, past }] of own.entries()) token_ids.forEach((id, t) => written[first + i]!.set(past + t, id));
      for (const [row, { token_ids, past }] of chunks.entries()) expect(token_ids.map((_, t) => written[row]!.get(past + t))).toEqual(token_ids);
    }),
  );
});

test("pieces follow one another, and the last has all that logits are wanted of", () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 1500 }), fc.nat(50), fc.nat(1500), (length, past, wanted) => {
      const token_ids = Array.from({ length }, (_, t) => t);
      const pieces = piecesOf({ token_ids, past, wanted });
      expect(pieces.flatMap((piece) => piece.token_ids)).toEqual(token_ids);
      expect(pieces.map((piece) => piece.past - past)).toEqual(pieces.map((piece) => piece.token_ids[0]));
      expect(pieces.map(wantedOf)).toEqual([...pieces.slice(1).map(() => 0), Math.min(length, wanted)]);
    }),
  );
});
