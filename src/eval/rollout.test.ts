import { describe, expect, test } from "vitest";
import { FakeRunner } from "../../test/fake-runner.ts";
import { Generator } from "../engine/generator.ts";
import { parity, type Environment, type RewardFunction, type RewardSample, type Score, type Task } from "../tasks/index.ts";
import { hermes, type DocumentEncoder } from "../text/index.ts";
import { rollout, type RolloutOptions } from "./rollout.ts";

const eos = 5;
/** Tokens are digits; what answers a turn is given as digits too. */
const encoder: DocumentEncoder = {
  eos,
  toolSyntax: hermes,
  prompt: (text) => [...text].map((c) => c.charCodeAt(0) % 5),
  between: (messages) => [1, ...String(messages[0]!.content).split("").map(Number), 2],
  document: () => ({ prompt: [], completion: [] }),
  decode: (ids) => ids.filter((id) => id !== eos).join(""),
};
const judged = (completion: string): Score => ({ reward: 1, parts: { correct: completion.length % 2, format: 1 }, parsed: completion });
const task: Task<unknown> = { ...(parity as unknown as Task<unknown>), score: (_, completion) => judged(completion) };
const problems = Array.from({ length: 3 }, (_, index) => ({ prompt: `ab${index}`, language: "en", level: 1, gold: index }) as const);
const common: RolloutOptions<unknown> = { num_generations: 4, max_tokens: 12, temperature: 1, stream: ["test"] };
/** Counts the tokens that are read, not those that are said. */
class CountingRunner extends FakeRunner {
  read = 0;

  override forward(...args: Parameters<FakeRunner["forward"]>): Promise<Float32Array> {
    // One token alone is the last that was said.
    this.read += args[2].reduce((n, { token_ids: { length } }) => n + (length > 1 ? length : 0), 0);
    return super.forward(...args);
  }

  override extend(...args: Parameters<FakeRunner["extend"]>): Promise<Float32Array> {
    this.read += args[3].length;
    return super.extend(...args);
  }
}
const generatorOf = (rows = 12) => new Generator(new FakeRunner(rows, 64), {}, { blocking: true });
const reward = (name: string, f: (sample: RewardSample<unknown>) => number | null | Promise<number | null>): RewardFunction<unknown> => ({ name, reward: f });
const later = (count: number): Promise<void> => (count === 0 ? Promise.resolve() : new Promise<void>((resolve) => setImmediate(resolve)).then(() => later(count - 1)));

describe("rewards", () => {
  test("come whenever they like, in any order, and change no sample", async () => {
    const without = await rollout(generatorOf(), encoder, task, problems, common);
    const slow = reward("slow", async ({ token_ids, completion }) => {
      await later(token_ids.length % 3 === 0 ? 40 : 1);
      return completion.length;
    });
    const groups = await rollout(generatorOf(), encoder, task, problems, { ...common, rewards: [slow, reward("none", () => null)] });
    for (const [g, group] of groups.entries()) {
      for (const [i, { rewards, ...sample }] of group.samples.entries()) {
        expect({ ...sample, rewards: [] }).toEqual(without[g]!.samples[i]);
        expect(rewards).toEqual([sample.text.length, null]);
      }
    }
  });

  test("are asked while others are sampled", async () => {
    const generator = generatorOf(2);
    const running: number[] = [];
    await rollout(generator, encoder, task, problems, { ...common, rewards: [reward("watch", () => running.push(generator.stats().num_requests_running + generator.stats().num_requests_waiting))] });
    expect(running).toHaveLength(12);
    // Two rows, twelve samples: the first that end leave others behind.
    expect(running[0]).toBeGreaterThan(0);
    expect(running.at(-1)).toBe(0);
  });

  test("that fail end the rollout with their error, once nothing runs any more", async () => {
    const generator = generatorOf(2);
    const broken = reward("broken", async ({ problem }) => {
      if (problem.gold === 0) throw new RangeError("no reward");
      return 1;
    });
    await expect(rollout(generator, encoder, task, problems, { ...common, rewards: [broken] })).rejects.toThrow("no reward");
    expect(generator.stats()).toMatchObject({ num_requests_running: 0, num_requests_waiting: 0 });
  });

  test.each([Number.POSITIVE_INFINITY, undefined, "1", true])("that give %j, which is no reward, have failed, and are named", async (given) => {
    const broken = reward("odd", (() => given) as unknown as () => number);
    await expect(rollout(generatorOf(), encoder, task, problems, { ...common, rewards: [reward("fine", () => Number.NaN), broken] })).rejects.toMatchObject({ code: "bad_argument", message: expect.stringMatching(new RegExp(`"odd"; got: ${typeof given === "string" ? `"${given}"` : String(given)};`)) });
    const groups = await rollout(generatorOf(), encoder, task, problems, { ...common, rewards: [broken], reward_failure: "mask" });
    expect(groups.flatMap((g) => g.samples.map((s) => s.rewards))).toEqual(Array.from({ length: 12 }, () => null));
  });

  test("that fail may be passed over: those samples have none, all others what they have", async () => {
    const broken = reward("broken", ({ problem }) => (problem.gold === 1 ? Promise.reject(new RangeError("no reward")) : 1));
    const groups = await rollout(generatorOf(), encoder, task, problems, { ...common, rewards: [reward("fine", () => 2), broken], reward_failure: "mask" });
    expect(groups.map((g) => g.samples.map((s) => s.rewards))).toEqual([0, 1, 2].map((g) => Array.from({ length: 4 }, () => (g === 1 ? null : [2, 1]))));
  });
});

