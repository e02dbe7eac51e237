// The text of a process's module, in a clone where nothing is built: a confined process could not run what reads TypeScript itself.
import { transform } from "esbuild";

export const translated = async (text) => (await transform(text, { loader: "ts", format: "esm", target: "node20" })).code;
