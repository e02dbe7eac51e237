import { existsSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, expect, test, vi } from "vitest";
import { LongjingError } from "../errors/index.ts";
import { openBackend } from "./node.ts";
import { fetchOrtLibrary, ortLibraryPath } from "./ort-library.ts";

afterEach(() => void vi.unstubAllEnvs());

test("the library is found, and is of the version that the package asks for", async () => {
  expect(existsSync(ortLibraryPath())).toBe(true);
  const { default: manifest } = await import("../../package.json", { with: { type: "json" } });
  expect((await openBackend()).version).toBe(manifest.optionalDependencies["onnxruntime-node"]);
});

test("a registry out of reach is reported, and leaves nothing behind", async () => {
  const folder = mkdtempSync(join(tmpdir(), "longjing-"));
  for (const name of ["XDG_CACHE_HOME", "LOCALAPPDATA", "HOME"]) vi.stubEnv(name, folder);
  vi.stubEnv("npm_config_registry", "http://127.0.0.1:9/");
  vi.stubEnv("npm_config_cache", join(folder, "npm"));
  vi.stubEnv("npm_config_fetch_retries", "0");
  const error: unknown = await fetchOrtLibrary().catch((thrown: unknown) => thrown);
  expect(LongjingError.is(error) && error.code).toBe("not_found");
  const left = readdirSync(folder, { recursive: true, encoding: "utf8" }).filter((path) => path.includes("onnxruntime"));
  expect(left).toEqual([]);
  rmSync(folder, { recursive: true });
});
