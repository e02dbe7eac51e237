import { headWeight, hiddenStates, logits, rotaryTables, trainingContext, type ModelConfig, type TrainingLayout } from "../model/index.ts";
import { tokenLogprobs, weightedNll } from "../nn/losses.ts";
import type { TensorType, Value } from "../tensor/index.ts";
import type { Objective } from "./objectives.ts";

/** A batch of next-token prediction, rows ordered by time (row = t · batch + b). */
export interface NextTokenTypes {
  readonly ids: TensorType;
  readonly targets: TensorType;
  /** [rows, 1]: 1 / (number of targets) where the target counts, else 0. */
  readonly weights: TensorType;
  readonly [name: string]: TensorType;
}

export function nextTokenTypes(rows: number): NextTokenTypes {
  return { ids: { shape: [rows], dtype: "int64" }, targets: { shape: [rows], dtype: "int64" }, weights: { shape: [rows, 1], dtype: "float32" } };
}

/** The logits behind every token of rows, [time · batch, vocabulary], ordered as `ids`. */
export function nextTokenLogits(config: ModelConfig, layout: TrainingLayout): (parameters: Readonly<Record<string, Value>>, ids: Value) => Value {
  const tables = rotaryTables(config, layout.time);
  return (parameters, ids) => logits(config, parameters, hiddenStates(config, parameters, ids, trainingContext(layout, tables)).hidden);
}

/** Weighted next-token cross-entropy in nats: pretraining and, with weights on completions only, SFT. */
export function nextTokenObjective(config: ModelConfig, layout: TrainingLayout): (parameters: Readonly<Record<string, Value>>, batch: { readonly ids: Value; readonly targets: Value; readonly weights: Value }) => Objective {
  const tables = rotaryTables(config, layout.time);
  return (parameters, { ids, targets, weights }) => {
    const { hidden } = hiddenStates(config, parameters, ids, trainingContext(layout, tables));
    return { loss: weightedNll(tokenLogprobs(hidden, headWeight(config, parameters), targets).logprobs, weights), metrics: {} };
  };
}
