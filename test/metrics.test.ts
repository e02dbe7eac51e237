import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import parsePrometheus from "parse-prometheus-text-format";
import { expect, test, vi } from "vitest";
import { parseMetrics } from "../src/cli/prometheus-text.ts";
import { topView } from "../src/cli/top-view.ts";
import { createApp, ModelRegistry, type ModelSource, type RequestLogEntry } from "../src/serve/index.ts";
import { Metrics } from "../src/serve/metrics.ts";
import { fakeModel } from "./fake-model.ts";

interface Usage {
  readonly prompt_tokens: number;
  readonly completion_tokens: number;
}

const ask = (app: ReturnType<typeof createApp>, body: object, headers: Record<string, string> = {}) =>
  app.request("/v1/chat/completions", { method: "POST", headers, body: JSON.stringify({ model: "fake", messages: [{ role: "user", content: "hi" }], ...body }) });

const page = async (app: ReturnType<typeof createApp>): Promise<string> => await (await app.request("/metrics")).text();

const value = (text: string, name: string, labels: Record<string, string> = {}): number =>
  parseMetrics(text)
    .filter((sample) => sample.name === name && Object.entries(labels).every(([label, expected]) => sample.labels[label] === expected))
    .reduce((sum, sample) => sum + sample.value, 0);

test("a Prometheus parser reads the page, with the names that vLLM's dashboards know", async () => {
  const app = createApp({ models: [fakeModel()] });
  await (await ask(app, {})).text();
  const response = await app.request("/metrics");
  expect(response.headers.get("content-type")).toMatch(/^text\/plain; version=0\.0\.4/);
  const families = new Map(parsePrometheus(await response.text()).map((family) => [family.name, family]));
  const kinds = {
    GAUGE: ["num_requests_running", "num_requests_waiting", "kv_cache_usage_perc"],
    COUNTER: ["prompt_tokens_total", "generation_tokens_total", "request_success_total", "prefix_cache_queries_total", "prefix_cache_hits_total"],
    HISTOGRAM: ["time_to_first_token_seconds", "time_per_output_token_seconds", "inter_token_latency_seconds", "e2e_request_latency_seconds"],
  };
  for (const [type, names] of Object.entries(kinds)) {
    for (const name of names) {
      expect(families.get(`longjing:${name}`)?.type, name).toBe(type);
      expect(families.get(`longjing:${name}`)?.metrics.length, name).toBeGreaterThan(0);
    }
  }
});

test("counters only grow, and add up to what clients were told; histograms count each sequence once", async () => {
  const app = createApp({ models: [fakeModel({ cached: 2 })] });
  let told = { prompt_tokens: 0, completion_tokens: 0 };
  let sequences = 0;
  let before = await page(app);
  for (const body of [{}, { n: 3 }, { max_tokens: 5 }, { stop: "h" }, { n: 2, stream: true }]) {
    const text = await (await ask(app, body)).text();
    const values = "stream" in body ? text.split("\n\n").flatMap((event) => (event.startsWith("data: {") ? [JSON.parse(event.slice(6)) as { usage: Usage | null }] : [])) : [JSON.parse(text) as { usage: Usage }];
    const { prompt_tokens, completion_tokens } = values.findLast(({ usage }) => usage !== null)!.usage!;
    told = { prompt_tokens: told.prompt_tokens + prompt_tokens, completion_tokens: told.completion_tokens + completion_tokens };
    sequences += "n" in body ? body.n : 1;
    const now = await page(app);
    const totals = parseMetrics(before).filter(({ name }) => /_(total|count|sum|bucket)$/.test(name));
    for (const { name, labels, value: was } of totals) expect(value(now, name, labels), name).toBeGreaterThanOrEqual(was);
    before = now;
  }
  const labels = { model_name: "fake" };
  expect(value(before, "longjing:prompt_tokens_total", labels)).toBe(told.prompt_tokens);
  expect(value(before, "longjing:generation_tokens_total", labels)).toBe(told.completion_tokens);
  expect(value(before, "longjing:request_success_total", labels)).toBe(sequences);
  expect(value(before, "longjing:request_success_total", { ...labels, finished_reason: "length" })).toBe(1);
  for (const name of ["time_to_first_token_seconds", "e2e_request_latency_seconds"]) {
    expect(value(before, `longjing:${name}_count`, labels)).toBe(sequences);
    expect(value(before, `longjing:${name}_bucket`, { ...labels, le: "+Inf" })).toBe(sequences);
  }
  expect(value(before, "longjing:inter_token_latency_seconds_count", labels)).toBe(told.completion_tokens - sequences);
});

