import { createServer, type RequestListener } from "node:http";
import type { AddressInfo } from "node:net";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { latencies, percentile, spread } from "./percentiles.ts";
import { httpAnswerer, randomRequests, runLoad, type Answered, type LoadBackend } from "./serving-load.ts";

const answered = (output_tokens: number): Answered => ({ output_tokens, ttft: 1, itl: [], e2el: 1 });

test("a load makes every request once, no more at a time than it may, and counts those that fail", async () => {
  await fc.assert(
    fc.asyncProperty(fc.integer({ min: 1, max: 20 }), fc.integer({ min: 1, max: 8 }), fc.constantFrom(Infinity, 5000), async (count, max_concurrency, request_rate) => {
      const requests = randomRequests([1, 2, 3], { count, input: 4, output: 2, seed: 0 });
      const made: unknown[] = [];
      let open = 0;
      let most = 0;
      const result = await runLoad(
        requests,
        async (request) => {
          const fails = made.push(request) % 3 === 0;
          most = Math.max(most, ++open);
          await new Promise((resolve) => setImmediate(resolve));
          open--;
          if (fails) throw new Error("no");
          return () => answered(2);
        },
        { max_concurrency, request_rate, seed: 0 },
      );
      expect(made).toEqual(requests);
      expect(most).toBeLessThanOrEqual(max_concurrency);
      if (request_rate === Infinity) expect(most).toBe(Math.min(count, max_concurrency));
      expect([result.answered.length, result.errors.length]).toEqual([count - Math.floor(count / 3), Math.floor(count / 3)]);
    }),
    { numRuns: 30 },
  );
});

test("equal seeds make equal prompts, of tokens of the vocabulary", () => {
  const make = (seed: number) => randomRequests([5, 7, 11], { count: 3, input: 40, output: 9, seed });
  expect(make(1)).toEqual(make(1));
  expect(make(1)).not.toEqual(make(2));
  for (const { prompt_ids, max_tokens } of make(1)) {
    expect([prompt_ids.length, max_tokens]).toEqual([40, 9]);
    expect(prompt_ids.every((id) => [5, 7, 11].includes(id))).toBe(true);
  }
});

describe("over HTTP", () => {
  async function ask(backend: LoadBackend, stream: boolean, listener: RequestListener): Promise<Answered> {
    const server = createServer(listener);
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const answer = httpAnswerer({ url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, model: "m", backend, stream }, () => "text");
    try {
      return (await answer({ prompt_ids: [1], max_tokens: 3 }))();
    } finally {
      answer.close();
      server.close();
    }
  }
  const event = (value: object): string => `data: ${JSON.stringify(value)}\n\n`;
  const usage = { completion_tokens: 3 };

  test.each([
    ["openai", [{ text: "a" }, { text: "" }, { text: "b" }, { text: "c" }]],
    ["openai-chat", [{ delta: { content: null, reasoning_content: "" } }, { delta: { reasoning_content: "a" } }, { delta: { content: "b" } }, { delta: { content: "c" } }]],
  ] as const)("pieces of a %s stream are those with text, wherever its bytes are cut", async (backend, choices) => {
    const bytes = [...choices.map((choice) => event({ choices: [choice], usage: null })), ": keep-alive\n\n", event({ choices: [], usage }), "data: [DONE]\n\n"].join("");
    const { output_tokens, itl, ttft, e2el } = await ask(backend, true, (_, response) => {
      response.writeHead(200, { "content-type": "text/event-stream" });
      for (let at = 0; at < bytes.length; at += 7) response.write(bytes.slice(at, at + 7));
      response.end();
    });
    expect([output_tokens, itl.length]).toEqual([3, 2]);
    expect(ttft + itl[0]! + itl[1]!).toBeLessThanOrEqual(e2el);
  });

  test("an answer that is not whole is a failure", async () => {
    await expect(ask("openai", true, (_, response) => response.end(event({ choices: [{ text: "a" }] })))).rejects.toThrow("usage");
    await expect(ask("openai", true, (_, response) => response.end(event({ error: { message: "it broke" } })))).rejects.toThrow("it broke");
    await expect(ask("openai", false, (_, response) => response.end(JSON.stringify({ error: { message: "it broke late" } })))).rejects.toThrow("it broke late");
    await expect(ask("openai", false, (_, response) => response.writeHead(429).end("busy"))).rejects.toThrow("429 busy");
    await expect(ask("openai", true, (request) => request.socket.destroy())).rejects.toThrow("hang up");
    expect((await ask("openai", false, (_, response) => response.end(JSON.stringify({ choices: [{ text: "abc" }], usage })))).output_tokens).toBe(3);
  });
});

test("a percentile parts the values, and grows with the share", () => {
  fc.assert(
    fc.property(fc.array(fc.integer(), { minLength: 1, maxLength: 50 }), fc.double({ min: 0, max: 1, noNaN: true }), fc.double({ min: 0, max: 1, noNaN: true }), (values, a, b) => {
      const sorted = values.toSorted((x, y) => x - y);
      const [low, high] = [Math.min(a, b), Math.max(a, b)].map((share) => percentile(sorted, share)) as [number, number];
      expect(low).toBeLessThanOrEqual(high);
      expect(sorted.filter((value) => value < low).length).toBeLessThanOrEqual(Math.min(a, b) * (values.length - 1) + 1);
      const { p50_x_ms, p99_x_ms, mean_x_ms } = latencies("x", values) as { p50_x_ms: number; p99_x_ms: number; mean_x_ms: number };
      expect(spread(values)).toEqual([p50_x_ms, sorted[0], sorted.at(-1)]);
      expect(p99_x_ms).toBeLessThanOrEqual(sorted.at(-1)!);
      expect(mean_x_ms).toBeLessThanOrEqual(sorted.at(-1)! + 1e-6);
    }),
  );
});
