import { parameterCount } from "../model/index.ts";
import { requireCounts } from "./stage-options.ts";
import type { Stage, StageContext, StageProgress } from "./stage.ts";

export interface AverageOptions {
  /** Default "average". */
  readonly name?: string;
  /** Earlier stages. One alone brings back what it has left. */
  readonly of: readonly [string, ...string[]];
}

/** A stage that trains nothing: the policy becomes the mean of what earlier stages have left (model soups, arXiv 2203.05482). @throws LongjingError "bad_argument" for none */
export function average({ name = "average", of }: AverageOptions): Stage {
  requireCounts(name, { "stages of which the mean is taken": of.length });
  const run = async (context: StageContext): Promise<StageProgress> => {
    const { state } = context;
    const mean = Object.fromEntries(state.specs.map((spec) => [spec.name, new Float32Array(parameterCount([spec]))]));
    for (const stage of of) {
      const parameters = await context.parametersAfter(stage);
      for (const [parameter, sum] of Object.entries(mean)) parameters[parameter]!.forEach((value, i) => (sum[i]! += value / of.length));
    }
    state.load(mean);
    return { step: 1, cursor: null };
  };
  return { name, steps: 1, after: of, run };
}
