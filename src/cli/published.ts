import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { parsePublished, type Published } from "../eval/index.ts";

/** The scores of others that come with the package. */
export const publishedPath = fileURLToPath(new URL("../../suites/published.json", import.meta.url));

export async function publishedScores(): Promise<Published> {
  return parsePublished(JSON.parse(await readFile(publishedPath, "utf8")), publishedPath);
}
