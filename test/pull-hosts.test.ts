import { readdirSync, rmSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { findSnapshot, openHub, pull, type Pulled } from "../src/hub/index.ts";
import { commit, huggingFace, modelScope, sendFile, serve, type FakeHub } from "./hub-server.ts";
import { blobOfWeights, files, needed, patience, pulls, weights, weightsUrl } from "./pulls.ts";

const { start, tricky, from, cache, repository, partOf, expectWhole, expectNothingOfIt } = pulls();

describe("the token", () => {
  const token = "hf_secret";
  const expectNoSecret = ({ seen }: FakeHub): void => {
    expect(seen.length).toBeGreaterThan(0);
    expect(JSON.stringify(seen)).not.toContain(token);
  };

  test("goes to the endpoint with every request, and to no host or port that it redirects to", async () => {
    const storage = await start(serve((request, response) => sendFile(request, response, weights)));
    const hub = await tricky((_, response) => (response.writeHead(302, { location: `${storage.url}/blob?signature=x`, "x-linked-etag": `"${blobOfWeights}"`, "x-linked-size": String(weights.length) }).end(), true));
    await from(hub, {}, { HF_TOKEN: token });
    expect(hub.seen.every(({ headers }) => headers.authorization === `Bearer ${token}`)).toBe(true);
    expectNoSecret(storage);
    expectWhole();
  });

  test("does not follow a listing to another host either, and comes back with a redirect home", async () => {
    const home = await start(huggingFace(files, ({ url }, response) => {
      if (url!.startsWith("/api/") && !url!.includes("back")) return response.writeHead(307, { location: `${away.url}${url}` }).end(), true;
    }));
    const away: FakeHub = await start(serve(({ url }, response) => void response.writeHead(307, { location: `${home.url}${url}&back` }).end()));
    await from(home, {}, { HF_TOKEN: token });
    expectNoSecret(away);
    expect(home.seen.at(-1)!.headers.authorization).toBe(`Bearer ${token}`);
  });

  test("of Hugging Face is unknown to ModelScope, and the other way round", async () => {
    const env = { HF_TOKEN: token, MODELSCOPE_API_TOKEN: "ms-other" };
    const scope = await start(modelScope(files));
    await pull({ id: "org/name", revision: undefined }, { hub: openHub({ ...env, MODELSCOPE_ENDPOINT: scope.url }), cache: cache(), patience });
    expectNoSecret(scope);
    expect(scope.seen[0]!.headers.authorization).toBe("Bearer ms-other");
  });

  test("stays out of errors, and off roads that are not safe", async () => {
    expect(() => openHub({ HF_ENDPOINT: "http://mirror.example", HF_TOKEN: token })).toThrow(expect.objectContaining({ code: "bad_argument" }));
    expect(() => openHub({ HF_TOKEN: `${token}\r\nx: y` })).toThrow(expect.not.stringContaining(token));
    const hub = await start(serve((_, response) => void response.writeHead(403).end()));
    await expect(from(hub, {}, { HF_TOKEN: token })).rejects.toThrow(expect.not.stringContaining(token));
  });
});

describe("a redirect", () => {
  test("may be one of five, not of more", async () => {
    const hops = (count: number) => huggingFace(files, ({ url }, response) => {
      const hop = Number(new URL(url!, "http://hub").searchParams.get("hop") ?? 0);
      if (url!.startsWith(weightsUrl) && hop < count) return response.writeHead(302, { location: `${weightsUrl}?hop=${hop + 1}` }).end(), true;
    });
    await from(await start(hops(5)));
    expectWhole();
    rmSync(repository(), { recursive: true });
    await expect(from(await start(hops(6)))).rejects.toMatchObject({ code: "bad_file" });
    expectNothingOfIt();
  });

  test.each(["file:///etc/passwd", "ftp://127.0.0.1/x", "http://user:password@127.0.0.1:1/x", "http://", "data:,x"])("to %s is refused", async (location) => {
    const hub = await tricky((_, response) => (response.writeHead(302, { location }).end(), true));
    await expect(from(hub)).rejects.toMatchObject({ code: "bad_file" });
  });
});

describe("a refusal", () => {
  const answering = (status: number, headers: Readonly<Record<string, string>> = {}): Promise<FakeHub> => start(serve((_, response) => void response.writeHead(status, headers).end("no")));

  test.each([
    [401, "bad_argument", /HF_TOKEN/],
    [403, "bad_argument", /HF_TOKEN/],
    [404, "not_found", /404/],
    [400, "bad_file", /400/],
  ])("with %d is final: %s", async (status, code, message) => {
    const hub = await answering(status);
    await expect(from(hub)).rejects.toMatchObject({ code, message: expect.stringMatching(message) });
    expect(hub.seen).toHaveLength(1);
    expect(readdirSync(cache())).toEqual([]);
  });

  test.each([429, 500, 503])("with %d is tried again", async (status) => {
    const hub = await answering(status);
    await expect(from(hub)).rejects.toMatchObject({ code: "network" });
    expect(hub.seen).toHaveLength(patience.attempts);
  });

  test("that asks for a while is waited out, one that asks for an hour is told", async () => {
    let requests = 0;
    await from(await tricky((_, response) => requests++ === 0 && (response.writeHead(429, { "retry-after": "0" }).end(), true)));
    expectWhole();
    const hub = await answering(429, { "retry-after": "3600" });
    await expect(from(hub)).rejects.toMatchObject({ code: "network", message: expect.stringContaining("3600 s") });
    expect(hub.seen).toHaveLength(1);
  });

  test("is also an address where no one listens", async () => {
    const hub = await huggingFace(files);
    await hub.close();
    await expect(from(hub)).rejects.toMatchObject({ code: "network", facts: { got: "ECONNREFUSED" } });
  });
});

describe("ModelScope", () => {
  const scope = (hub: FakeHub): Promise<Pulled> => pull({ id: "org/name", revision: undefined }, { hub: openHub({ MODELSCOPE_ENDPOINT: hub.url }), cache: cache(), patience });

  test("gives the same files, under the commit that it names", async () => {
    const pulled = await scope(await start(modelScope(files, commit)));
    expect(pulled).toMatchObject({ revision: "master", commit });
    expect(readdirSync(pulled.folder).toSorted()).toEqual(needed);
    expect(await findSnapshot(cache(), { id: "org/name", revision: undefined })).toBe(pulled.folder);
  });

  test("gives a state the name of its contents where it names none", async () => {
    const { commit: one } = await scope(await start(modelScope(files)));
    const { commit: same } = await scope(await start(modelScope(files)));
    const { commit: other } = await scope(await start(modelScope({ ...files, "config.json": Buffer.from("{ }") })));
    expect(one).toMatch(/^[0-9a-f]{40}$/);
    expect(same).toBe(one);
    expect(other).not.toBe(one);
  });

  test("goes on with a range that it answers with 200", async () => {
    partOf(weights.subarray(0, 70_000));
    const hub = await start(modelScope(files, commit));
    await scope(hub);
    expect(hub.asked("model.safetensors").map(({ headers }) => headers.range)).toEqual(["bytes=70000-"]);
    expectWhole();
  });

  test("says that there is no such model", async () => {
    const hub = await start(modelScope(files));
    await expect(pull({ id: "org/other", revision: undefined }, { hub: openHub({ MODELSCOPE_ENDPOINT: hub.url }), cache: cache(), patience })).rejects.toMatchObject({ code: "not_found" });
  });
});