test("counts of an engine outlive it", async () => {
  let loads = 0;
  const source = (id: string): ModelSource => ({
    id,
    created: 0,
    bytes: 1,
    max_model_len: 16,
    examples: [],
    async load() {
      loads++;
      const model = fakeModel({ id });
      return { ...model, engine: { ...model.engine, stats: () => ({ ...model.engine.stats(), prefix_cache_queries: 7 }) } };
    },
  });
  const app = createApp({ models: new ModelRegistry([source("a"), source("b")], { maxModels: 1 }) });
  for (const model of ["a", "b", "a"]) await (await ask(app, { model })).text();
  expect(loads).toBe(3);
  const text = await page(app);
  expect(value(text, "longjing:prefix_cache_queries_total", { model_name: "a" })).toBe(14);
  expect(value(text, "longjing:prefix_cache_queries_total", { model_name: "b" })).toBe(7);
});

test("whatever is in a label comes back from the page", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary", maxLength: 20 }).filter((text) => !text.includes("\r")), fc.double({ noNaN: true }), (label, amount) => {
      const metrics = new Metrics();
      metrics.observed("longjing:x", "Help with a \\ and a\nnewline", "gauge", () => [[{ a: label, b: "plain" }, amount]]);
      expect(parseMetrics(metrics.text())).toEqual([{ name: "longjing:x", labels: { a: label, b: "plain" }, value: amount === 0 ? 0 : amount }]);
    }),
    { numRuns: 50 },
  );
});

test("top sees the models, loaded or not, and rates between two looks", async () => {
  const app = createApp({ models: [fakeModel(), fakeModel({ id: "other" })] });
  const look = async (at: number) => ({ at, models: ["fake", "other"], samples: parseMetrics(await page(app)) });
  const first = await look(10);
  const { usage } = (await (await ask(app, {})).json()) as { usage: Usage };
  const view = topView(await look(12), first);
  expect(view.models[0]).toMatchObject({ model: "fake", requests: 1, prompt_tokens: usage.prompt_tokens, generation_tokens: usage.completion_tokens, generation_tokens_per_second: usage.completion_tokens / 2 });
  expect(view.models[1]).toMatchObject({ model: "other", requests: 0, kv_cache_usage: null });
});

test("the request log says who, what and how much, and nothing that was asked or answered", async () => {
  const lines: RequestLogEntry[] = [];
  const app = createApp({ models: [fakeModel()], log: (entry) => lines.push(entry) });
  const answer = (await (await ask(app, { messages: [{ role: "user", content: "a secret" }] })).json()) as { usage: Usage };
  await (await ask(app, { model: "nobody" })).text();
  expect(lines).toMatchObject([
    { method: "POST", path: "/v1/chat/completions", status: 200, model: "fake", prompt_tokens: answer.usage.prompt_tokens, completion_tokens: answer.usage.completion_tokens, finish_reasons: ["stop"], aborted: false },
    { status: 404, model: null, completion_tokens: 0 },
  ]);
  expect(JSON.stringify(lines)).not.toContain("secret");
});

test("what is asked and answered is written where that was asked for, for its owner alone", async () => {
  const dir = mkdtempSync(join(tmpdir(), "longjing-prompts-"));
  const app = createApp({ models: [fakeModel()], promptsDir: dir });
  for (const stream of [false, true]) {
    const response = await ask(app, { stream, messages: [{ role: "user", content: "a secret" }] });
    const answer = await response.text();
    const named = (name: string): boolean => name.startsWith(`${response.headers.get("x-request-id")}_`);
    const file = join(dir, await vi.waitUntil(() => existsSync(dir) && readdirSync(dir).find(named)));
    const written = await vi.waitUntil(() => readFileSync(file, "utf8"));
    expect(JSON.parse(written)).toMatchObject({ path: "/v1/chat/completions", model: "fake", request: expect.stringContaining("a secret"), response: answer });
    if (process.platform !== "win32") expect(statSync(file).mode & 0o77).toBe(0);
  }
  await (await ask(app, { model: "nobody" })).text();
  expect(readdirSync(dir)).toHaveLength(2);
  for (let at = 0; at < 2; at++) await (await ask(app, {}, { "x-request-id": "same" })).text();
  await vi.waitUntil(() => readdirSync(dir).filter((name) => name.startsWith("same_")).length === 2);
  rmSync(dir, { recursive: true });
});
