import { spawn, type ChildProcess } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { createApp, openRuns, type RunInfo, type Runs } from "../src/serve/index.ts";
import { fakeModel } from "./fake-model.ts";

let folder: string;
let runs: Runs;
let app: ReturnType<typeof createApp>;
let child: ChildProcess;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "runs-"));
  await writeFile(join(folder, "tiny-zero.ts"), "");
  const trainer = join(import.meta.dirname, "fake-trainer.mjs");
  runs = openRuns({
    runsDir: join(folder, "runs"),
    recipesDir: folder,
    launch: (args) => (child = spawn(process.execPath, [trainer, ...args], { stdio: ["ignore", "ignore", "pipe"] })),
  });
  app = createApp({ models: [fakeModel()], runs });
});
afterEach(async () => {
  await runs.close();
  await rm(folder, { recursive: true });
});

async function call(method: string, path: string, body?: object): Promise<{ status: number; json: unknown }> {
  const response = await app.request(`/api${path}`, { method, ...(body && { body: JSON.stringify(body) }) });
  return { status: response.status, json: await response.json() };
}

async function start(options: object = {}): Promise<RunInfo> {
  const { status, json } = await call("POST", "/runs", { recipe: "tiny-zero", ...options });
  expect(status).toBe(201);
  return json as RunInfo;
}

async function list(): Promise<RunInfo[]> {
  return (await call("GET", "/runs")).json as RunInfo[];
}

const settled = (state: string) => vi.waitUntil(async () => (await list())[0]?.state === state, { timeout: 10_000 });

interface Message {
  readonly event: string;
  readonly id: string | undefined;
  readonly data: { readonly type?: string; readonly step?: number; readonly state?: string };
}

/** Reads the event stream of a run until `enough` says so, then hangs up. */
async function listen(id: string, enough: (seen: readonly Message[]) => boolean, lastEventId?: string): Promise<Message[]> {
  const response = await app.request(`/api/runs/${id}/events`, { headers: lastEventId === undefined ? {} : { "last-event-id": lastEventId } });
  expect(response.headers.get("content-type")).toContain("text/event-stream");
  const reader = (response.body as ReadableStream<Uint8Array<ArrayBuffer>>).pipeThrough(new TextDecoderStream()).getReader();
  const seen: Message[] = [];
  let text = "";
  while (!enough(seen)) {
    const { value, done } = await reader.read();
    if (done) break;
    text += value;
    const events = text.split("\n\n");
    text = events.pop() as string;
    for (const event of events.filter((part) => !part.startsWith(":"))) {
      const fields = Object.fromEntries(event.split("\n").map((line) => [line.slice(0, line.indexOf(": ")), line.slice(line.indexOf(": ") + 2)]));
      seen.push({ event: fields.event as string, id: fields.id, data: JSON.parse(fields.data as string) as Message["data"] });
    }
  }
  await reader.cancel();
  return seen;
}

/** The steps whose metrics were told. */
const steps = (messages: readonly Message[]) => messages.flatMap(({ event, data }) => (event === "log" && data.type === "metrics" ? [data.step] : []));

test("a run is started, followed live, and found finished afterwards", async () => {
  expect((await call("GET", "/recipes")).json).toEqual(["tiny-zero"]);
  const { id } = await start({ max_steps: 20, seed: 1 });
  const seen = await listen(id, (messages) => messages.at(-1)?.data.state === "finished");
  expect(steps(seen)).toEqual(Array.from({ length: 20 }, (_, step) => step + 1));
  expect((await list()).map((run) => [run.id, run.recipe, run.state])).toEqual([[id, "tiny-zero", "finished"]]);
});

test("a stream continues after the last event that was seen", async () => {
  const { id } = await start({ max_steps: 20 });
  await settled("finished");
  const whole = (await listen(id, (messages) => messages.some(({ event }) => event === "run"))).filter(({ event }) => event === "log");
  for (const at of [0, 7, 18]) {
    const rest = await listen(id, (messages) => messages.some(({ event }) => event === "run"), whole[at]?.id);
    expect(steps(rest)).toEqual(steps(whole.slice(at + 1)));
  }
  const strange = await listen(id, (messages) => messages.some(({ event }) => event === "run"), "../../etc");
  expect(steps(strange)).toEqual(steps(whole));
});

test("one run at a time; stopped runs resume into the same log", async () => {
  const { id } = await start();
  expect((await call("POST", "/runs", { recipe: "tiny-zero" })).status).toBe(409);
  await listen(id, (messages) => steps(messages).length >= 3);
  expect((await call("POST", `/runs/${id}/stop`)).json).toMatchObject({ state: expect.stringMatching(/^stopp(ing|ed)$/) });
  await settled("stopped");
  expect((await call("POST", `/runs/${id}/stop`)).status).toBe(409);
  expect((await call("POST", `/runs/${id}/resume`)).json).toMatchObject({ id, state: "running" });
  await listen(id, (messages) => steps(messages).filter((step) => step === 1).length === 2);
});

test("a run that was begun with fewer steps goes on with as many", async () => {
  const { id } = await start({ max_steps: 500 });
  await listen(id, (messages) => steps(messages).length >= 1);
  await call("POST", `/runs/${id}/stop`);
  await settled("stopped");
  await call("POST", `/runs/${id}/resume`);
  await listen(id, (messages) => steps(messages).filter((step) => step === 1).length === 2);
  expect((await list())[0]).toMatchObject({ id, stages: [{ name: "grpo", steps: 500 }] });
});

test("a trainer that fails is reported in its own words", async () => {
  const { id } = await start({ seed: 13 });
  await settled("failed");
  expect((await list()).map((run) => [run.id, run.error])).toEqual([[id, "the trainer does not like this seed"]]);
  const seen = await listen(id, (messages) => messages.some(({ data }) => data.state === "failed"));
  expect(steps(seen)).toEqual([]);
});

test("a trainer that is killed fails its run, not the server, and the run can be resumed", async () => {
  const { id } = await start();
  await listen(id, (messages) => steps(messages).length >= 1);
  child.kill("SIGKILL");
  await settled("failed");
  expect((await list())[0]?.error).toContain("SIGKILL");
  expect((await app.request("/v1/completions", { method: "POST", body: JSON.stringify({ model: "fake", prompt: "hi" }) })).status).toBe(200);
  expect((await call("POST", `/runs/${id}/resume`)).json).toMatchObject({ id, state: "running" });
});

test("what is not a run or a recipe is refused", async () => {
  for (const id of ["nothing", "..", "%2e%2e", "..%2f..%2fetc", "a%2fb", "a%00b", "-x", "x".repeat(101)]) {
    expect((await app.request(`/api/runs/${id}/events`)).status, id).toBe(404);
    expect((await app.request(`/api/runs/${id}/stop`, { method: "POST" })).status, id).toBe(404);
  }
  expect((await call("POST", "/runs", { recipe: "../tiny-zero" })).status).toBe(404);
  for (const body of [{}, { recipe: 1 }, { recipe: "tiny-zero", out: "/etc" }, { recipe: "tiny-zero", seed: -1 }, { recipe: "tiny-zero", max_steps: "9" }]) {
    expect((await call("POST", "/runs", body)).status, JSON.stringify(body)).toBe(400);
  }
  const foreign = await app.request("/api/runs", { method: "POST", headers: { origin: "https://evil.example" }, body: '{"recipe":"tiny-zero"}' });
  expect(foreign.status).toBe(403);
  expect(await list()).toEqual([]);
});
