import { readFileSync } from "node:fs";
import { LongjingError } from "../errors/index.ts";
import type { Entry } from "./reasoning-gym/entry.ts";

/**
 * Problems that `longjing tasks import` has written, one JSON object a line.
 * @throws LongjingError "not_found" without the file, "bad_file" for a line that is no problem
 */
export function readEntries(path: string): Entry[] {
  return textOf(path)
    .split("\n")
    .flatMap((line, i) => (line.trim() === "" ? [] : [entryOf(line, `${path}:${i + 1}`)]));
}

function textOf(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (cause) {
    throw new LongjingError("not_found", "There are no problems", { where: path, hint: "longjing tasks import reasoning-gym writes them" }, { cause });
  }
}

function entryOf(line: string, where: string): Entry {
  const json = parsed(line, where) as Partial<Entry> | null;
  const { task, question, answer = null, metadata = {}, config, index } = json ?? {};
  if (typeof task === "string" && typeof question === "string" && (answer === null || typeof answer === "string") && typeof metadata === "object") {
    const again = typeof config === "object" && config !== null && Number.isSafeInteger(index) ? { config, index: index as number } : {};
    return { task, question, answer, metadata, ...again };
  }
  throw new LongjingError("bad_file", "The line is not a problem", { where, got: line, expected: "task, question, answer, metadata" });
}

function parsed(line: string, where: string): unknown {
  try {
    return JSON.parse(line);
  } catch (cause) {
    throw new LongjingError("bad_file", "The line is not JSON", { where, got: line }, { cause });
  }
}
