import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { random } from "../random/index.ts";
import { hermes, readTurn, renderToolCall } from "../text/index.ts";
import { transcripts } from "./corpus.ts";
import { playDemonstration, toolEnvironment } from "./environment.ts";
import { guess } from "./guess.ts";
import { parity } from "./parity.ts";
import type { Episode, StepResult } from "./task.ts";

const schema = { type: "object", properties: { number: { type: "integer" } }, required: ["number"] };
const problem = parity.problem({ split: "train", seed: 0, index: 0 });
const call = (name: string, args: unknown): string => renderToolCall(hermes, name, JSON.stringify(args));
const say = async (episode: Episode, text: string): Promise<StepResult | null> => episode.step(readTurn(text, hermes));

describe("an environment of tools", () => {
  const environment = toolEnvironment({
    tools: [
      { name: "add", parameters: schema, execute: ({ number }, state: { sum: number }) => String((state.sum += Number(number))) },
      { name: "wait", parameters: { type: "object" }, execute: async (_, state) => `${state.sum}` },
    ],
    begin: () => ({ sum: 0 }),
  });
  const begin = async (): Promise<Episode> => environment.reset(problem);

  test("does every call in order, each episode with a state of its own", async () => {
    const [one, other] = [await begin(), await begin()];
    expect(await say(one, call("add", { number: 3 }) + call("add", { number: 4 }))).toEqual({ messages: ["3", "7"].map((content) => ({ role: "tool", name: "add", content })), failures: 0 });
    expect(await say(other, call("add", { number: 1 }))).toMatchObject({ messages: [{ content: "1" }] });
    expect(await say(one, call("wait", {}) + call("add", { number: 1 }))).toMatchObject({ messages: [{ content: "7" }, { content: "8" }] });
  });

  test("ends with a turn that calls nothing", async () => {
    for (const text of ["", "7", "<think>" + call("add", { number: 1 }) + "</think>8"]) expect(await say(await begin(), text)).toBeNull();
  });

  test("answers what cannot be done by an error, and does not do it", async () => {
    const episode = await begin();
    const bad = [call("sub", { number: 1 }), call("add", { number: "1" }), call("add", {}), '<tool_call>\n{"name": "add", "arguments": {number}}\n</tool_call>'];
    for (const text of bad) expect(await say(episode, text)).toMatchObject({ messages: [{ role: "tool", content: expect.stringMatching(/^error: /) as string }], failures: 1 });
    expect(await say(episode, call("wait", {}))).toMatchObject({ messages: [{ content: "0" }], failures: 0 });
  });

  test("tells the model its tools, and nothing of what they do", () => expect(environment.tools).toEqual([{ name: "add", parameters: schema }, { name: "wait", parameters: { type: "object" } }]));

  test.each([
    ["none", []],
    ["one that ends early", ["7", "8"]],
    ["one that does not end", [call("add", { number: 1 })]],
    ["one that has to wait", [call("wait", {}), "7"]],
  ])("plays no demonstration of %s", (_, turns) => expect(() => playDemonstration({ ...environment, demonstration: () => turns }, problem, random("demo"), "long")).toThrow(/demonstration|takes its time/));
});

describe("finding a number", () => {
  const address = fc.record({ split: fc.constantFrom("train" as const, "test" as const), seed: fc.nat(), index: fc.nat(), level: fc.integer({ min: 1, max: guess.levels }) });

  test("halving finds it within the comparisons, and says so in the last turn; its score is the maximum", () =>
    fc.assert(
      fc.property(address, (where) => {
        const asked = guess.problem(where);
        const { exchanges = [] } = playDemonstration(guess.environment!, asked, random("play"), "long");
        expect(exchanges.length).toBeLessThanOrEqual(asked.gold.comparisons);
        expect(exchanges.at(-1)!.messages).toEqual([{ role: "tool", name: "compare", content: `equal to ${asked.gold.secret}` }]);
        expect(guess.score(asked, exchanges.at(-1)!.completion)).toMatchObject({ reward: 1 });
      }),
    ));

  test("the tool tells the truth, so often and no more", () =>
    fc.assert(
      fc.property(address, fc.array(fc.integer({ min: 1, max: 99 }), { minLength: 7, maxLength: 7 }), (where, numbers) => {
        const asked = guess.problem(where);
        const { secret, comparisons } = asked.gold;
        const episode = guess.environment!.reset(asked) as Episode;
        for (const [i, number] of numbers.entries()) {
          const { messages } = episode.step(readTurn(call("compare", { number }), hermes)) as StepResult;
          const truth = `${number === secret ? "equal to" : number < secret ? "higher than" : "lower than"} ${number}`;
          expect(messages[0]!.content).toBe(i < comparisons ? truth : "none left");
        }
      }),
    ));

  test("comparing anything finds it less often", () => {
    const found = (kind: "long" | "short"): number =>
      Array.from({ length: 300 }, (_, index) => {
        const asked = guess.problem({ split: "train", seed: 1, index, level: 3 });
        const { completion, exchanges = [] } = playDemonstration(guess.environment!, asked, random("play", index), kind);
        return guess.score(asked, exchanges.at(-1)?.completion ?? completion).parts.correct;
      }).reduce((a, b) => a + b);
    expect(found("long")).toBe(300);
    expect(found("short")).toBeLessThan(200);
  });

  test("a corpus of it holds whole conversations", () => {
    for (const { tools, exchanges } of transcripts(guess, { split: "train", seed: 0, count: 20, longShare: 0.5 })) {
      expect(tools).toEqual(guess.environment!.tools);
      expect(exchanges!.length).toBeGreaterThan(0);
    }
  });
});
