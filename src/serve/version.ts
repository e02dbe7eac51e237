import { readFileSync } from "node:fs";

/** The package's own, as its manifest has it. */
export const { version } = JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8")) as { readonly version: string };
