import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { kernelLibrary } from "./kernel-library.ts";

let cache: string;
beforeEach(() => {
  cache = mkdtempSync(join(tmpdir(), "longjing-kernels-"));
  for (const name of ["XDG_CACHE_HOME", "HOME"]) vi.stubEnv(name, cache);
  vi.stubEnv("LONGJING_INSTRUCTIONS", "");
});
afterEach(() => {
  vi.unstubAllEnvs();
  rmSync(cache, { recursive: true, force: true });
});

/** A compiler that says something and fails, first in the path. */
function failingCompiler(text: string): void {
  const bin = mkdtempSync(join(cache, "bin-"));
  writeFileSync(join(bin, "cc"), `#!/bin/sh\necho run >> ${cache}/runs\necho "${text}" >&2\nexit 1\n`, { mode: 0o755 });
  vi.stubEnv("PATH", `${bin}:/usr/bin:/bin`);
}

const left = (): string[] => readdirSync(cache, { recursive: true, encoding: "utf8" }).filter((path) => path.includes("kernels-"));

describe.skipIf(process.arch !== "x64" || process.platform === "win32")("the library of our kernels", () => {
  test("is compiled once, by any number that want it at once", async () => {
    const found = await Promise.all([kernelLibrary(), kernelLibrary()]);
    expect(found[1]).toEqual(found[0]);
    if ("missing" in found[0]) return expect(found[0].missing).toContain("not installed");
    expect(existsSync(found[0].path)).toBe(true);
    vi.stubEnv("PATH", cache);
    expect(await kernelLibrary()).toEqual(found[0]);
    expect(new Set(left().map((path) => path.split("/")[1]))).toHaveLength(1);
  }, 60_000);

  test("is missing where the compiler is, which may come later", async () => {
    vi.stubEnv("PATH", cache);
    expect(await kernelLibrary()).toEqual({ missing: expect.stringContaining("not installed") as string });
    expect(left()).toEqual([]);
  });

  test("is missing with the compiler's words where it fails, and it is not run again", async () => {
    failingCompiler("unknown option -mavx512vnni");
    const first = await kernelLibrary();
    expect(first).toEqual({ missing: expect.stringContaining("unknown option -mavx512vnni") as string });
    vi.stubEnv("PATH", cache);
    expect(await kernelLibrary()).toEqual(first);
  });

  test("is missing where it cannot be kept", async () => {
    writeFileSync(join(cache, "longjing"), "");
    vi.stubEnv("XDG_CACHE_HOME", cache);
    expect(await kernelLibrary()).toEqual({ missing: expect.stringMatching(/cannot be kept in .*(EEXIST|ENOTDIR)/) as string });
  });

  test("is done without where it cannot be loaded", async () => {
    const library = await kernelLibrary();
    if ("missing" in library) return expect(library.missing).toContain("not installed");
    writeFileSync(library.path, "no library");
    vi.resetModules();
    const { openOwnKernels } = await import("./own-kernels.ts");
    expect(await openOwnKernels()).toEqual({ missing: expect.stringContaining("cannot be loaded") as string });
  }, 60_000);

  test("is not wanted where somebody says so", async () => {
    vi.stubEnv("LONGJING_INSTRUCTIONS", "none");
    expect(await kernelLibrary()).toEqual({ missing: expect.stringContaining("LONGJING_INSTRUCTIONS") as string });
  });
});
