// The sources as JavaScript in dist/, file by file, where `npm run build` puts them too: starting from there takes a quarter of
// the time of translating at every start. Only what has changed is translated, so a start without changes costs a look at each file.
import { mkdirSync, readdirSync, renameSync, statSync, utimesSync, writeFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { root } from "./install.mjs";

const [sources, translated] = [join(root, "src"), join(root, "dist")];

/** Afterwards dist/ holds what src/ says. Any number of processes may do this at once. */
export async function translateSources() {
  const changed = sourceFiles(sources).flatMap((source) => {
    const target = join(translated, relative(sources, source)).replace(/\.ts$/, ".js");
    const written = statSync(source).mtimeMs;
    return written > (statSync(target, { throwIfNoEntry: false })?.mtimeMs ?? 0) ? [{ source, target, written }] : [];
  });
  if (changed.length === 0) return;
  const { build } = await import("esbuild");
  const { outputFiles } = await build({
    entryPoints: changed.map(({ source }) => source),
    outbase: sources,
    outdir: translated,
    write: false,
    bundle: true,
    format: "esm",
    platform: "node",
    target: "node20",
    logLevel: "error",
    plugins: [{ name: "apart", setup: ({ onResolve }) => onResolve({ filter: /./ }, ({ path, kind }) => (kind === "entry-point" ? undefined : { path: path.replace(/^(\..*)\.ts$/, "$1.js"), external: true })) }],
  });
  const contents = new Map(outputFiles.map(({ path, contents }) => [path, contents]));
  for (const { target, written } of changed) {
    mkdirSync(dirname(target), { recursive: true });
    const scratch = `${target}.${process.pid}`;
    writeFileSync(scratch, contents.get(target));
    // As old as what was read: a source that was written meanwhile is newer.
    utimesSync(scratch, new Date(), new Date(Math.ceil(written)));
    renameSync(scratch, target);
  }
}

function sourceFiles(folder) {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) return sourceFiles(path);
    return path.endsWith(".ts") && !path.endsWith(".test.ts") ? [path] : [];
  });
}

/** Our kernels, compiled where they can be (docs/decisions/0015), before many processes want them or somebody waits for a model. */
export async function compileKernels() {
  const { kernelLibrary } = await import("../dist/runtime/kernel-library.js");
  const slow = setTimeout(() => console.log("Compiling the kernels (once)…"), 300);
  await kernelLibrary();
  clearTimeout(slow);
}
