import { readFile } from "node:fs/promises";
import { LongjingError } from "../errors/index.ts";

const mostBytes = 2 ** 26;

/** A text that an option names. @throws LongjingError "not_found"; "bad_file" for what is not UTF-8; "too_large" */
export async function readText(path: string): Promise<string> {
  const bytes = await readFile(path).catch((cause: NodeJS.ErrnoException) => {
    throw new LongjingError("not_found", "The text cannot be read", { where: path, got: cause.code }, { cause });
  });
  if (bytes.length > mostBytes) throw new LongjingError("too_large", "The text is too long", { where: path, got: `${bytes.length} bytes`, expected: `${mostBytes} at most` });
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch (cause) {
    throw new LongjingError("bad_file", "The text is not in UTF-8", { where: path }, { cause });
  }
}
