import { execFileSync } from "node:child_process";
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";

interface Manifest {
  readonly exports: Readonly<Record<string, { readonly types: string; readonly default: string }>>;
  readonly dependencies: Readonly<Record<string, string>>;
  readonly optionalDependencies: Readonly<Record<string, string>>;
  readonly peerDependencies: Readonly<Record<string, string>>;
}

const root = join(import.meta.dirname, "..");
const manifest = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as Manifest;
const work = mkdtempSync(join(tmpdir(), "longjing-package-"));
/** A project of somebody's, with the package as npm would install it: beside what it says it depends on, and nothing else. */
const project = join(work, "project");
const installed = join(project, "node_modules", "longjing");
const require = createRequire(import.meta.url);
const tool = (name: string, path: string): string => join(dirname(require.resolve(`${name}/package.json`)), path);
const node = (args: readonly string[]): string => execFileSync(process.execPath, args, { cwd: project, encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });

beforeAll(() => {
  const staged = join(work, "staged");
  mkdirSync(join(staged, "apps/studio/dist"), { recursive: true });
  for (const name of ["package.json", ".gitignore", "README.md", "LICENSE", "bin", "kernels", "recipes", "models", "suites", "src", "test/fixtures.ts"]) if (existsSync(join(root, name))) cpSync(join(root, name), join(staged, name), { recursive: true });
  writeFileSync(join(staged, "apps/studio/dist/index.html"), "<title>The page</title>");
  execFileSync(process.execPath, [tool("typescript", "bin/tsc"), "-p", join(root, "tsconfig.build.json"), "--outDir", join(staged, "dist")]);
  const packed = execFileSync("npm", ["pack", "--json", "--pack-destination", work], { cwd: staged, encoding: "utf8", stdio: ["ignore", "pipe", "ignore"], shell: process.platform === "win32" });
  const [{ filename }] = JSON.parse(packed) as [{ filename: string }];
  mkdirSync(installed, { recursive: true });
  execFileSync("tar", ["-xzf", join(work, filename), "-C", installed, "--strip-components", "1"]);
  for (const name of Object.keys({ ...manifest.dependencies, ...manifest.optionalDependencies })) {
    const [link, target] = [join(project, "node_modules", name), join(root, "node_modules", name)];
    mkdirSync(dirname(link), { recursive: true });
    if (existsSync(target)) symlinkSync(target, link, "junction");
  }
}, 120_000);

afterAll(() => rmSync(work, { recursive: true, force: true }));

test("the package has what a person runs and imports, and no sources or tests", () => {
  for (const name of ["bin", "dist", "kernels/pack.c", "recipes", "apps/studio/dist", "README.md", "LICENSE"]) expect(existsSync(join(installed, name)), name).toBe(true);
  for (const { types, default: file } of Object.values(manifest.exports)) for (const name of [types, file]) expect(existsSync(join(installed, name)), name).toBe(true);
  for (const name of ["src", "test", "dist/tensor/value.test.js"]) expect(existsSync(join(installed, name)), name).toBe(false);
});

test("every public path can be imported", () => {
  const paths = Object.keys(manifest.exports).map((path) => `longjing${path.slice(1)}`);
  const code = `const all = await Promise.all(${JSON.stringify(paths)}.map((path) => import(path))); console.log(all.every((each) => Object.keys(each).length > 0));`;
  expect(node(["--input-type=module", "--eval", code]).trim()).toBe("true");
});

test("its types serve a strict project", () => {
  const check = (code: string) => {
    writeFileSync(join(project, "index.ts"), code);
    return node([tool("typescript", "bin/tsc"), "--noEmit", "--strict", "--module", "nodenext", "--target", "es2023", "--lib", "es2023,esnext.disposable", "--types", "", "index.ts"]);
  };
  writeFileSync(join(project, "package.json"), JSON.stringify({ type: "module" }));
  expect(check('import { countdown, type Score } from "longjing/tasks";\nexport const score: Score = countdown.score(countdown.problem({ split: "test", seed: 0, index: 0 }), "");')).toBe("");
  expect(() => check('import { countdown } from "longjing/tasks";\nexport const levels: string = countdown.levels;')).toThrow("Command failed");
});

test("the command runs a graph, and trains by a recipe in TypeScript", () => {
  const longjing = (...args: string[]): string => node([join(installed, "bin", "longjing"), ...args]);
  expect(longjing("--help")).toContain("doctor");
  expect(JSON.parse(longjing("doctor", "--json"))).toMatchObject({ healthy: true });
  cpSync(join(root, "test", "tiny-recipe.ts"), join(project, "tiny.ts"));
  longjing("train", "tiny.ts", "--out", "run", "--max-steps", "1");
  expect(existsSync(join(project, "run", "log.jsonl"))).toBe(true);
});

test("it runs Python where pyodide is installed, and says so where it is not", () => {
  // Not closed: an idle sandbox keeps nobody from ending.
  const code = `import { openPythonSandbox } from "longjing/tasks";
    try { console.log((await openPythonSandbox({ seconds: 30 }).run({ source: "print(6 * 7)" })).stdout.trim()); } catch ({ code, message }) { console.log(code, message); }`;
  const said = () => node(["--input-type=module", "--eval", code]).trim();
  expect(said()).toMatch(/^not_found /);
  expect(said()).toContain(`npm install pyodide@${manifest.peerDependencies["pyodide"]}`);
  symlinkSync(join(root, "node_modules", "pyodide"), join(project, "node_modules", "pyodide"), "junction");
  expect(said()).toBe("42");
}, 120_000);
