import { mkdir, mkdtemp, readFile, readdir, rm, stat, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { beforeEach, describe, expect, it, onTestFinished } from "vitest";
import { exists, openFileSource, readJson, readText, writeFolder, writeNewFile } from "./files.ts";

let parent: string;

beforeEach(async () => {
  parent = await mkdtemp(join(tmpdir(), "longjing-"));
  onTestFinished(() => rm(parent, { recursive: true, force: true }));
});

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const fill = (text: string) => (folder: string) => writeNewFile(join(folder, "a.txt"), [bytes(text), bytes("!")]);

describe("a folder", () => {
  it("appears whole, with the folders above it, and leaves nothing beside it", async () => {
    const target = join(parent, "runs", "step-1");
    await writeFolder(target, false, fill("one"));
    expect(await readFile(join(target, "a.txt"), "utf8")).toBe("one!");
    expect(await readdir(join(parent, "runs"))).toStrictEqual(["step-1"]);
  });

  it("has the permissions of any new folder", async () => {
    await mkdir(join(parent, "plain"));
    await writeFolder(join(parent, "written"), false, fill("one"));
    expect((await stat(join(parent, "written"))).mode).toBe((await stat(join(parent, "plain"))).mode);
  });

  it("takes the place of an empty folder, and of nothing else", async () => {
    const target = join(parent, "target");
    await mkdir(target);
    await writeFolder(target, false, fill("one"));
    await writeFile(join(parent, "file"), "");
    await symlink(target, join(parent, "link"));
    for (const name of ["target", "file", "link"]) {
      await expect(writeFolder(join(parent, name), false, fill("two"))).rejects.toMatchObject({ code: "conflict" });
    }
    expect(await readFile(join(target, "a.txt"), "utf8")).toBe("one!");
    expect((await readdir(parent)).toSorted()).toStrictEqual(["file", "link", "target"]);
  });

  it("notices what came while it was written", async () => {
    const target = join(parent, "target");
    const racing = writeFolder(target, false, async (folder) => {
      await writeFolder(target, false, fill("first"));
      await fill("second")(folder);
    });
    await expect(racing).rejects.toMatchObject({ code: "conflict" });
    expect(await readFile(join(target, "a.txt"), "utf8")).toBe("first!");
    expect(await readdir(parent)).toStrictEqual(["target"]);
  });

  it("is replaced whole when that is asked for", async () => {
    const target = join(parent, "target");
    await writeFolder(target, true, async (folder) => {
      await fill("one")(folder);
      await writeNewFile(join(folder, "old.txt"), []);
    });
    await writeFolder(target, true, fill("two"));
    expect(await readdir(target)).toStrictEqual(["a.txt"]);
    expect(await readFile(join(target, "a.txt"), "utf8")).toBe("two!");
    expect(await readdir(parent)).toStrictEqual(["target"]);
  });

  it.each([false, true])("stays as it was when writing fails (overwrite %s)", async (overwrite) => {
    const target = join(parent, "target");
    if (overwrite) await writeFolder(target, false, fill("one"));
    const failing = writeFolder(target, overwrite, async (folder) => {
      await fill("two")(folder);
      throw new Error("power cut");
    });
    await expect(failing).rejects.toThrow("power cut");
    expect(await readdir(parent)).toStrictEqual(overwrite ? ["target"] : []);
    if (overwrite) expect(await readFile(join(target, "a.txt"), "utf8")).toBe("one!");
  });
});

describe("errors of the file system", () => {
  it("say what and where", async () => {
    const file = join(parent, "file.json");
    await writeFile(file, "{");
    expect([await exists(file), await exists(parent), await exists(join(parent, "none")), await exists(join(file, "below"))]).toStrictEqual([true, true, false, false]);
    await expect(readJson(join(parent, "none.json"), 10)).rejects.toMatchObject({
      code: "not_found",
      facts: { where: join(parent, "none.json") },
    });
    await expect(readJson(file, 10)).rejects.toMatchObject({ code: "bad_file" });
    await expect(readJson(file, 0)).rejects.toMatchObject({ code: "too_large" });
    expect(await readText(file, 1)).toBe("{");
    await writeFile(join(parent, "latin"), Uint8Array.of(0xe9));
    await expect(readText(join(parent, "latin"), 10)).rejects.toMatchObject({ code: "bad_file" });
    await expect(openFileSource(parent)).rejects.toMatchObject({ code: "bad_file" });
    await expect(writeNewFile(file, [])).rejects.toMatchObject({ code: "conflict" });
    await expect(writeFolder(join(file, "below"), false, fill("one"))).rejects.toMatchObject({
      code: expect.stringMatching(/not_found|conflict/),
    });
  });
});
