import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, readFileSync, readdirSync } from "node:fs";
import { mkdir, mkdtemp, rename, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { cacheFolder } from "./ort-library.ts";

const sources = fileURLToPath(new URL("../../kernels/", import.meta.url));

// Without contraction both sets of instructions give the same bits.
const flags = ["-O3", "-std=gnu11", "-fPIC", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=off"];
const wide = ["-DWIDE", "-mavx512f", "-mavx512bw", "-mavx512vl", "-mavx512dq", "-mavx512vnni", "-mf16c", "-mfma"];
const narrow = ["-mavx2", "-mf16c", "-mfma"];
/** What is compiled, and how: the loops twice, for two sets of instructions. */
const objects: readonly { readonly source: string; readonly object: string; readonly flags: readonly string[] }[] = [
  ...["tile-product", "attend", "rows", "transposed-product", "causal-attention"].flatMap((name) => [
    { source: `${name}.c`, object: `${name}-wide.o`, flags: wide },
    { source: `${name}.c`, object: `${name}-narrow.o`, flags: narrow },
  ]),
  ...["regroup", "pack", "adamw-operator", "swiglu-operator", "rms-norm-operator", "scatter-operator", "gather-operator"].map((name) => ({ source: `${name}.c`, object: `${name}.o`, flags: narrow })),
  ...["pages", "operator", "product-operators", "attention-operator", "transposed-product-operator", "causal-attention-operator", "row-functions", "text-table"].map((name) => ({ source: `${name}.c`, object: `${name}.o`, flags: [] })),
];

/** Where the library of our own kernels is, or why there is none. */
export type KernelLibrary = { readonly path: string } | { readonly missing: string };

/**
 * Our kernels as a shared library, compiled by this machine's `cc` when they are first wanted and kept in the user's cache: some
 * seconds, once. Without a compiler, on another processor than an x86 of 64 bits, or with LONGJING_INSTRUCTIONS=none there is none, and
 * ONNX Runtime's are used.
 */
export async function kernelLibrary(): Promise<KernelLibrary> {
  if (process.env["LONGJING_INSTRUCTIONS"] === "none") return { missing: "LONGJING_INSTRUCTIONS is none" };
  if (process.arch !== "x64" || process.platform === "win32") return { missing: `they are for x64 on Linux and macOS, and this is ${process.platform}/${process.arch}` };
  const folder = join(cacheFolder(), `kernels-${version()}-${process.platform}-${process.arch}`);
  const [path, failure] = [join(folder, "kernels.so"), join(folder, "failure.txt")];
  if (existsSync(path)) return { path };
  if (existsSync(failure)) return { missing: readFileSync(failure, "utf8") };
  try {
    return await makeLibrary(folder);
  } catch (error) {
    // Somebody's home that cannot be written to must not keep a model from running.
    const { code } = error as NodeJS.ErrnoException;
    if (code === undefined) throw error;
    return { missing: `they cannot be kept in ${folder}: ${code}` };
  }
}

async function makeLibrary(folder: string): Promise<KernelLibrary> {
  await mkdir(dirname(folder), { recursive: true });
  const work = await mkdtemp(`${folder}-`);
  try {
    const reason = await build(work);
    // A failure is kept as well, or each start would compile again. A compiler that is missing may be there tomorrow.
    if (reason !== null && reason.kept) await writeFile(join(work, "failure.txt"), reason.text);
    if (reason === null || reason.kept) await putAside(work, folder);
    return reason === null ? { path: join(folder, "kernels.so") } : { missing: reason.text };
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

/** Of the sources and the flags: what another version of Longjing has built stays apart. */
function version(): string {
  const hash = createHash("sha256").update(JSON.stringify([flags, objects]));
  for (const name of readdirSync(sources).sort()) hash.update(name).update(readFileSync(join(sources, name)));
  return hash.digest("hex").slice(0, 16);
}

interface Reason {
  readonly text: string;
  readonly kept: boolean;
}

/** Compiles into a folder. Null where that went well. */
async function build(into: string): Promise<Reason | null> {
  const cc = (args: readonly string[]): Promise<unknown> => promisify(execFile)("cc", [...args], { timeout: 120_000 });
  const compiled = objects.map((each) => cc([...flags, ...each.flags, "-c", join(sources, each.source), "-o", join(into, each.object)]));
  try {
    await Promise.all(compiled);
    await cc(["-shared", "-pthread", ...objects.map(({ object }) => join(into, object)), "-o", join(into, "kernels.so")]);
    return null;
  } catch (cause) {
    const { code, stderr, message } = cause as { readonly code?: unknown; readonly stderr?: string; readonly message: string };
    if (code === "ENOENT") return { text: "they are compiled by cc, which is not installed", kept: false };
    return { text: `cc could not compile them: ${(stderr?.trim() || message).slice(0, 2000)}`, kept: true };
  } finally {
    await Promise.allSettled(compiled);
  }
}

/** Another process that was first has built the same. */
async function putAside(work: string, folder: string): Promise<void> {
  try {
    await rename(work, folder);
  } catch (error) {
    if (!existsSync(folder)) throw error;
  }
}
