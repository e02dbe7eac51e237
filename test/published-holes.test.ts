import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { describe, expect, onTestFinished, test } from "vitest";
import { compileSpec } from "../src/constrain/index.ts";
import { LongjingError } from "../src/errors/index.ts";
import { createApp } from "../src/serve/index.ts";
import { chatRenderer, createTokenizer, ggufTokenizer, trainBpe } from "../src/text/index.ts";
import { bytesSource, decodeSafetensors, openCheckpoint, openGguf, readAdapter } from "../src/weights/index.ts";
import { fakeModel } from "./fake-model.ts";
import { commit, json, serve, sibling } from "./hub-server.ts";
import { files, pulls, weights } from "./pulls.ts";

/** Holes that were published of other systems, by the number under which they can be read up. Each was one file or one request. */

const u32 = (value: number): Uint8Array => new Uint8Array(Uint32Array.of(value).buffer);
const u64 = (value: number | bigint): Uint8Array => new Uint8Array(BigUint64Array.of(BigInt(value)).buffer);
const text = (value: string): Uint8Array => Buffer.concat([u64(Buffer.byteLength(value)), Buffer.from(value)]);
const pair = (key: string, type: number, ...value: Uint8Array[]): Uint8Array => Buffer.concat([text(key), u32(type), ...value]);
const tensor = (name: string, sizes: readonly (number | bigint)[], type: number, offset: number | bigint): Uint8Array => Buffer.concat([text(name), u32(sizes.length), ...sizes.map(u64), u32(type), u64(offset)]);

/** A GGUF file; `counts` lie about what follows. */
function gguf(pairs: readonly Uint8Array[], tensors: readonly Uint8Array[], counts: { tensors?: bigint; pairs?: bigint } = {}, data = 256): Buffer {
  const header = Buffer.concat([Buffer.from("GGUF"), u32(3), u64(counts.tensors ?? tensors.length), u64(counts.pairs ?? pairs.length), ...pairs, ...tensors]);
  return Buffer.concat([header, Buffer.alloc((32 - (header.length % 32)) % 32), Buffer.alloc(data)]);
}

const refusedFile = (bytes: Uint8Array) => expect(openGguf(bytesSource(bytes, "model.gguf"))).rejects.toMatchObject({ code: "bad_file" });

describe("GGUF", () => {
  test.each<[string, Uint8Array]>([
    ["CVE-2024-23605: a count of keys that overflows the allocation", gguf([], [], { pairs: 2n ** 64n - 1n })],
    ["CVE-2024-23605: a count of keys that wraps when multiplied by an entry's size", gguf([], [], { pairs: 2n ** 61n })],
    ["CVE-2024-21802: a count of tensors that overflows", gguf([], [], { tensors: 2n ** 63n })],
    ["CVE-2024-21802: sizes whose product wraps to nothing", gguf([], [tensor("a", [2n ** 32n, 2n ** 32n], 0, 0)])],
    ["CVE-2025-53630: sizes that wrap only when tensors are added up", gguf([], [tensor("a", [2n ** 50n], 0, 0), tensor("b", [2n ** 50n], 0, 2n ** 52n)])],
    ["CVE-2026-27940: a text longer than memory", gguf([pair("a", 8, u64(2n ** 63n))], [])],
    ["CVE-2026-33298: bytes of blocks that wrap", gguf([], [tensor("a", [2n ** 37n, 2n ** 25n], 2, 0)])],
    ["padding that wraps around: an offset at the end of 64 bits", gguf([], [tensor("a", [8], 0, 2n ** 64n - 32n)])],
    ["an alignment of 0, which divides", gguf([pair("general.alignment", 4, u32(0))], [tensor("a", [8], 0, 0)])],
    ["an alignment without bound", gguf([pair("general.alignment", 4, u32(2 ** 31))], [tensor("a", [8], 0, 0)])],
    ["a dimension of 0, which divides", gguf([], [tensor("a", [0, 8], 0, 0)])],
    ["CVE-2026-7482: a tensor larger than the file, whose reading told what lay behind it", gguf([], [tensor("a", [2 ** 20], 0, 0)])],
    ["a tensor within another", gguf([], [tensor("a", [64], 0, 0), tensor("b", [8], 0, 32)])],
    ["a key twice, of which two readers take one each", gguf([pair("a", 4, u32(1)), pair("a", 4, u32(2))], [])],
    ["lists within lists", gguf([pair("a", 9, u32(9), u64(2 ** 20))], [])],
  ])("%s", async (_, bytes) => refusedFile(bytes));

  const strings = (...values: string[]): Uint8Array[] => [u32(8), u64(values.length), ...values.map(text)];
  const numbers = (...values: number[]): Uint8Array[] => [u32(4), u64(values.length), ...values.map(u32)];
  test.each<[string, Uint8Array[], Uint8Array[]]>([
    ["tokens", numbers(1, 2), numbers(1, 1)],
    ["token types", strings("a", "b"), strings("1", "1")],
  ])("lists whose elements are of another type than what reads them expects: %s", async (_, tokens, types) => {
    const { metadata } = await openGguf(bytesSource(gguf([pair("tokenizer.ggml.model", 8, text("gpt2")), pair("tokenizer.ggml.pre", 8, text("gpt-2")), pair("tokenizer.ggml.tokens", 9, ...tokens), pair("tokenizer.ggml.token_type", 9, ...types), pair("tokenizer.ggml.merges", 9, ...strings())], []), "model.gguf"));
    expect(() => ggufTokenizer(metadata, "model.gguf")).toThrow(expect.objectContaining({ code: "bad_file" }));
  });
});

