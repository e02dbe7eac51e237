import { readdirSync } from "node:fs";
import { expect, test } from "vitest";
import { fixture, hasFixture } from "./fixtures.ts";
import { longjing } from "./launcher.ts";

const [model] = hasFixture("models") ? readdirSync(fixture("models")).filter((name) => !name.includes(".")) : [];

const bench = async (...args: string[]): Promise<Record<string, unknown>[]> => {
  const { code, stdout, stderr } = await longjing(["bench", "serve", fixture("models", model!), "--random-input-len", "6", "--random-output-len", "5", "--json", ...args]);
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
  return stdout.trim().split("\n").map((line) => JSON.parse(line) as Record<string, unknown>);
};

test.runIf(model !== undefined)("a server under load gives every request its tokens, and HTTP is held against the engine", async () => {
  const [one, four, ...rest] = await bench("--max-concurrency", "1", "4", "--engine", "--repetitions", "1");
  expect(rest).toEqual([]);
  expect([one, four]).toMatchObject([
    { test: "serve:1:6:5", stream: true, num_prompts: 2, completed: 2, failed: 0, total_input_tokens: 12, total_output_tokens: 10, request_rate: "inf" },
    { test: "serve:4:6:5", stream: true, num_prompts: 8, completed: 8, failed: 0, total_input_tokens: 48, total_output_tokens: 40 },
  ]);
  const numbers = four as Record<string, number>;
  for (const name of ["ttft", "itl", "e2el"]) {
    const [p50, p95, p99] = [50, 95, 99].map((percent) => numbers[`p${percent}_${name}_ms`]!) as [number, number, number];
    expect(p50 >= 0 && p50 <= p95 && p95 <= p99, name).toBe(true);
  }
  // With one round each, its share is that of the rates.
  const { lost, tokens_per_second: [rate], engine_tokens_per_second: [direct] } = four as unknown as { lost: [number]; tokens_per_second: [number]; engine_tokens_per_second: [number] };
  expect(lost[0]).toBeCloseTo(1 - rate / direct, 2);
}, 60_000);

test.runIf(model !== undefined)("whole answers of chats at a rate of requests have no time between pieces", async () => {
  const [result] = await bench("--max-concurrency", "2", "--num-prompts", "3", "--backend", "openai-chat", "--no-stream", "--request-rate", "50");
  expect(result).toMatchObject({ stream: false, backend: "openai-chat", request_rate: 50, completed: 3, failed: 0, total_output_tokens: 15 });
  expect(Object.keys(result!).filter((name) => name.includes("itl"))).toEqual([]);
}, 60_000);
