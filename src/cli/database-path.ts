import { homedir } from "node:os";
import { join } from "node:path";

/** The file of keys and usage, unless another is named: LONGJING_DATABASE, or one in the home directory. */
export function databasePath(named: string | undefined): string {
  return named ?? process.env.LONGJING_DATABASE ?? join(homedir(), ".longjing", "server.db");
}
