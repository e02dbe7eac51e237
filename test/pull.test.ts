import { mkdirSync, readdirSync, readFileSync, readlinkSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { findSnapshot, openHub, pull } from "../src/hub/index.ts";
import { commit, gitSha1, huggingFace, json, sendFile, serve, sibling, type FakeHub, type Trick } from "./hub-server.ts";
import { blobOfWeights, config, files, needed, patience, pulls, weights } from "./pulls.ts";

const { start, tricky, from, cache, repository, blobs, cut, partOf, expectWhole, expectNothingOfIt } = pulls();

describe("a pull", () => {
  test("brings what a model needs, laid out as huggingface_hub lays it out", async () => {
    const hub = await start(huggingFace(files));
    const pulled = await from(hub);
    expect(pulled).toMatchObject({ id: "org/name", revision: "main", commit, folder: join(repository(), "snapshots", commit) });
    expect(readdirSync(pulled.folder).toSorted()).toEqual(needed);
    for (const path of needed) expect(readFileSync(join(pulled.folder, path)).equals(files[path]!)).toBe(true);
    expect(readlinkSync(join(pulled.folder, "model.safetensors"))).toBe(join("..", "..", "blobs", blobOfWeights));
    expect(blobs().toSorted()).toEqual([blobOfWeights, gitSha1(config), gitSha1(files["tokenizer.json"]!)].toSorted());
    expect(readFileSync(join(repository(), "refs", "main"), "utf8")).toBe(commit);
    expect(await findSnapshot(cache(), { id: "org/name", revision: undefined })).toBe(pulled.folder);
  });

  test("asks for no file that is there", async () => {
    const hub = await start(huggingFace(files));
    await from(hub);
    const before = hub.seen.length;
    const again = await from(hub);
    expect(hub.seen.length).toBe(before + 1);
    expect(again.files.every(({ cached }) => cached)).toBe(true);
  });

  test("uses blobs that another tool has left, and repairs a link", async () => {
    mkdirSync(join(repository(), "blobs"), { recursive: true });
    writeFileSync(join(repository(), "blobs", blobOfWeights), weights);
    mkdirSync(join(repository(), "snapshots", commit), { recursive: true });
    symlinkSync("nowhere", join(repository(), "snapshots", commit, "model.safetensors"));
    const hub = await start(huggingFace(files));
    await from(hub);
    expect(hub.asked("model.safetensors")).toEqual([]);
    expectWhole();
  });

  test("brings a blob of another size anew", async () => {
    mkdirSync(join(repository(), "blobs"), { recursive: true });
    writeFileSync(join(repository(), "blobs", blobOfWeights), weights.subarray(1));
    await from(await start(huggingFace(files)));
    expectWhole();
  });

  test("counts bytes up to the total", async () => {
    const seen: number[] = [];
    const total = needed.reduce((sum, path) => sum + files[path]!.length, 0);
    await from(await start(huggingFace(files)), { onProgress: (progress) => void (expect(progress.total).toBe(total), seen.push(progress.done)) });
    expect(seen).toEqual(seen.toSorted((a, b) => a - b));
    expect(seen.at(-1)).toBe(total);
  });

  test("takes a branch, a tag or a commit", async () => {
    const hub = await start(huggingFace(files));
    const options = { hub: openHub({ HF_ENDPOINT: hub.url }), cache: cache(), patience };
    await pull({ id: "org/name", revision: "refs/pr/1" }, options);
    expect(await findSnapshot(cache(), { id: "org/name", revision: "refs/pr/1" })).toContain(commit);
    await pull({ id: "org/name", revision: commit }, options);
    expect(readdirSync(join(repository(), "refs"))).toEqual(["refs"]);
    await expect(pull({ id: "org/name", revision: "f".repeat(40) }, options)).rejects.toMatchObject({ code: "bad_file" });
    await expect(findSnapshot(cache(), { id: "org/name", revision: "f".repeat(40) })).rejects.toMatchObject({ code: "not_found", facts: { hint: expect.stringContaining("longjing pull org/name@") } });
  });

  test("is not disturbed by another of the same model", async () => {
    const hub = await start(huggingFace(files));
    mkdirSync(repository(), { recursive: true });
    writeFileSync(join(repository(), ".pull.lock"), String(process.ppid));
    await expect(from(hub)).rejects.toMatchObject({ code: "conflict" });
    writeFileSync(join(repository(), ".pull.lock"), "2147483646");
    await from(hub);
    expectWhole();
  });

  test("learns from the answer what the listing does not say", async () => {
    const bare = await start(
      serve((request, response) => {
        if (request.url!.includes("/api/")) return json(response, { sha: commit, siblings: Object.keys(files).map((rfilename) => ({ rfilename })) });
        const path = request.url!.split("/").at(-1)!;
        const large = path.endsWith(".safetensors");
        response.setHeader("x-repo-commit", commit);
        response.setHeader("x-linked-etag", `"${large ? blobOfWeights : gitSha1(files[path]!)}"`);
        sendFile(request, response, files[path]!);
      }),
    );
    await from(bare);
    expect(blobs()).toContain(blobOfWeights);
    expectWhole();
  });
});

describe("a cut download", () => {
  test("goes on where it was, for the same resource only", async () => {
    let cuts = 0;
    const hub = await tricky((_, response) => cuts++ === 0 && (cut(response, 70_000), true));
    await from(hub);
    const [first, second] = hub.asked("model.safetensors");
    expect(first!.headers.range).toBeUndefined();
    expect(second!.headers.range).toBe("bytes=70000-");
    expect(second!.headers["if-range"]).toBe(`"${blobOfWeights.slice(0, 32)}"`);
    expectWhole();
  });

  test("is continued by the next pull", async () => {
    const hub = await tricky((request, response) => (request.headers.range === undefined ? cut(response, 70_000) : response.destroy(), true));
    await expect(from(hub)).rejects.toMatchObject({ code: "network" });
    expectNothingOfIt();
    const later = await start(huggingFace(files));
    await from(later);
    expect(later.asked("model.safetensors")[0]!.headers.range).toBe("bytes=70000-");
    expectWhole();
  });

  test("starts over on a server that ignores ranges", async () => {
    let cuts = 0;
    const hub = await tricky((_, response) => (cuts++ === 0 ? cut(response, 70_000) : response.writeHead(200, { "content-length": weights.length }).end(weights), true));
    await from(hub);
    expectWhole();
  });

  test("starts over when the resource has changed, though the server goes on with a range", async () => {
    let requests = 0;
    const old = Buffer.alloc(weights.length, 1);
    const hub = await tricky((request, response) => {
      if (requests++ === 0) return cut(response, 70_000, old), true;
      delete request.headers["if-range"];
    });
    await from(hub);
    expect(hub.asked("model.safetensors").map(({ headers }) => headers.range)).toEqual([undefined, "bytes=70000-", undefined]);
    expectWhole();
  });

  test("starts over when what an earlier process left is of other bytes, or too much", async () => {
    partOf(Buffer.alloc(1000, 9));
    await from(await start(huggingFace(files)));
    expectWhole();
    rmSync(repository(), { recursive: true });
    partOf(Buffer.concat([weights, weights]));
    await from(await start(huggingFace(files)));
    expectWhole();
  });

  test("needs no request when only its name was missing", async () => {
    partOf(weights);
    const hub = await start(huggingFace(files));
    await from(hub);
    expect(hub.asked("model.safetensors")).toEqual([]);
    expectWhole();
  });

  test("does not go on for ever with a server that always cuts", async () => {
    const hub = await tricky((_, response) => (response.destroy(), true));
    await expect(from(hub)).rejects.toMatchObject({ code: "network" });
    expect(hub.asked("model.safetensors")).toHaveLength(patience.attempts);
    expectNothingOfIt();
  });

  test("is one that stalls, too", async () => {
    const stall = { ...patience, stallSeconds: 0.2 };
    let requests = 0;
    const hub = await tricky((_, response) => requests++ === 0 && (response.writeHead(200, { "content-length": weights.length }).write(weights.subarray(0, 70_000)), true));
    await from(hub, { patience: stall });
    expectWhole();
    const silent = await start(serve(() => {}));
    await expect(from(silent, { patience: stall })).rejects.toMatchObject({ code: "network" });
  });
});

describe("nothing enters the cache", () => {
  const lies: readonly (readonly [string, Trick])[] = [
    ["of a page with 200", (_, response) => void response.writeHead(200, { "content-type": "text/html; charset=utf-8" }).end("<!doctype html><p>Log in</p>")],
    ["of other bytes of the right length", (_, response) => void response.writeHead(200, { "content-length": weights.length }).end(Buffer.alloc(weights.length, 5))],
    ["of fewer bytes than listed", (_, response) => void response.writeHead(200, { "content-length": 1000 }).end(weights.subarray(0, 1000))],
    ["of more bytes than listed", (_, response) => void response.writeHead(200, { "content-length": weights.length + 1 }).end(Buffer.concat([weights, Buffer.of(1)]))],
    ["of more bytes than listed, without a length", (_, response) => void response.writeHead(200).end(Buffer.concat([weights, weights]))],
    ["of compressed bytes", (_, response) => void response.writeHead(200, { "content-encoding": "gzip" }).end(weights)],
    ["of a size that the header contradicts", (_, response) => void response.writeHead(200, { "x-linked-size": "17", "content-length": weights.length }).end(weights)],
  ];
  test.each(lies)("%s", async (_, lie) => {
    const hub = await tricky((request, response) => (lie(request, response), true));
    await expect(from(hub)).rejects.toMatchObject({ code: "bad_file" });
    expectNothingOfIt();
    expect(blobs().filter((name) => name.endsWith(".incomplete"))).toEqual([]);
  });

  const page = "<html><body>Sign in</body></html>";
  const unvouched = (path: string, body: string | Uint8Array, type = "application/octet-stream"): Promise<FakeHub> =>
    start(
      serve((request, response) => {
        if (request.url!.includes("/api/")) return json(response, { sha: commit, siblings: [{ rfilename: path }] });
        response.writeHead(200, { "content-type": type, "content-length": Buffer.byteLength(body) }).end(body);
      }),
    );
  test.each<[path: string, body: string | Uint8Array, type?: string]>([
    ["model.safetensors", `\n${page}`],
    ["model.safetensors", weights],
    ["a.gguf", '{"error": "Rate limited"}'],
    ["tokenizer_config.json", `<!-- proxy -->${page}`],
    ["tokenizer_config.json", '{"error": "Rate limited"}'],
    ["merges.txt", `${" ".repeat(70_000)}<script>location = "/login"</script>`],
    ["merges.txt", '{"error": {"code": 429}}'],
    ["chat_template.jinja", page, "Text/HTML"],
    ["chat_template.jinja", page, "application/xhtml+xml; charset=utf-8"],
  ])("of anything else, where nothing tells the digest: %s", async (path, body, type) => {
    await expect(from(await unvouched(path, body, type), { include: ["*"] })).rejects.toMatchObject({ code: "bad_file" });
    expect(blobs()).toEqual([]);
  });

  test.each<[path: string, body: string | Uint8Array]>([
    ["model.safetensors", Buffer.concat([Buffer.of(2, 0, 0, 0, 0, 0, 0, 0), Buffer.from("{}")])],
    ["a.gguf", "GGUF and so on"],
    ["vocab.json", '{"error": 0, "<": 1}'],
    ["chat_template.jinja", "<|system|>{{ x }}"],
    ["README.md", '<div align="center">A model</div>'],
    ["merges.txt", "#version: 0.2\n< /"],
    ["notes.txt", ""],
  ])("but what its name promises does, without a digest too: %s", async (path, body) => {
    const { folder } = await from(await unvouched(path, body), { include: ["*"] });
    expect(readFileSync(join(folder, path)).equals(Buffer.from(body))).toBe(true);
  });

  test("of a body that ends early without a word", async () => {
    const hub = await tricky((request, response) => (response.writeHead(200).end(weights.subarray(0, 1000)), true));
    await expect(from(hub)).rejects.toMatchObject({ code: "network" });
    expectNothingOfIt();
  });

  test("when the disk is full, and what has arrived stays", async () => {
    mkdirSync(join(repository(), "blobs"), { recursive: true });
    const full = join(repository(), "blobs", `${blobOfWeights}.incomplete`);
    symlinkSync("/dev/full", full);
    const hub = await start(huggingFace(files));
    await expect(from(hub)).rejects.toMatchObject({ code: "disk", facts: { got: "ENOSPC" } });
    expectNothingOfIt();
    rmSync(full);
    await from(hub);
    expectWhole();
  });

  test("when it cannot fit", async () => {
    const huge = { sha: commit, siblings: [{ rfilename: "model.safetensors", size: 2 ** 52, blobId: "0".repeat(40) }] };
    const hub = await start(serve((_, response) => json(response, huge)));
    await expect(from(hub)).rejects.toMatchObject({ code: "disk" });
    expect(hub.seen).toHaveLength(1);
  });
});

describe("a listing", () => {
  const listing = (siblings: readonly unknown[]): Promise<FakeHub> => start(serve((_, response) => json(response, { sha: commit, siblings })));

  test.each(["../../../evil.safetensors", "/tmp/evil.safetensors", "a\\..\\evil.safetensors", "evil\0.safetensors", `${"a/".repeat(2000)}evil.safetensors`, "C:evil.safetensors"])("with the path %j leaves nothing behind", async (path) => {
    const hub = await listing([sibling("model.safetensors", weights), sibling(path, weights)]);
    await expect(from(hub)).rejects.toMatchObject({ code: "bad_file" });
    expect(readdirSync(cache())).toEqual([]);
  });

  test.each<[string, unknown]>([
    ["no commit", { siblings: [] }],
    ["a commit that is a path", { sha: "../../../../etc", siblings: [] }],
    ["no files", { sha: commit }],
    ["null", null],
  ])("with %s is refused", async (_, body) => {
    const hub = await start(serve((__, response) => json(response, body)));
    await expect(from(hub)).rejects.toMatchObject({ code: "bad_file" });
    expect(readdirSync(cache())).toEqual([]);
  });

  test("that is a page is refused", async () => {
    const hub = await start(serve((_, response) => void response.writeHead(200, { "content-type": "text/html" }).end("<html></html>")));
    await expect(from(hub)).rejects.toMatchObject({ code: "bad_file" });
  });

  test("without end is refused", async () => {
    const hub = await start(
      serve((_, response) => {
        const more = (): void => {
          while (response.writable && response.write(Buffer.alloc(2 ** 16, 32)));
        };
        response.on("drain", more);
        more();
      }),
    );
    await expect(from(hub)).rejects.toMatchObject({ code: "too_large" });
  });
});
