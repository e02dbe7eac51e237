import fc from "fast-check";
import { expect, test } from "vitest";
import { stopStrings } from "./stop-strings.ts";

const text = fc.string({ unit: fc.constantFrom("a", "b", "c"), maxLength: 40 });
const stops = fc.array(fc.string({ unit: fc.constantFrom("a", "b", "c"), minLength: 1, maxLength: 4 }), { maxLength: 3 });
const pieces = fc.array(fc.string({ unit: fc.constantFrom("a", "b", "c"), maxLength: 5 }), { maxLength: 12 });

function feed(parts: readonly string[], strings: readonly string[]): { readonly text: string; readonly hit: boolean } {
  const cutter = stopStrings(strings);
  let out = "";
  for (const part of parts) {
    const step = cutter.push(part);
    out += step.text;
    if (step.hit) return { text: out, hit: true };
  }
  return { text: out + cutter.end(), hit: false };
}

test("in pieces, a text ends no later than where a stop string ends and shows none of them", () => {
  fc.assert(
    fc.property(pieces, stops, (parts, strings) => {
      const whole = parts.join("");
      const { text: out, hit } = feed(parts, strings);
      expect(whole.startsWith(out)).toBe(true);
      expect(strings.some((stop) => out.includes(stop))).toBe(false);
      expect(hit).toBe(strings.some((stop) => whole.includes(stop)));
      if (!hit) expect(out).toBe(whole);
    }),
  );
});

test("one character at a time cuts at the stop string that is complete first", () => {
  fc.assert(
    fc.property(text, stops, (whole, strings) => {
      const ends = strings.flatMap((stop) => (whole.includes(stop) ? [whole.indexOf(stop) + stop.length] : []));
      const { text: out } = feed([...whole], strings);
      const kept = ends.length === 0 ? whole.length : Math.max(...strings.filter((stop) => whole.slice(0, Math.min(...ends)).endsWith(stop)).map((stop) => stop.length));
      expect(out.length).toBe(ends.length === 0 ? whole.length : Math.min(...ends) - kept);
    }),
  );
});