describe("safetensors", () => {
  const header = (json: string, length = BigInt(Buffer.byteLength(json))): Buffer => Buffer.concat([u64(length), Buffer.from(json), Buffer.alloc(64)]);
  const a = '"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}';
  test.each<[string, Buffer]>([
    ["a header longer than the file", header("{}", 2n ** 63n)],
    ["offsets behind the end", header('{"a":{"dtype":"F32","shape":[400],"data_offsets":[0,1600]}}')],
    ["tensors that overlap", header(`{${a},"b":{"dtype":"F32","shape":[4],"data_offsets":[8,24]}}`)],
    ["a name twice, of which two readers take one each", header(`{${a},${a}}`)],
    ["a shape that is not its bytes", header('{"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,16]}}')],
    ["nesting without end", header(`{"a":${"[".repeat(100_000)}`)],
  ])("%s", async (_, bytes) => {
    await expect(decodeSafetensors(bytes)).rejects.toMatchObject({ code: "bad_file" });
  });
});

describe("pickle: CVE-2024-9052, CVE-2024-9053, CVE-2024-11041, CVE-2025-29783, CVE-2025-32444", () => {
  const folder = (names: Readonly<Record<string, string>>): string => {
    const path = mkdtempSync(join(tmpdir(), "longjing-holes-"));
    onTestFinished(() => rmSync(path, { recursive: true }));
    for (const [name, content] of Object.entries(names)) writeFileSync(join(path, name), content);
    return path;
  };
  const config = JSON.stringify({ model_type: "llama", vocab_size: 8, hidden_size: 8, intermediate_size: 8, num_hidden_layers: 1, num_attention_heads: 1, max_position_embeddings: 8, rms_norm_eps: 1e-5, hidden_act: "silu" });

  test("weights that would run code when they are read are refused by their name", async () => {
    for (const name of ["pytorch_model.bin", "model.pt", "consolidated.pth"]) await expect(openCheckpoint(folder({ "config.json": config, [name]: "\x80\x02" }))).rejects.toMatchObject({ code: "unsupported", facts: { got: name } });
    await expect(readAdapter(folder({ "adapter_config.json": JSON.stringify({ peft_type: "LORA", target_modules: ["q_proj"] }), "adapter_model.bin": "\x80\x02" }), [])).rejects.toMatchObject({ code: "unsupported" });
  });

  test("and so is an index that leads out of its folder", async () => {
    const index = JSON.stringify({ weight_map: { "model.norm.weight": "../../etc/passwd" } });
    await expect(openCheckpoint(folder({ "config.json": config, "model.safetensors.index.json": index }))).rejects.toMatchObject({ code: "bad_file" });
  });
});

