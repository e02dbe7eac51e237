import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";

/** The golden folder: the one that LONGJING_FIXTURES names, else the set in the repository. Other sets have the same format. */
export function fixturesDir(): string {
  return process.env.LONGJING_FIXTURES ?? join(import.meta.dirname, "golden");
}

/** Path of a fixture by its parts. */
export function fixture(...parts: string[]): string {
  return join(fixturesDir(), ...parts);
}

/** Parsed JSON of a fixture. The caller names the shape that it relies on. */
export function readFixture<T>(...parts: string[]): T {
  return JSON.parse(readFileSync(fixture(...parts), "utf8")) as T;
}

/** Whether a set has this fixture: sets may leave files out. */
export function hasFixture(...parts: string[]): boolean {
  return existsSync(fixture(...parts));
}
