import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { renderTranscript } from "../text/transcript.ts";
import { languageConsistency, languageConsistencyReward, thoughtConsistency } from "./language.ts";
import type { RewardSample } from "./reward.ts";
import { weekday } from "./weekday.ts";

const english = fc.array(fc.constantFrom("then", "leaves", "Sunday", "again"), { minLength: 1 });
const chinese = fc.array(fc.constantFrom("余", "日", "然", "后"), { minLength: 1 });
const symbols = fc.array(fc.constantFrom("7", "+", "x", "=", "，", ";", "½", "\n"));
const other = { en: "zh", zh: "en" } as const;

describe("language consistency", () => {
  test("is the share of words of the language, whatever symbols stand between them", () => {
    fc.assert(
      fc.property(english, chinese, symbols, (en, zh, between) => {
        const text = [...en, ...between, ...zh].join(" ");
        const all = en.length + zh.length;
        expect(languageConsistency(text, "en")).toBeCloseTo(en.length / all, 12);
        expect(languageConsistency(text, "zh")).toBeCloseTo(zh.length / all, 12);
      }),
    );
  });

  test("is null where nothing is said in words, and never outside of [0, 1]", () => {
    fc.assert(
      fc.property(symbols, (text) => {
        expect(languageConsistency(text.join(" "), "en")).toBeNull();
      }),
    );
    fc.assert(
      fc.property(fc.string({ unit: "binary" }), fc.constantFrom("en", "zh"), fc.string(), (text, language, quoted) => {
        const share = languageConsistency(text, language, quoted);
        expect(share === null || (share >= 0 && share <= 1)).toBe(true);
      }),
    );
  });

  test("words of another language do not count where the question has them, and its own always do", () => {
    fc.assert(
      fc.property(english, chinese, (en, zh) => {
        const text = [...en, ...zh].join(" ");
        expect(languageConsistency(text, "zh", `把 ${en.join(" ")} 改写`)).toBe(1);
        expect(languageConsistency(text, "en", en.join(" "))).toBe(languageConsistency(text, "en"));
      }),
    );
  });

  test("a solution thinks in the language of its question; the other language's gets nothing for the same problem", () => {
    fc.assert(
      fc.property(fc.nat(), fc.constantFrom("en", "zh"), (index, language) => {
        const at = (asked: "en" | "zh") => weekday.problem({ split: "train", seed: 0, index, language: asked });
        const [own, foreign] = [at(language), at(other[language])];
        const said = weekday.solution(own, undefined as never);
        expect(thoughtConsistency([said], own)).toBe(1);
        expect(thoughtConsistency([said], foreign)).toBe(0);
      }),
    );
  });

  test("only the thinking counts, where it can be told from the answer; each turn's does", () => {
    const problem = weekday.problem({ split: "train", seed: 0, index: 0, language: "zh" });
    const reward = (...turns: string[]) => languageConsistencyReward.reward({ problem, turns } as unknown as RewardSample<unknown>);
    expect(reward(renderTranscript("余余余", "then again"))).toBe(1);
    expect(reward("余余余 then")).toBe(0.75);
    expect(reward(renderTranscript("余", ""), renderTranscript("then", ""))).toBe(0.5);
    expect(reward(renderTranscript("3 + 4 = 7", "余"))).toBeNull();
  });
});