describe("pulling", () => {
  const { cache, start, from } = pulls();
  const listing = (siblings: readonly unknown[]) => start(serve((_, response) => json(response, { sha: commit, siblings })));

  test.each(["sha256:../../../../root/.ssh/authorized_keys", "../../../../etc/passwd", `${"0".repeat(63)}/`, `sha256:${"0".repeat(64)}\0`])("CVE-2024-37032, CVE-2026-103663: the digest %j, a path, names no file", async (digest) => {
    const hub = await listing([{ ...(sibling("model.safetensors", weights) as object), blobId: digest, lfs: { sha256: digest, size: weights.length, pointerSize: 130 } }]);
    await expect(from(hub)).rejects.toSatisfy(LongjingError.is);
    expect(readdirSync(cache(), { recursive: true }).filter((name) => /passwd|authorized|^[^/]*\.incomplete/.test(String(name)))).toEqual([]);
  });

  test("a file of a listing that lies outside of the cache", async () => {
    const hub = await listing([sibling("../../../.bashrc.safetensors", weights)]);
    await expect(from(hub)).rejects.toMatchObject({ code: "bad_file" });
    expect(readdirSync(cache())).toEqual([]);
  });

  test("a listing that a few bytes of gzip blow up", async () => {
    const bomb = gzipSync(Buffer.alloc(2 ** 28, 32));
    const hub = await start(serve((_, response) => void response.writeHead(200, { "content-type": "application/json", "content-encoding": "gzip" }).end(bomb)));
    await expect(from(hub)).rejects.toMatchObject({ code: "too_large" });
  });

  test("CVE-2026-5530, CVE-2026-108836: a hub that sends the token on to an address within", async () => {
    const inside = await start(serve((_, response) => json(response, {})));
    const hub = await start(serve((_, response) => void response.writeHead(302, { location: inside.url }).end()));
    await expect(from(hub, {}, { HF_TOKEN: "hf_secret" })).rejects.toSatisfy(LongjingError.is);
    expect(inside.seen.filter(({ headers }) => headers.authorization !== undefined)).toEqual([]);
  });

  test("weights that are not what the listing says", async () => {
    const hub = await start(serve((request, response) => (request.url!.startsWith("/api/") ? json(response, { sha: commit, siblings: Object.entries(files).map(([path, bytes]) => sibling(path, bytes)) }) : void response.writeHead(200).end(Buffer.alloc(weights.length)))));
    await expect(from(hub)).rejects.toSatisfy(LongjingError.is);
  });
});

describe("chat templates: CVE-2026-115911, and code in templates", () => {
  test("one that goes on for ever, or writes without end", () => {
    for (const template of ["{% for i in range(10**12) %}{% endfor %}", "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "{% set ns = namespace(a='x') %}{% for i in range(99) %}{% set ns.a = ns.a ~ ns.a %}{% endfor %}{{ ns.a }}"]) {
      expect(() => chatRenderer(template)([])).toThrow(LongjingError);
    }
  });

  test.each(["{{ ''.__class__.__mro__ }}", "{{ messages.constructor.constructor('return process')() }}", "{{ cycler.__init__.__globals__.os.popen('id').read() }}", "{{ messages['__proto__']['x'] }}", "{{ range.constructor('return 7')() }}"])("nothing of the machine is in reach: %s", (template) => {
    let said = "";
    try {
      said = chatRenderer(template)([{ role: "user", content: "hi" }]);
    } catch (error) {
      expect(error).toSatisfy(LongjingError.is);
    }
    expect(said).toBe("");
  });

  test("one that comes with a request is not run", async () => {
    const model = fakeModel();
    const ask = (extra: object) => createApp({ models: [model] }).request("/v1/chat/completions", { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ model: model.id, messages: [{ role: "user", content: "hi" }], ...extra }) });
    await ask({});
    await ask({ chat_template: "{{ 'hijacked' }}", chat_template_kwargs: { chat_template: "{{ 'hijacked' }}" } });
    const prompts = model.requests.map(({ prompt_ids }) => model.tokenizer.decode(prompt_ids));
    for (const prompt of prompts) expect(prompt).toBe(prompts[0]);
  });
});

