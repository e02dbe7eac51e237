import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { openBackend } from "../src/runtime/index.ts";
import { packTexts } from "../src/text/packed-texts.ts";
import { firstNotPair, TextTable } from "../src/text/text-table.ts";
import { nearTexts } from "./near-texts.ts";

const backend = await openBackend("cpu");
const kernel = (await backend.hasOwnKernels()) ? backend.ownFunctions()!.textTables : null;

// Of few characters, so that texts meet; of one to four bytes each.
const unit = fc.constantFrom("a", "b", "\0", " ", "é", "Ġ", "茶", "🍵");
const texts = fc.array(fc.oneof(fc.string({ unit, maxLength: 4 }), fc.string()), { maxLength: 60 });

describe.skipIf(!kernel)("a kernel", () => {
  test("makes the table that plain loops make, also where a text is there twice", () => {
    fc.assert(
      fc.property(texts, texts, (all, others) => {
        const [twice, fastTwice]: [number[], number[]] = [[], []];
        const plain = new TextTable(packTexts(all), "texts", { onTwice: (index) => twice.push(index) });
        const fast = new TextTable(packTexts(all), "texts", { onTwice: (index) => fastTwice.push(index), kernel: kernel! });
        expect([fast.size, fastTwice]).toEqual([plain.size, twice]);
        for (const text of [...all, ...others]) expect(fast.get(text)).toBe(plain.get(text));
      }),
    );
  });

  test("fills the same slots, and says where it cannot", () => {
    fc.assert(
      fc.property(texts, (all) => {
        const { bytes, places } = packTexts(all);
        const slots = new Int32Array(2 ** Math.ceil(Math.log2(places.length + 2)));
        const longest = kernel!.fill(bytes, places, slots);
        const twice = new Set(all).size < all.length;
        expect(longest === null).toBe(twice);
        if (twice) return;
        expect(longest).toBe(Math.max(0, ...all.map((text) => new TextEncoder().encode(text).length)));
        expect(slots.filter((slot) => slot > 0).toSorted()).toEqual(Int32Array.from(all, (_, index) => index + 1));
      }),
    );
  });

  test("leaves texts that lie in one place to plain loops, which refuse them", () => {
    expect(() => new TextTable(packTexts(nearTexts()), "texts", { kernel: kernel! })).toThrow("slow to find");
  });

  test("finds the first that is no pair", () => {
    const pair = fc.tuple(fc.string({ unit: fc.constantFrom("a", "é", "Ġ"), minLength: 1, maxLength: 3 }), fc.constant("b")).map((sides) => sides.join(" "));
    const strange = fc.string({ unit: fc.constantFrom(" ", "a", "Ġ"), maxLength: 4 });
    fc.assert(
      fc.property(fc.array(pair), fc.array(fc.oneof(pair, strange)), (pairs, mixed) => {
        const { bytes, places } = packTexts([...pairs, ...mixed]);
        const found = firstNotPair(bytes, places);
        expect(kernel!.firstNotPair(bytes, places)).toBe(found);
        expect(found).toBeGreaterThanOrEqual(pairs.length);
        expect([...pairs, ...mixed].findIndex((text) => !/^[^ ]+ [^ ]+$/.test(text))).toBe(found === places.length / 2 ? -1 : found);
      }),
    );
  });
});
