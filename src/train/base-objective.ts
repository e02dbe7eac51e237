import { headWeight, hiddenStates, nextTokenHidden, rotaryTables, trainingContext, type ModelConfig, type TrainingLayout } from "../model/index.ts";
import { expertLoad, loadBalancingLoss, sequenceBalanceLoss, tokenLogprobs, weightedNll, type Routing } from "../nn/index.ts";
import { add, concat, mul, slice, zeros, type TensorType, type Value } from "../tensor/index.ts";
import { nextTokenTypes, type NextTokenTypes } from "./next-token.ts";
import type { Objective } from "./objectives.ts";

export interface BaseObjectiveOptions {
  /** Coefficient α of the sequence-wise balance loss (DeepSeek-V3, eq. 17). 0 leaves it out. */
  readonly sequence_balance_coef: number;
  /** Coefficient of the classic auxiliary loss over all sparse layers: what the bias replaces, for comparison. */
  readonly router_aux_loss_coef: number;
}

/** A batch of next-token prediction, and λ, the weight of multi-token prediction. */
export interface BaseBatchTypes extends NextTokenTypes {
  readonly mtp_loss_weight: TensorType;
}

export const baseBatchTypes = (rows: number): BaseBatchTypes => ({ ...nextTokenTypes(rows), mtp_loss_weight: { shape: [], dtype: "float32" } });

type BaseBatch = Readonly<Record<"ids" | "targets" | "weights" | "mtp_loss_weight", Value>>;

/**
 * DeepSeek-V3's pretraining loss (arXiv 2412.19437, sections 2.1.2 and 2.2): next-token cross-entropy, λ times that of the token
 * after next where the configuration has a module for it, and α times the sequence-wise balance loss of each mixture. The load
 * of each mixture's experts goes out under `load.N`, in the order of `sparseLayers`, for the bias that is not part of the gradient.
 */
export function baseObjective(config: ModelConfig, layout: TrainingLayout, options: BaseObjectiveOptions): (parameters: Readonly<Record<string, Value>>, batch: BaseBatch) => Objective {
  const { batch, time } = layout;
  const tables = rotaryTables(config, time);
  return (parameters, { ids, targets, weights, mtp_loss_weight }) => {
    const main = hiddenStates(config, parameters, ids, trainingContext(layout, tables));
    const nll = weightedNll(tokenLogprobs(main.hidden, headWeight(config, parameters), targets).logprobs, weights);
    const routings: Routing[] = [...main.routings];
    const metrics: Record<string, Value> = { nll };
    let loss = nll;
    if (predictsAhead(config)) {
      // The row of time t predicts token t + 2, the target of time t + 1. The last time has none: it takes part with weight 0,
      // which keeps the time one that attention's blocks divide.
      const ahead = nextTokenHidden(config, parameters, main.hidden, targets, trainingContext(layout, tables), routings);
      const later = (x: Value, last: Value): Value => concat([slice(x, 0, batch, (time - 1) * batch), last], 0);
      const logprobs = tokenLogprobs(ahead, headWeight(config, parameters), later(targets, slice(targets, 0, 0, batch))).logprobs;
      metrics["mtp_loss"] = weightedNll(logprobs, later(weights, zeros([batch, 1])));
      loss = add(loss, mul(metrics["mtp_loss"], mtp_loss_weight));
    }
    if (main.routings.length > 0 && options.sequence_balance_coef > 0) {
      metrics["balance_loss"] = main.routings.map((r) => sequenceBalanceLoss(r, batch)).reduce((a, b) => add(a, b));
      loss = add(loss, mul(metrics["balance_loss"], options.sequence_balance_coef));
    }
    if (main.routings.length > 0 && options.router_aux_loss_coef > 0) {
      metrics["aux_loss"] = loadBalancingLoss(main.routings);
      loss = add(loss, mul(metrics["aux_loss"], options.router_aux_loss_coef));
    }
    return { loss, metrics, statistics: Object.fromEntries(routings.map((r, i) => [`load.${i}`, expertLoad(r)])) };
  };
}

export const predictsAhead = (config: ModelConfig): boolean => config.model_type === "deepseek_v3" && config.num_nextn_predict_layers > 0;
