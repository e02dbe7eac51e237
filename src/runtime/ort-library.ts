import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { LongjingError } from "../errors/index.ts";

/** What the shared library is called inside the onnxruntime-node package, by platform. */
const fileNames: Readonly<Record<string, string>> = {
  linux: "libonnxruntime.so.1",
  darwin: "libonnxruntime.1.dylib",
  win32: "onnxruntime.dll",
};

/**
 * Path of the ONNX Runtime library that the onnxruntime-node package carries for this machine. We load the library itself,
 * not that package's JavaScript binding, which copies every output.
 *
 * @throws LongjingError `not_found` without the package, `unsupported` where the package has no library for this machine.
 */
export function ortLibraryPath(): string {
  const platform = `${process.platform}/${process.arch}`;
  const path = join(packageFolder(), "bin", "napi-v6", platform, fileNames[process.platform] ?? "");
  if (!(process.platform in fileNames) || !existsSync(path))
    throw new LongjingError("unsupported", "onnxruntime-node has no library for this machine", {
      got: platform,
      where: path,
      hint: 'Use the provider "wasm", which runs everywhere.',
    });
  return path;
}

function packageFolder(): string {
  const { resolve } = createRequire(import.meta.url);
  try {
    return dirname(resolve("onnxruntime-node/package.json"));
  } catch (cause) {
    throw new LongjingError("not_found", "The package onnxruntime-node is not installed", { hint: "Run npm install again, with optional dependencies." }, { cause });
  }
}
