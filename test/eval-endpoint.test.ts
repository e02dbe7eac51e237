import { appendFileSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import type { IncomingMessage, ServerResponse } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { answersInFile, answersInMemory, endpoint, evaluateSets, taskQuestions, type AnswerStore, type Ask, type EvaluateSetsOptions } from "../src/eval/index.ts";
import { tasks } from "../src/tasks/index.ts";
import { serve, type FakeHub } from "./hub-server.ts";

const key = "sk-very-secret";
const body = { model: "m", messages: [{ role: "user", content: "7" }] } as const;

let dir: string;
const servers: FakeHub[] = [];
beforeEach(() => void (dir = mkdtempSync(join(tmpdir(), "longjing-eval-"))));
afterEach(async () => {
  await Promise.all(servers.splice(0).map((server) => server.close()));
  rmSync(dir, { recursive: true, force: true });
});

const completion = (content: string, more: object = {}) => ({
  choices: [{ index: 0, finish_reason: "stop", message: { role: "assistant", content, reasoning_content: "hm" } }],
  usage: { prompt_tokens: 10, completion_tokens: 5, prompt_tokens_details: { cached_tokens: 4 } },
  ...more,
});

const send = (response: ServerResponse, said: unknown, status = 200, headers: Record<string, string> = {}): void =>
  void response.writeHead(status, { "content-type": "application/json", ...headers }).end(typeof said === "string" ? said : JSON.stringify(said));

async function textOf(request: IncomingMessage): Promise<string> {
  let text = "";
  for await (const chunk of request) text += String(chunk);
  return text;
}

/** An endpoint that answers the n-th request as told, and later ones well. */
async function listening(...turns: readonly ((response: ServerResponse, request: IncomingMessage) => void)[]): Promise<FakeHub> {
  let turn = 0;
  const server = await serve((request, response) => {
    const act = turns[turn++] ?? ((good: ServerResponse) => send(good, completion("7")));
    void textOf(request).then(() => act(response, request));
  });
  servers.push(server);
  return server;
}

const quick = { retryDelay: 0.001, timeout: 0.5, apiKey: key };
const asking = (server: FakeHub, options = {}): Ask => endpoint({ url: `${server.url}/v1`, ...quick, ...options });

describe("an endpoint", () => {
  test("is asked in OpenAI's form, with the key", async () => {
    const server = await listening();
    const answer = await asking(server)(body);
    expect(answer).toEqual({ content: "7", reasoning_content: "hm", finish_reason: "stop", usage: { prompt_tokens: 10, cached_tokens: 4, completion_tokens: 5 }, core_seconds: null });
    expect(server.seen).toMatchObject([{ url: "/v1/chat/completions", headers: { authorization: `Bearer ${key}` } }]);
  });

  test.each<[string, (response: ServerResponse) => void]>([
    ["429", (response) => send(response, {}, 429)],
    ["a failure", (response) => send(response, "upstream", 502)],
    ["a connection that is cut", (response) => void response.destroy()],
    ["a body that is cut", (response) => void response.writeHead(200, { "content-length": "900" }).write('{"choices"', () => response.destroy())],
    ["a page in place of an answer", (response) => send(response, "<html>Sign in</html>")],
    ["an error in a successful answer", (response) => send(response, { error: { message: "overloaded" } })],
    ["an answer without choices", (response) => send(response, { choices: [] })],
    ["an answer of another form", (response) => send(response, { choices: [{ message: { content: 7 } }] })],
    ["silence", () => {}],
  ])("is asked again after %s", async (_, act) => {
    const server = await listening((response) => act(response));
    expect((await asking(server)(body)).content).toBe("7");
    expect(server.seen).toHaveLength(2);
  });

  test("is not asked again when it refuses", async () => {
    const server = await listening((response) => send(response, { error: { message: "no such model" } }, 404));
    await expect(asking(server)(body)).rejects.toMatchObject({ code: "bad_argument", message: expect.stringContaining("no such model") });
    expect(server.seen).toHaveLength(1);
  });

  test("is left alone for as long as it asks, and not waited for beyond reason", async () => {
    const busy = (after: string) => (response: ServerResponse) => send(response, {}, 429, { "retry-after": after });
    const patient = await listening(busy("0"), busy(new Date(Date.now() - 1000).toUTCString()));
    // Without its word the first wait would be an hour.
    expect((await asking(patient, { retryDelay: 3600 })(body)).content).toBe("7");
    const endless = await listening(busy("3600"));
    await expect(asking(endless)(body)).rejects.toMatchObject({ code: "network", message: expect.stringContaining("3600 s") });
    expect(endless.seen).toHaveLength(1);
  });

  test("gets usage that it leaves out or that makes no sense taken for none", async () => {
    const lies = [undefined, { prompt_tokens: -1, completion_tokens: 5 }, { prompt_tokens: 1.5, completion_tokens: 2 }, "many", null, { completion_tokens: 3 }];
    const server = await listening(...lies.map((usage) => (response: ServerResponse) => send(response, completion("7", { usage }))));
    for (const _ of lies) expect((await asking(server)(body)).usage).toBeNull();
  });

  test("that says more comes from the cache than was asked is not paid less than nothing", async () => {
    const server = await listening((response) => send(response, completion("7", { usage: { prompt_tokens: 10, completion_tokens: 5, prompt_cache_hit_tokens: 99 } })));
    expect((await asking(server)(body)).usage?.cached_tokens).toBe(10);
  });

  test.each(["ftp://host/v1", "host", "https://user:pass@host/v1", "https://host/v1?key=x"])("has an address: not %s", (url) => {
    expect(() => endpoint({ url })).toThrow(expect.objectContaining({ code: "bad_argument", message: expect.not.stringContaining("pass@") }));
  });
});

describe("the key", () => {
  test.each([301, 302, 303, 307, 308])("goes nowhere by a redirect with %i", async (status) => {
    const other = await listening();
    const server = await listening((response) => void response.writeHead(status, { location: `${other.url}/v1/chat/completions` }).end());
    await expect(asking(server)(body)).rejects.toMatchObject({ code: "bad_argument", message: expect.stringContaining("redirects") });
    expect(other.seen).toEqual([]);
    expect(server.seen).toHaveLength(1);
  });

  test("is in no error, whatever the endpoint says", async () => {
    const server = await listening(
      (response) => send(response, { error: { message: `Incorrect API key provided: ${key}` } }, 401),
      (response) => void response.writeHead(302, { location: `http://elsewhere.invalid/?key=${key}` }).end(),
      (response) => send(response, { error: { message: key } }),
    );
    for (let i = 0; i < 3; i++) {
      const error: unknown = await asking(server, { retries: 0 })(body).catch((failure: unknown) => failure);
      expect(JSON.stringify([String(error), error])).not.toContain(key);
      expect(String(error)).toMatch(/LongjingError/);
    }
  });

  test("is in no file, even where the endpoint repeats it, or writes it another way", async () => {
    const disguised = JSON.stringify(completion(`you sent ${key}`)).replace("sk-very", "\\u0073k-very");
    const server = await listening((response) => send(response, disguised), (response) => send(response, completion(key, { choices: [{ finish_reason: key, message: { content: "7", reasoning_content: key } }] })));
    const path = join(dir, "answers.jsonl");
    await run(asking(server), answersInFile(path), { samples: 2 });
    expect(readFileSync(path, "utf8").trim().split("\n")).toHaveLength(6);
    expect(readFileSync(path, "utf8")).not.toContain("very-secret");
  });
});

test("a key that is a word changes no answer", async () => {
  const server = await listening((response) => send(response, completion("none of them")));
  expect((await asking(server, { apiKey: "none" })(body)).content).toBe("none of them");
});

const prices = { core_hour: 0.04, input: 1, cached_input: 0.1, output: 2 };
const sets = [taskQuestions(tasks.letters, { problems: 3, seed: 5, level: 1 })];

function run(ask: Ask, store: AnswerStore, more: Partial<EvaluateSetsOptions> = {}) {
  return evaluateSets(sets, { ask, from: "here", model: "m", system: null, sampling: { temperature: 0.6, top_p: 0.95, max_tokens: 64 }, samples: 4, seed: 9, concurrency: 2, extra: {}, prices, store, ...more }).finally(() => store.close());
}

/** Answers by the request's own seed, so that an answer depends on nothing else. */
const bySeed = (asked: number[] = []): Ask => (request) => {
  const seed = request["seed"] as number;
  asked.push(seed);
  const usage = { prompt_tokens: 10, cached_tokens: 4, completion_tokens: 5 + (seed % 7) };
  return Promise.resolve({ content: `<answer>${seed % 3}</answer>`, reasoning_content: null, finish_reason: seed % 5 === 0 ? "length" : "stop", usage, core_seconds: null });
};

describe("answers that are kept", () => {
  const path = (): string => join(dir, "answers.jsonl");

  test("are not asked for again, and the rest comes to what one run comes to", async () => {
    const whole = await run(bySeed(), answersInMemory());
    let left = 5;
    const breaking: Ask = (request) => (left-- > 0 ? bySeed()(request) : Promise.reject(new Error("the connection is gone")));
    await expect(run(breaking, answersInFile(path()))).rejects.toThrow("gone");
    const kept = readFileSync(path(), "utf8").trim().split("\n").length;
    expect(kept).toBe(5);
    const asked: number[] = [];
    expect(await run(bySeed(asked), answersInFile(path()))).toEqual(whole);
    expect(asked).toHaveLength(12 - kept);
    expect(await run(() => Promise.reject(new Error("asked again")), answersInFile(path()))).toEqual(whole);
  });

  test("more answers, and more problems, keep those that are there", async () => {
    await run(bySeed(), answersInFile(path()), { samples: 2 });
    const asked: number[] = [];
    expect(await run(bySeed(asked), answersInFile(path()))).toEqual(await run(bySeed(), answersInMemory()));
    expect(asked).toHaveLength(6);
  });

  test.each([{ model: "other" }, { from: "there" }, { seed: 10 }, { system: "Think." }, { sampling: { temperature: 1, top_p: 0.95, max_tokens: 64 } }, { extra: { top_k: 5 } }])("are another question's with %j", async (change) => {
    await run(bySeed(), answersInFile(path()));
    const asked: number[] = [];
    await run(bySeed(asked), answersInFile(path()), change);
    expect(asked).toHaveLength(12);
  });

  test("a line that a kill has left unfinished is asked for again", async () => {
    const whole = await run(bySeed(), answersInFile(path()));
    const text = readFileSync(path(), "utf8");
    writeFileSync(path(), text.slice(0, -40));
    const asked: number[] = [];
    expect(await run(bySeed(asked), answersInFile(path()))).toEqual(whole);
    expect(asked).toHaveLength(1);
    expect(readFileSync(path(), "utf8").trim().split("\n").every((line) => JSON.parse(line))).toBe(true);
  });

  test.each(["not JSON\n", "{}\n", '{"from":1}\n'])("a file with %j is refused, and stays as it is", async (line) => {
    await run(bySeed(), answersInFile(path()), { samples: 1 });
    appendFileSync(path(), line);
    const before = readFileSync(path(), "utf8");
    expect(() => answersInFile(path())).toThrow(expect.objectContaining({ code: "bad_file", message: expect.stringContaining(`${path()}:4`) }));
    expect(readFileSync(path(), "utf8")).toBe(before);
  });

  test("are asked for no more at a time than may be", async () => {
    let [now, most] = [0, 0];
    const slow: Ask = async (request) => {
      most = Math.max(most, ++now);
      await new Promise((resolve) => setTimeout(resolve, 2));
      now--;
      return bySeed()(request);
    };
    await run(slow, answersInMemory(), { concurrency: 3 });
    expect(most).toBe(3);
  });

  test("cost what their tokens cost", async () => {
    const fixed: Ask = () => Promise.resolve({ content: "1", reasoning_content: null, finish_reason: "stop", usage: { prompt_tokens: 1000, cached_tokens: 400, completion_tokens: 500 }, core_seconds: null });
    const [result] = await run(fixed, answersInMemory());
    // 600 at 1, 400 at 0.1 and 500 at 2 USD a million, twelve times.
    expect(result!.usd).toBeCloseTo((12 * (600 + 40 + 1000)) / 1e6, 12);
    const [unknown] = await run(fixed, answersInMemory(), { prices: { ...prices, output: null } });
    expect(unknown).toMatchObject({ usd: null, usd_per_solved: null });
    const [own] = await run(() => fixed(body).then((answer) => ({ ...answer, core_seconds: 30 })), answersInMemory());
    expect(own!.usd).toBeCloseTo((12 * 30 * 0.04) / 3600, 12);
  });
});

test("nothing is written where nothing was kept", async () => {
  await run(bySeed(), answersInMemory());
  expect(existsSync(join(dir, "answers.jsonl"))).toBe(false);
});
