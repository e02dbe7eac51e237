import { createHash } from "node:crypto";
import { readFile, stat } from "node:fs/promises";
import { register } from "node:module";
import { dirname, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { z } from "zod";
import { LongjingError } from "../errors/index.ts";
import type { Recipe } from "../train/index.ts";

const callable = z.custom<() => unknown>((value) => typeof value === "function", "expected a function");

const recipeShape = z.looseObject({
  name: z.string().min(1),
  tokenizer: callable.optional(),
  model: callable.optional(),
  stages: z
    .array(z.looseObject({ name: z.string().regex(/^[A-Za-z0-9][A-Za-z0-9_-]*$/, "expected letters, digits, - and _"), steps: z.int().nonnegative(), run: callable }))
    .min(1)
    .refine((stages) => new Set(stages.map(({ name }) => name)).size === stages.length, "expected stages of different names"),
});

/**
 * Imports a recipe. Its file may be TypeScript and may lie anywhere: what it imports from "longjing/…" is this very copy.
 * @throws LongjingError "not_found"; "bad_file" when the file cannot be imported or exports no recipe
 */
export async function loadRecipe(path: string): Promise<Recipe> {
  const where = resolve(path);
  if (!(await stat(where).then((entry) => entry.isFile(), () => false))) throw new LongjingError("not_found", "There is no such recipe", { where, hint: "Recipes that ship are in recipes/" });
  await prepareImports();
  const module = (await import(pathToFileURL(where).href).catch((cause: unknown) => {
    if (LongjingError.is(cause)) throw cause;
    throw new LongjingError("bad_file", "The recipe cannot be loaded", { where, got: cause instanceof Error ? cause.message : String(cause), hint: "It imports from longjing/train, longjing/tasks, longjing/text, longjing/optim, and from what is installed beside it" }, { cause });
  })) as { readonly recipe?: unknown };
  if (module.recipe === undefined) throw new LongjingError("bad_file", "The file exports no recipe", { where, got: Object.keys(module), expected: "export const recipe: Recipe" });
  const checked = recipeShape.safeParse(module.recipe);
  if (checked.success) return module.recipe as Recipe;
  const [issue] = checked.error.issues;
  throw new LongjingError("bad_file", "The recipe is not complete", { where: `${where}: ${["recipe", ...(issue?.path ?? [])].join(".")}`, expected: issue?.message });
}

/** SHA-256, in hexadecimal, of a recipe's file and of those that it imports by a relative path, and so on. */
export async function recipeSha256(path: string): Promise<string> {
  const files = [resolve(path)];
  const hash = createHash("sha256");
  for (const file of files) {
    const text = await readFile(file, "utf8");
    hash.update(`${text.length}\n${text}`);
    for (const [, name] of text.matchAll(/\b(?:from|import)\s*\(?\s*["'](\.[^"']+)["']/g)) {
      const imported = await existing(resolve(dirname(file), name!));
      if (imported !== null && !files.includes(imported)) files.push(imported);
    }
  }
  return hash.digest("hex");
}

/** The file that an import means, whose suffix may be another or none; null for what is none, such as an import in a comment. */
async function existing(path: string): Promise<string | null> {
  for (const file of [path, `${path}.ts`, path.replace(/\.js$/, ".ts")]) if (await stat(file).then((entry) => entry.isFile(), () => false)) return file;
  return null;
}

async function prepareImports(): Promise<void> {
  // Who runs this file as TypeScript has seen to TypeScript.
  if (!import.meta.url.endsWith(".ts")) (await import("tsx/esm/api")).register();
  register(`data:text/javascript,${encodeURIComponent(resolveHook)}`);
}

/** "longjing/…" is resolved as if this file asked. TypeScript is ESM, also in a folder whose package.json does not say so. */
const resolveHook = `export async function resolve(name, context, next) {
  const resolved = await next(name, name.startsWith("longjing/") ? { ...context, parentURL: ${JSON.stringify(import.meta.url)} } : context);
  return /\\.ts($|\\?)/.test(resolved.url) ? { ...resolved, format: "module" } : resolved;
}`;