describe("a task of several turns", () => {
  const closed: number[] = [];
  /** Answers each turn by its own first token, after a while, `turns` times. */
  const environment = (turns: number): Environment<unknown> => ({
    tools: [],
    reset: ({ gold }) => {
      let left = turns;
      return {
        step: async ({ text }) => {
          await later(Number(gold) * 3);
          return left-- > 0 ? { messages: [{ role: "tool", content: text.slice(0, 1) || "0" }], failures: 1 } : null;
        },
        close: () => void closed.push(1),
      };
    },
  });
  const asked = (turns: number): Task<unknown> => ({ ...task, environment: environment(turns) });

  test("keeps the tokens of each turn, puts answers between them, and judges the last", async () => {
    const groups = await rollout(generatorOf(), encoder, asked(2), problems, { ...common, max_tokens: 40 });
    expect(closed).toHaveLength(12);
    for (const { samples } of groups) {
      for (const { token_ids, tool_mask, turns, text, score, tool_failures, finish_reason } of samples) {
        // Taken apart by the mask, the tokens are the turns and the answers.
        const parts = token_ids.map((id, i) => `${i > 0 && tool_mask![i] !== tool_mask![i - 1] ? "|" : ""}${id}`).join("").split("|");
        const said = parts.filter((_, i) => i % 2 === 0);
        expect(said.map((part) => part.replace(`${eos}`, ""))).toEqual(turns);
        expect(parts.filter((_, i) => i % 2 === 1)).toEqual(turns.slice(0, said.length - 1).map((turn) => `1${turn.slice(0, 1) || "0"}2`));
        expect([text, score]).toEqual([turns.at(-1), judged(turns.at(-1)!)]);
        if (finish_reason === "stop") expect([turns.length, tool_failures]).toEqual([3, 2]);
      }
    }
    expect(groups.flatMap((g) => g.samples).filter((s) => s.finish_reason === "stop").length).toBeGreaterThan(0);
  });

  test("says what it would say one at a time, however long its answers take", async () => {
    const options = { ...common, max_tokens: 40 };
    const [together, apart] = [await rollout(generatorOf(12), encoder, asked(2), problems, options), await rollout(generatorOf(1), encoder, asked(2), problems, options)];
    expect(together).toEqual(apart);
  });

  test("keeps to its limits: of a turn, of the whole, of the turns that are answered", async () => {
    const samplesOf = async (options: Partial<RolloutOptions<unknown>>) => (await rollout(generatorOf(), encoder, asked(9), problems, { ...common, ...options })).flatMap((g) => g.samples);
    for (const { token_ids, finish_reason } of await samplesOf({ max_tokens: 15 })) {
      expect(token_ids.length).toBeLessThanOrEqual(15);
      expect(finish_reason).toBe("length");
    }
    const short = await samplesOf({ max_tokens: 40, max_turn_tokens: 3 });
    for (const { turns, finish_reason } of short) {
      for (const turn of turns) expect(turn.length).toBeLessThanOrEqual(3);
      expect(finish_reason).toBe("length");
    }
    const few = await samplesOf({ max_tokens: 60, max_tool_calling_iterations: 1 });
    expect(Math.max(...few.map((s) => s.turns.length))).toBe(2);
    expect(few.every((s) => s.finish_reason === "length")).toBe(true);
  });

  test("reads nothing twice: each prompt once, then what is said and what answers it", async () => {
    const runner = new CountingRunner(4, 64);
    const [group] = await rollout(new Generator(runner, {}, { blocking: true }), encoder, asked(2), problems.slice(2), { ...common, max_tokens: 40 });
    // Behind the token that ended a turn, which is computed with what answers it.
    const answers = group!.samples.reduce((n, { tool_mask, turns }) => n + tool_mask!.filter((own) => own === 0).length + turns.length - 1, 0);
    expect(answers).toBeGreaterThan(0);
    expect(runner.read).toBe(group!.prompt_ids.length + answers);
  });

  test("ends the rollout where its environment fails, and closes every episode", async () => {
    closed.length = 0;
    const failing: Environment<unknown> = { tools: [], reset: () => ({ step: () => Promise.reject(new RangeError("no answer")), close: () => void closed.push(1) }) };
    const generator = generatorOf();
    await expect(rollout(generator, encoder, { ...task, environment: failing }, problems, { ...common, max_tokens: 40 })).rejects.toThrow("no answer");
    expect([closed.length, generator.stats().num_requests_running]).toEqual([12, 0]);
  });
});
