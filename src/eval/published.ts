import { z } from "zod";
import { LongjingError } from "../errors/index.ts";
import type { SetFacts } from "./questions.ts";

const scores = z.record(z.string(), z.number().min(0).max(1));
const level = z.record(z.string(), z.object({ config: z.record(z.string(), z.unknown()), scores }));
const shape = z.object({
  reasoning_gym: z.object({ source: z.string(), metric: z.string(), sampling: z.object({ temperature: z.number(), top_p: z.number(), max_tokens: z.int() }) }),
  levels: z.object({ easy: level, hard: level }),
  benchmarks: z.object({ source: z.string(), metric: z.string(), scores: z.record(z.string(), scores) }),
});

/** Scores that others have published, with their sources. */
export type Published = z.infer<typeof shape>;

/** @throws LongjingError "bad_file" */
export function parsePublished(json: unknown, where: string): Published {
  const { data, error } = shape.safeParse(json);
  if (data === undefined) throw new LongjingError("bad_file", "The file has no published scores", { where, got: z.prettifyError(error) });
  return data;
}

export interface PublishedScores {
  /** By the model's name, in [0, 1]. */
  readonly scores: Readonly<Record<string, number>>;
  /** Where they are from, and what they are. */
  readonly source: string;
}

/**
 * What was published of the same task at the same configuration, or null. The number of problems and the seed are no part of a configuration:
 * they draw other problems of the same kind.
 */
export function publishedFor({ source, task, config }: Pick<SetFacts, "source" | "task" | "config">, { reasoning_gym, levels, benchmarks }: Published): PublishedScores | null {
  if (source === "longjing") return null;
  if (source === "file") {
    const found = benchmarks.scores[task];
    return found === undefined ? null : { scores: found, source: `${benchmarks.source}: ${benchmarks.metric}` };
  }
  for (const of of [levels.hard, levels.easy]) {
    const found = of[task];
    if (found !== undefined && inOrder(found.config) === inOrder(config)) return { scores: found.scores, source: saidOf(reasoning_gym) };
  }
  return null;
}

const saidOf = ({ source, metric, sampling: { temperature, top_p, max_tokens } }: Published["reasoning_gym"]): string =>
  `${source}: ${metric}; temperature ${temperature}, top_p ${top_p}, at most ${max_tokens.toLocaleString("en")} tokens`;

/** A configuration without what only draws its problems, its fields in one order. */
function inOrder({ size: _size, seed: _seed, ...config }: Readonly<Record<string, unknown>>): string {
  return JSON.stringify(Object.entries(config).toSorted(([a], [b]) => (a < b ? -1 : 1)));
}
