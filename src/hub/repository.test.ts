import { posix, resolve, sep, win32 } from "node:path";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { openHub } from "./hubs.ts";
import { checkListing, chooseFiles, parseDigest, parseRepository, pathFault, type RemoteFile } from "./repository.ts";

const file = (path: string, size: number | undefined = 1): RemoteFile => ({ path, size, digest: undefined });

/** Paths out of what makes them dangerous. */
const path = fc.oneof(
  fc.string(),
  fc.string({ unit: "binary" }),
  fc.array(fc.constantFrom("a", "..", ".", "/", "//", "\\", "\0", "C:", "model.safetensors", " ", "…"), { maxLength: 12 }).map((parts) => parts.join("")),
  fc.array(fc.constantFrom("a", "..", ".", "", "b.json"), { maxLength: 40 }).map((parts) => parts.join("/")),
);

describe("a path that is accepted", () => {
  test("stays below its folder, on every system", () => {
    fc.assert(
      fc.property(path, (candidate) => {
        fc.pre(pathFault(candidate) === null);
        expect(posix.resolve("/cache/x", candidate)).toBe(`/cache/x/${candidate}`);
        const onWindows = win32.resolve("D:\\cache\\x", candidate);
        expect(onWindows.startsWith("D:\\cache\\x\\")).toBe(true);
        expect(resolve("/cache/x", candidate).startsWith(`${resolve("/cache/x")}${sep}`)).toBe(true);
        expect(candidate).not.toMatch(/\0|\\/);
      }),
      { numRuns: 20_000 },
    );
  });

  test.each(["model.safetensors", "a/b/c.json", "…/模型.gguf", "..config", "a..b", "a b"])("%s", (ordinary) => expect(pathFault(ordinary)).toBeNull());

  test.each(["", "/etc/passwd", "../x", "a/../../x", "a/./b", "a//b", "a/", "a\\b", "..\\x", "a\0b", "C:x", "c:/x", "a\nb", "x".repeat(256), `${"a/".repeat(600)}a`, `${"a/".repeat(32)}a`])("is not %j", (hostile) =>
    expect(pathFault(hostile)).not.toBeNull(),
  );
});

describe("a listing", () => {
  const refuse = (files: readonly RemoteFile[]) => expect(() => checkListing(files, "hub")).toThrow(expect.objectContaining({ code: "bad_file" }));

  test("is refused whole for one hostile path", () => refuse([file("config.json"), file("../../evil.safetensors")]));
  test("names each file once", () => refuse([file("a"), file("a")]));
  test("has no file that is a folder too", () => refuse([file("a/b/c"), file("a/b")]));
  test("has a bounded number of files", () => refuse(Array.from({ length: 50_001 }, (_, i) => file(`${i}`))));
  test.each([-1, 0.5, Number.NaN, Infinity, 2 ** 60])("has no file of %d bytes", (size) => refuse([file("a", size)]));
});

