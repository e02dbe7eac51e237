import { execFileSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { pathToFileURL } from "node:url";
import { describe, expect, test } from "vitest";
import { launcher } from "./launcher.ts";

const root = join(import.meta.dirname, "..");
const read = (path: string): string => readFileSync(join(root, path), "utf8");
const list = (folder: string): string[] => readdirSync(join(root, folder), { recursive: true, encoding: "utf8" }).map((name) => `${folder}/${name.replaceAll("\\", "/")}`);
const require = createRequire(import.meta.url);
const readme = read("README.md");

describe("the README's example", () => {
  const [, example = ""] = /```ts\n(.*?)```/s.exec(readme) ?? [];

  test("prints what its last comment says", () => {
    const [, said] = / \/\/ (.+)\n$/.exec(example) ?? [];
    // Beside the sources, where "longjing/…" is this very package.
    const folder = mkdtempSync(join(root, "test", "readme-"));
    try {
      writeFileSync(join(folder, "example.ts"), example);
      const tsx = pathToFileURL(require.resolve("tsx")).href;
      expect(execFileSync(process.execPath, ["--import", tsx, "--conditions=source", join(folder, "example.ts")], { encoding: "utf8" }).trim()).toBe(said);
      const config = { extends: "../../tsconfig.json", include: ["example.ts"], compilerOptions: { noEmit: true } };
      writeFileSync(join(folder, "tsconfig.json"), JSON.stringify(config));
      execFileSync(process.execPath, [join(dirname(require.resolve("typescript/package.json")), "bin", "tsc"), "-p", folder], { stdio: "pipe" });
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});

test("the commands of the README are the command's", () => {
  const shown = new Set([...readme.matchAll(/^bin\/longjing (\w+)/gm)].map(([, name = ""]) => name));
  const help = execFileSync(process.execPath, [launcher, "--help"], { encoding: "utf8" });
  const known = new Set([...(help.split("Commands:")[1] ?? "").matchAll(/^ {2}(\w+)/gm)].map(([, name = ""]) => name));
  known.delete("help");
  expect([...shown].sort()).toEqual([...known].sort());
});

test("the documents link to what is there", () => {
  const documents = ["README.md", "CONTRIBUTING.md", ...list("docs").filter((path) => path.endsWith(".md"))];
  const broken = documents.flatMap((path) =>
    [...read(path).matchAll(/\]\(([^)\s]+)\)/g)]
      .map(([, target = ""]) => target.split("#")[0] ?? "")
      .filter((target) => target !== "" && !/^[a-z]+:/.test(target) && !existsSync(join(root, dirname(path), target)))
      .map((target) => `${path}: ${target}`),
  );
  expect(broken).toEqual([]);
});

test("docs/papers.md has each paper beside the files that cite it", () => {
  const cited = ["src", "recipes"].flatMap(list).filter((path) => /(?<!\.test)\.ts$/.test(path))
    .flatMap((path) => [...new Set([...read(path).matchAll(/\b\d{4}\.\d{5}\b/g)].map(([paper]) => `${paper} ${path}`))]);
  let paper = "";
  const listed = [...read("docs/papers.md").matchAll(/^\| ?(.*?) \|.*\| `(.+?)` \|$/gm)].map(([, first = "", path = ""]) => {
    paper = /\[(\d{4}\.\d{5})\]/.exec(first)?.[1] ?? paper;
    return `${paper} ${path}`;
  });
  expect(listed.sort()).toEqual(cited.sort());
});
