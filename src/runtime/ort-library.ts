import { execFile } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { mkdir, mkdtemp, rename, rm } from "node:fs/promises";
import { createRequire } from "node:module";
import { homedir } from "node:os";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import { LongjingError } from "../errors/index.ts";

/** What the library is called inside the onnxruntime-node package, by platform. */
const fileNames: Readonly<Record<string, string>> = { linux: "libonnxruntime.so.1", darwin: "libonnxruntime.1.dylib", win32: "onnxruntime.dll" };

const platform = `${process.platform}/${process.arch}`;
const inPackage = join("bin", "napi-v6", platform);
const fileName = fileNames[process.platform] ?? "no library for this platform";

/**
 * Path of ONNX Runtime's library: of the package onnxruntime-node, or what `fetchOrtLibrary` has put aside. We load the
 * library itself, not that package's JavaScript binding, which copies every output.
 *
 * @throws LongjingError `not_found` without either, `unsupported` where the package has no library for this machine.
 */
export function ortLibraryPath(): string {
  const folder = packageFolder();
  const places = [...(folder === undefined ? [] : [join(folder, inPackage)]), fetchedFolder()].map((place) => join(place, fileName));
  const found = places.find((path) => existsSync(path));
  if (found !== undefined) return found;
  if (folder !== undefined) throw notForThisMachine();
  throw new LongjingError("not_found", "ONNX Runtime's library is not installed", {
    expected: places[0] as string,
    hint: '"npx longjing doctor" fetches it from your npm registry. (npm leaves onnxruntime-node out where its install script fails.)',
  });
}

/**
 * Fetches the library from the npm registry that this machine is set up for, without running the package's install script,
 * and puts it into the user's cache. npm 11 and older drop onnxruntime-node where that script cannot download its CUDA files.
 *
 * @throws LongjingError `not_found` where npm cannot fetch it, `unsupported` where it has none for this machine.
 */
export async function fetchOrtLibrary(): Promise<string> {
  const target = fetchedFolder();
  await mkdir(dirname(target), { recursive: true });
  const work = await mkdtemp(`${target}-`);
  try {
    await npm(["install", `onnxruntime-node@${wantedVersion()}`, "--prefix", work, "--ignore-scripts", "--no-save", "--no-package-lock", "--no-audit", "--no-fund"], work);
    const fetched = join(work, "node_modules", "onnxruntime-node", inPackage);
    if (!existsSync(join(fetched, fileName))) throw notForThisMachine();
    await rm(target, { recursive: true, force: true });
    await rename(fetched, target);
    return join(target, fileName);
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

/** Of what this machine's user may lose. */
export function cacheFolder(): string {
  const { XDG_CACHE_HOME, LOCALAPPDATA } = process.env;
  const caches = process.platform === "win32" ? (LOCALAPPDATA ?? join(homedir(), "AppData", "Local")) : process.platform === "darwin" ? join(homedir(), "Library", "Caches") : XDG_CACHE_HOME || join(homedir(), ".cache");
  return join(caches, "longjing");
}

/** Beside other versions', so that two releases of Longjing do not take turns. */
const fetchedFolder = (): string => join(cacheFolder(), `onnxruntime-${wantedVersion()}-${process.platform}-${process.arch}`);

/** The version that this release is tested with. */
function wantedVersion(): string {
  const manifest = JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8")) as { optionalDependencies: { "onnxruntime-node": string } };
  return manifest.optionalDependencies["onnxruntime-node"];
}

function packageFolder(): string | undefined {
  const { resolve } = createRequire(import.meta.url);
  try {
    return dirname(resolve("onnxruntime-node/package.json"));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "MODULE_NOT_FOUND") throw error;
    return undefined;
  }
}

/** The npm that runs us, or else the one in the path. It knows the registry, the proxy and the certificates. */
async function npm(args: readonly string[], cwd: string): Promise<void> {
  const running = process.env["npm_execpath"];
  const [command, all] = running?.endsWith(".js") ? [process.execPath, [running, ...args]] : ["npm", [...args]];
  try {
    // On Windows npm is a script for the shell. No argument of ours has anything that a shell would read, but paths with spaces.
    const windows = command === "npm" && process.platform === "win32";
    await promisify(execFile)(command, windows ? all.map((each) => `"${each}"`) : all, { cwd, shell: windows });
  } catch (cause) {
    const { stderr, message } = cause as { stderr?: string; message: string };
    throw new LongjingError("not_found", "npm could not fetch onnxruntime-node", { where: `npm ${args.slice(0, 2).join(" ")}`, got: stderr?.trim() || message }, { cause });
  }
}

const notForThisMachine = (): LongjingError =>
  new LongjingError("unsupported", "onnxruntime-node has no library for this machine", { got: platform, expected: "linux or win32 on x64 or arm64, darwin on arm64", hint: 'The provider "wasm" runs everywhere.' });
