import { describe, expect, test } from "vitest";
import { answersInMemory, evaluateSets, mostTurns, taskQuestions, type Ask, type ChatAnswer, type ChatBody, type EvaluateSetsOptions } from "../src/eval/index.ts";
import { guess, type GuessGold, type Task } from "../src/tasks/index.ts";

const usage = { prompt_tokens: 20, cached_tokens: 5, completion_tokens: 7 };
const answer = (more: Partial<ChatAnswer>): ChatAnswer => ({ content: "", reasoning_content: "hm", finish_reason: "stop", usage, core_seconds: 2, ...more });
const calling = (json: string, name = "compare"): ChatAnswer => answer({ finish_reason: "tool_calls", tool_calls: [{ id: `call-${json}`, type: "function", function: { name, arguments: json } }] });

/** Halves what is left, by what the conversation says. */
const halving = (bodies: ChatBody[] = []): Ask => {
  return (body) => {
    bodies.push(body);
    const [, low = "", high = ""] = /From (\d+) to (\d+)/.exec(body.messages[0]!.content)!;
    let [from, to] = [Number(low), Number(high)];
    for (const { role, content } of body.messages) {
      if (role !== "tool") continue;
      const [, sign, number] = /^(equal to|higher than|lower than) (\d+)$/.exec(content)!;
      if (sign === "equal to") [from, to] = [Number(number), Number(number)];
      else if (sign === "higher than") from = Number(number) + 1;
      else to = Number(number) - 1;
    }
    return Promise.resolve(from === to ? answer({ content: `<answer>${from}</answer>` }) : calling(JSON.stringify({ number: Math.floor((from + to) / 2) })));
  };
};

function run(ask: Ask, more: Partial<EvaluateSetsOptions> = {}, task: Task<GuessGold> = guess) {
  const prices = { core_hour: 0.04, input: 1, cached_input: 0.1, output: 2 };
  const sets = [taskQuestions(task as Task<unknown>, { problems: 6, seed: 3, level: 3 })];
  return evaluateSets(sets, { ask, from: "here", model: "m", system: null, sampling: { temperature: 0, top_p: null, max_tokens: 1000 }, samples: 2, seed: 1, concurrency: 3, extra: {}, prices, store: answersInMemory(), ...more });
}

describe("a task of several turns, asked by chat completions", () => {
  test("whoever halves finds every number, in conversations that an application could have had", async () => {
    const bodies: ChatBody[] = [];
    const [result] = await run(halving(bodies));
    expect(result!.pass_at["1"]!.value).toBe(1);
    expect(result!.truncated).toBe(0);
    for (const { tools, messages } of bodies) {
      expect(tools).toEqual([{ type: "function", function: { name: "compare", parameters: guess.environment!.tools[0]!.parameters } }]);
      for (const [i, message] of messages.entries()) {
        if (message.role === "assistant") expect(message).toMatchObject({ reasoning_content: "hm", tool_calls: [{ id: expect.any(String) as string }] });
        if (message.role === "tool") expect(messages[i - 1]).toMatchObject({ role: "assistant", tool_calls: [{ id: message.tool_call_id }] });
      }
    }
  });

  test("tokens and processor time are those of all turns", async () => {
    const bodies: ChatBody[] = [];
    const [result] = await run(halving(bodies));
    expect(result!.length!.mean).toBeCloseTo((bodies.length * usage.completion_tokens) / 12, 9);
    expect(result!.usd).toBeCloseTo((bodies.length * 2 * 0.04) / 3600, 12);
  });

  test("the limit of tokens is the conversation's, and what it cuts is wrong", async () => {
    const bodies: ChatBody[] = [];
    const [result] = await run(halving(bodies), { sampling: { temperature: 0, top_p: null, max_tokens: 10 } });
    expect(new Set(bodies.map((body) => body["max_tokens"]))).toEqual(new Set([10, 3]));
    expect(result!.pass_at["1"]!.value).toBeLessThan(1);
    expect(result!.truncated).toBeGreaterThan(0);
  });

  test.each(["not JSON", "7", '{"number":"seven"}', "[]"])("a call with the arguments %s is answered by an error", async (json) => {
    const told: string[] = [];
    const ask: Ask = ({ messages }) => {
      const last = messages.at(-1)!;
      if (last.role === "tool") told.push(last.content);
      return Promise.resolve(last.role === "tool" ? answer({ content: "1" }) : calling(json));
    };
    await run(ask);
    expect(new Set(told)).toEqual(new Set(["error: arguments do not fit compare"]));
  });

  test("a model that only calls is asked no more at some point, and each conversation is closed", async () => {
    let [turns, open] = [0, 0];
    const { environment } = guess;
    const counted: Task<GuessGold> = {
      ...guess,
      environment: {
        ...environment!,
        reset: async (problem) => {
          const episode = await environment!.reset(problem);
          open++;
          return { step: (turn) => episode.step(turn), close: () => void open-- };
        },
      },
    };
    const endless: Ask = () => (turns++, Promise.resolve(calling('{"number":1}')));
    const [result] = await run(endless, { sampling: { temperature: 0, top_p: null, max_tokens: 1e6 } }, counted);
    expect([turns, open, result!.truncated]).toEqual([12 * mostTurns, 0, 1]);
    await expect(run(() => Promise.reject(new Error("gone")), {}, counted)).rejects.toThrow("gone");
    expect(open).toBe(0);
  });
});