describe("what a model needs", () => {
  const names = (files: readonly string[], include: readonly string[] = []): string[] => chooseFiles(files.map((name) => file(name)), include, "hub").map((chosen) => chosen.path);

  test("is configuration, tokenizer, template and safetensors of the root", () => {
    const model = ["config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "tokenizer.model", "special_tokens_map.json", "chat_template.jinja", "model-00001-of-00002.safetensors", "model.safetensors.index.json"];
    expect(names([...model, "README.md", "pytorch_model.bin", "original/consolidated.safetensors", "onnx/model.onnx", "training_args.bin"])).toEqual(model);
  });

  test("is what the globs match, when there are some", () => {
    const files = ["config.json", "a.Q4_0.gguf", "a.Q8_0.gguf", "sub/b.gguf"];
    expect(names(files, ["*.gguf"])).toEqual(["a.Q4_0.gguf", "a.Q8_0.gguf", "sub/b.gguf"]);
    expect(names(files, ["*Q4_?.gguf", "config.json"])).toEqual(["config.json", "a.Q4_0.gguf"]);
  });

  test.each(["", "*", "*.bin"])("is never a pickle, whatever is asked for: %j", (glob) => {
    expect(() => names(["pytorch_model.bin", "x.pt", "y.ckpt"], glob === "" ? [] : [glob])).toThrow(expect.objectContaining({ code: "unsupported" }));
    expect(names(["pytorch_model.bin", "model.safetensors"], ["*"])).toEqual(["model.safetensors"]);
  });

  test("leads on to GGUF where there is only that", () => {
    expect(() => names(["README.md", "a.gguf"])).toThrow(/--include 'a.gguf'/);
    expect(() => names(["README.md"], ["*.gguf"])).toThrow(expect.objectContaining({ code: "not_found" }));
  });
});

describe("a name", () => {
  test.each([
    ["org/name", { id: "org/name", revision: undefined }],
    ["org/name@v1.0", { id: "org/name", revision: "v1.0" }],
    ["Qwen/Qwen3-0.6B@refs/pr/1", { id: "Qwen/Qwen3-0.6B", revision: "refs/pr/1" }],
  ])("%s", (text, ref) => expect(parseRepository(text)).toEqual(ref));

  test.each(["name", "a/b/c", "./a", "../a", "a/..", "/a/b", "a--b/c", "a/b@", "a/b@../x", "a/b@/x", "a b/c", "a/b@x@{1}", "-a/b", `${"a".repeat(97)}/b`, "a/b\0", "a/b@x\n"])("is not %j", (text) =>
    expect(parseRepository(text)).toBeNull(),
  );

  test.each(["v1#2", "a@b", "@x", "fix(tokenizer)", "über/模型", "a.b", "+x", "x-", "a&b=c"])("may have the revision %j, as in Git", (revision) => {
    expect(parseRepository(`org/name@${revision}`)).toEqual({ id: "org/name", revision });
    for (const hub of [openHub({}), openHub({}, "modelscope")]) {
      const { pathname, searchParams, hash } = hub.listingUrl("org/name", revision);
      expect([hash, searchParams.get("Revision") ?? decodeURIComponent(pathname.split("/").at(-1)!)]).toEqual(["", revision]);
    }
  });

  test.each(["@", ".a", "a/.b", "a.", "a.lock", "a.lock/b", "a..b", "a~1", "a^", "a:b", "a?", "a*", "a[", "a\\b", "a b", "a\u007f", "a/", "a//b", "-a", "\ud800"])("has no revision %j, as in Git", (revision) => expect(parseRepository(`org/name@${revision}`)).toBeNull());

  test("leads to no other folder than its own", () => {
    const text = fc.string({ unit: fc.constantFrom("a", "B", "1", "-", "_", ".", "/", "+", "\\", "\0"), maxLength: 8 });
    const named = fc.tuple(text, text, fc.option(text)).map(([org, name, revision]) => `${org}/${name}${revision === null ? "" : `@${revision}`}`);
    let accepted = 0;
    fc.assert(
      fc.property(named, (candidate) => {
        const ref = parseRepository(candidate);
        if (ref === null) return;
        accepted++;
        expect(ref.id).toMatch(/^[^/]+\/[^/]+$/);
        expect(pathFault(ref.id)).toBeNull();
        expect(ref.id).not.toContain("--");
        expect(ref.revision === undefined || pathFault(ref.revision) === null).toBe(true);
      }),
      { numRuns: 20_000 },
    );
    expect(accepted).toBeGreaterThan(0);
  });
});

test("a digest is 64 or 40 digits, quoted or not, and nothing else", () => {
  const hex = "AB".repeat(32);
  expect(parseDigest(`W/"${hex}"`)).toEqual({ algorithm: "sha256", hex: hex.toLowerCase() });
  expect(parseDigest("0".repeat(40))).toEqual({ algorithm: "git-sha1", hex: "0".repeat(40) });
  for (const other of [null, undefined, "", "abc", `../${hex}`, `${hex}0`, `sha256:${hex}`, `"${hex}/../x"`]) expect(parseDigest(other)).toBeUndefined();
});