describe("tokenizers", () => {
  test("a split whose regular expression takes for ever", () => {
    const { tokenizerJson, tokenizerConfig } = trainBpe(["tea"], { vocabSize: 266 });
    const bomb = { ...tokenizerJson, pre_tokenizer: { type: "Sequence", pretokenizers: [{ type: "Split", pattern: { Regex: "(a+)+$" }, behavior: "Isolated", invert: false }] } };
    expect(() => createTokenizer(bomb, tokenizerConfig)).toThrow(expect.objectContaining({ code: "unsupported" }));
  });

  test("a normalizer that makes a text longer without end", () => {
    const { tokenizerJson, tokenizerConfig } = trainBpe(["tea"], { vocabSize: 266 });
    const normalizers = Array(64).fill({ type: "Replace", pattern: { String: "a" }, content: "aa" });
    expect(() => createTokenizer({ ...tokenizerJson, normalizer: { type: "Sequence", normalizers } }, tokenizerConfig)).toThrow(expect.objectContaining({ code: "unsupported" }));
  });
});

describe("formats: CVE-2026-55574, PYSEC-2026-3933, CVE-2026-105757", () => {
  const around = { thinking: "none", answerTags: false } as const;
  test("a regular expression that hangs those that backtrack becomes an automaton", () => {
    expect(compileSpec({ type: "regex", regex: "(a+)+b" }, around).starts.length).toBeGreaterThan(0);
  });

  test.each(["(a|b)*a(a|b){40}", "(a{1,1000}){1,1000}", "(", "(?<name>a)\\k<name>"])("one that has no automaton of a bearable size is an error of the request: %s", (regex) => {
    expect(() => compileSpec({ type: "regex", regex }, around)).toThrow(LongjingError);
  });
});

describe("the server", () => {
  const model = fakeModel();
  const app = createApp({ models: [model] });
  const post = (path: string, body: object, headers: Record<string, string> = {}) => app.request(path, { method: "POST", headers: { "content-type": "application/json", ...headers }, body: JSON.stringify(body) });
  const chat = (body: object) => post("/v1/chat/completions", { model: model.id, messages: [{ role: "user", content: "hi" }], ...body });

  test("CVE-2026-7482: takes no model from a request, nor gives one away", async () => {
    for (const path of ["/api/create", "/api/push", "/api/pull", "/api/blobs/sha256:0"]) expect((await post(path, { name: "x", files: {} })).status, path).toBe(404);
  });

  test("CVE-2026-24779: fetches no address that a message names", async () => {
    const inside = await serve((_, response) => json(response, {}));
    onTestFinished(() => inside.close());
    for (const type of ["image_url", "input_audio", "file"]) {
      const response = await chat({ messages: [{ role: "user", content: [{ type, [type]: { url: inside.url, data: inside.url, file_data: inside.url } }] }] });
      expect(response.status, type).toBe(400);
    }
    expect(inside.seen).toEqual([]);
  });

  test("caps what multiplies work: choices, stop strings, tools", async () => {
    expect((await chat({ n: 16_384 })).status).toBe(400);
    expect((await chat({ stop: Array<string>(1000).fill("x") })).status).toBe(400);
    const tool = (i: number): object => ({ type: "function", function: { name: `f${i}`, parameters: { type: "object", properties: {} } } });
    expect((await chat({ tools: Array.from({ length: 1000 }, (_, i) => tool(i)) })).status).toBe(400);
  });

  test("DNS rebinding and foreign pages: another Host or Origin is refused", async () => {
    expect((await app.request("/v1/models", { headers: { host: "evil.example" } })).status).toBe(403);
    expect((await post("/v1/chat/completions", {}, { host: "localhost", origin: "https://evil.example" })).status).toBe(403);
  });

  test("no route is open where keys are asked for, whatever its prefix", async () => {
    const locked = createApp({ models: [fakeModel()], auth: "secret" });
    for (const path of ["/invocations", "/pause", "/update_weights", "/tokenize", "/detokenize", "/metrics", "/v2/models", "/version"]) expect((await locked.request(path, { method: "POST" })).status, path).toBe(401);
  });
});
