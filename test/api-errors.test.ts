import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test, vi } from "vitest";
import { createApp, freeTerms, ModelRegistry, openAccounts, type AppOptions } from "../src/serve/index.ts";
import { fakeModel, type FakeOptions } from "./fake-model.ts";
import { hi } from "./serve-api.ts";

const body = { model: "fake", messages: hi, input: "hi", max_tokens: 50 };
const asked = (fields: object = {}, headers: Record<string, string> = {}): RequestInit => ({ method: "POST", headers, body: JSON.stringify({ ...body, ...fields }) });

interface Case {
  readonly options?: Partial<AppOptions>;
  readonly fake?: FakeOptions;
  readonly init?: RequestInit;
  readonly below?: string;
}

/** Every status that can come before a route or from it, with Anthropic's name for it. */
const cases: readonly (readonly [status: number, type: string, how: Case])[] = [
  [400, "invalid_request_error", { init: { method: "POST", body: "{" } }],
  [401, "authentication_error", { options: { auth: "secret" } }],
  [403, "permission_error", { init: asked({}, { origin: "http://elsewhere.example" }) }],
  [404, "not_found_error", { init: asked({ model: "other" }) }],
  [404, "not_found_error", { init: { method: "GET" } }],
  [404, "not_found_error", { below: "/batches" }],
  [413, "request_too_large", { options: { maxBodyBytes: 10 }, init: asked({}, { "content-length": "100" }) }],
  [429, "rate_limit_error", { options: { maxWaiting: 0 } }],
  [503, "overloaded_error", { options: { closing: AbortSignal.abort() } }],
];

const answered = async ({ options, fake, init = asked(), below = "" }: Case, path: string): Promise<Response> => {
  const app = createApp({ models: [fakeModel(fake)], ...options });
  return await app.request(`http://localhost${path}${below}`, init);
};

describe("an error is in the form of the route's clients", () => {
  test.each(cases)("%i is %s under Anthropic's paths, and OpenAI's elsewhere", async (status, type, how) => {
    for (const path of ["/v1/messages", "/messages", "/anthropic/v1/messages", "/v1/messages/count_tokens"]) {
      const response = await answered(how, path);
      expect([response.status, await response.json()], path).toEqual([status, { type: "error", error: { type, message: expect.any(String) as string } }]);
    }
    for (const path of ["/v1/chat/completions", "/v1/responses", "/v1/messagesx"]) {
      const response = await answered(how, path);
      if (path !== "/v1/messagesx") expect(response.status, path).toBe(status);
      expect(await response.json(), path).toEqual({ error: { message: expect.any(String) as string, type: expect.any(String) as string, param: expect.toSatisfy((param) => param === null || typeof param === "string") as null, code: expect.any(String) as string } });
    }
  });

  test("402 where a quota is used up", async () => {
    const dir = mkdtempSync(join(tmpdir(), "longjing-errors-"));
    const accounts = await openAccounts(join(dir, "a.db"));
    const key = accounts.create("alice", { ...freeTerms, quota_tokens: 0 }, Date.now());
    const response = await answered({ options: { accounts }, init: asked({}, { "x-api-key": key }) }, "/v1/messages");
    expect([response.status, await response.json()]).toMatchObject([402, { type: "error", error: { type: "billing_error" } }]);
    accounts.close();
    rmSync(dir, { recursive: true });
  });

  test("a model without room is no defect, and says when to come again", async () => {
    const models = new ModelRegistry(["fake", "held"].map((id) => ({ id, created: 0, bytes: 1, max_model_len: 4096, examples: [], load: () => Promise.resolve(fakeModel({ id })) })), { maxModels: 1 });
    await models.acquire("held");
    const report = vi.fn<(error: unknown) => void>();
    const app = createApp({ models, report });
    for (const [path, error] of [["/v1/messages", { type: "overloaded_error" }], ["/v1/chat/completions", { code: "busy" }]] as const) {
      const response = await app.request(path, asked());
      expect([response.status, response.headers.get("retry-after"), await response.json()]).toMatchObject([503, "1", { error }]);
    }
    expect(report).not.toHaveBeenCalled();
  });
});

describe("the last event of a stream that ends badly is in the form of the route", () => {
  const lasts = [
    ["/v1/messages", { event: "error", data: { type: "error", error: { type: "overloaded_error" } } }, "api_error"],
    ["/v1/responses", { event: "error", data: { type: "error", code: "shutting_down", param: null } }, "internal_error"],
    ["/v1/chat/completions", { event: undefined, data: { error: { type: "server_error", code: "shutting_down" } } }, "internal_error"],
  ] as const;
  const lastOf = (text: string) => {
    const last = text.trimEnd().split("\n\n").at(-1) ?? "";
    return { event: /^event: (.*)$/m.exec(last)?.[1], data: JSON.parse(/^data: (.*)$/m.exec(last)?.[1] ?? "") as object };
  };

  test.each(lasts)("%s", async (path, cutShort, failed) => {
    const cut = new AbortController();
    const slow = await answered({ options: { cut: cut.signal }, fake: { delayMs: 2, say: () => "x".repeat(2000) }, init: asked({ stream: true, max_tokens: 2000 }) }, path);
    setTimeout(() => cut.abort(), 30);
    expect(lastOf(await slow.text())).toMatchObject(cutShort);
    const broken = lastOf(await (await answered({ fake: { failAfter: 3 }, init: asked({ stream: true }) }, path)).text());
    expect([broken.event, JSON.stringify(broken.data)]).toEqual([cutShort.event, expect.stringContaining(failed)]);
  });
});
