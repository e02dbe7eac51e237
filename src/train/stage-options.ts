import { LongjingError } from "../errors/index.ts";
import type { Bucket } from "./buckets.ts";

/** Whole numbers that a stage is given, by their names; what is undefined was not given. Checked where the stage is made: before a run has cost anything. @throws LongjingError "bad_argument" */
export function requireCounts(stage: string, counts: Readonly<Record<string, number | undefined>>, least = 1): void {
  for (const [option, value] of Object.entries(counts)) {
    if (value === undefined || (Number.isSafeInteger(value) && value >= least)) continue;
    throw new LongjingError("bad_argument", "A stage's option is no such number", { where: `${stage}: ${option}`, got: String(value), expected: `a whole number, at least ${least}` });
  }
}

/** @throws LongjingError "bad_argument" for rows of no tokens, or none at all */
export function requireBuckets(stage: string, buckets: readonly Bucket[]): void {
  if (buckets.length === 0) throw new LongjingError("bad_argument", "A stage has no rows to learn from", { where: `${stage}: buckets`, got: "none", expected: "[{ time, batch }, …]" });
  for (const { time, batch } of buckets) requireCounts(stage, { time, batch });
}
