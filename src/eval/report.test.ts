import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { measureSamples } from "./measure.ts";
import { parsePublished, publishedFor } from "./published.ts";
import { reportPage, type SuiteResult } from "./report.ts";

const path = new URL("../../suites/published.json", import.meta.url);
const published = parsePublished(JSON.parse(readFileSync(path, "utf8")), "published.json");

describe("what was published", () => {
  const gym = { source: "reasoning-gym", task: "ab" } as const;

  test("stands beside the same task at the same configuration, whatever drew its problems", () => {
    const hard = published.levels.hard["ab"]!;
    for (const config of [{ length: 25 }, { seed: 7, size: 9, length: 25 }]) expect(publishedFor({ ...gym, config }, published)?.scores).toEqual(hard.scores);
    expect(publishedFor({ ...gym, config: {} }, published)?.scores).toEqual(published.levels.easy["ab"]!.scores);
  });

  test("stands beside nothing else", () => {
    for (const config of [{ length: 24 }, { length: 25, more: 1 }]) expect(publishedFor({ ...gym, config }, published)).toBeNull();
    expect(publishedFor({ ...gym, source: "longjing", config: { length: 25 } }, published)).toBeNull();
    expect(publishedFor({ ...gym, source: "file", config: { length: 25 } }, published)).toBeNull();
    expect(publishedFor({ ...gym, task: "none", config: {} }, published)).toBeNull();
  });

  test("of a benchmark is found by its name", () => {
    expect(Object.keys(publishedFor({ source: "file", task: "AIME 2024", config: {} }, published)!.scores)).toEqual(["DeepSeek-R1", "o1-1217", "o1-mini"]);
  });

  test("does not depend on the order of a configuration's fields", () => {
    for (const level of ["hard", "easy"] as const) {
      for (const [task, { config }] of Object.entries(published.levels[level])) {
        const turned = Object.fromEntries(Object.entries(config).toReversed());
        expect(publishedFor({ source: "reasoning-gym", task, config: turned }, published)).toEqual(publishedFor({ source: "reasoning-gym", task, config }, published));
      }
    }
  });
});

describe("the page", () => {
  const right = { answer: "7", score: 1, tokens: 10, truncated: false, usd: 0.001 };
  const measured = measureSamples([[right, right], [right, { ...right, answer: null, score: 0 }]], { same: (a, b) => a === b });
  const result: SuiteResult = {
    suite: "<b>suite</b>",
    description: null,
    model: 'a "model" & more',
    endpoint: null,
    version: "1.2.3",
    commit: "abcdef0",
    date: "2026-01-31",
    seed: 77,
    system: "<script>alert(1)</script>",
    sampling: { temperature: 0.6, top_p: null, max_tokens: 4096, samples: 2 },
    results: [
      { task: "ab", config: { length: 25 }, seed: 45, source: "reasoning-gym", ...measured },
      { task: "letters", config: { level: 2, language: "zh" }, seed: 77, source: "longjing", ...measured },
    ],
  };
  const html = reportPage(result, published);

  test("says what was measured, how, and by which commit", () => {
    for (const said of ["75.0", "abcdef0", "1.2.3", "2026-01-31", "77", "seed 45", "level 2, zh", "length 25", "4,096", "2 answers each", "its own"]) expect(html).toContain(said);
  });

  test("says of each published score that it is, and shows none where there is none", () => {
    const rows = html.split("<tr>").filter((row) => row.includes('scope="row"'));
    const others = rows.map((row) => [...row.matchAll(/<td class="published">(.*?)<\/td>/g)].map(([, cell]) => cell));
    expect(others).toEqual([Object.values(published.levels.hard["ab"]!.scores).map((score) => (score * 100).toFixed(1)), ["–", "–", "–"]]);
    expect(html).toContain("nothing of them was measured here");
  });

  test("holds no markup but its own, and asks for nothing from anywhere", () => {
    expect(html).not.toContain("<b>suite");
    expect(html).not.toMatch(/<script|<link|<img|<iframe|@import|url\(|https?:|\son\w+=/);
    expect(html).toContain("default-src 'none'");
  });

  test("draws each score at its place", () => {
    expect(html).toContain('cx="75%"');
    expect(html.match(/class="line"/g)).toHaveLength(2);
  });
});
