import { isSparse, type ModelConfig } from "../model/index.ts";
import { updateRouterBias } from "../nn/index.ts";
import { adamwDefaults, type AdamWOptions } from "../optim/adamw.ts";
import type { Schedule } from "../optim/schedules.ts";
import { documentReader, type PlainText } from "./base-documents.ts";
import { baseBatchTypes, baseObjective, predictsAhead, type BaseBatchTypes } from "./base-objective.ts";
import { BucketReader, type Bucket } from "./buckets.ts";
import { trainingFlops } from "./ledger.ts";
import { rowOf } from "./pack.ts";
import { fill, type TextPair } from "./pretrain.ts";
import { requireBuckets } from "./stage-options.ts";
import type { Stage, StageContext, StageProgress } from "./stage.ts";
import { TrainStep } from "./train-step.ts";

export interface BaseOptions {
  readonly name?: string;
  readonly steps: number;
  /** By rising time. A document has a row for itself, as it will have when it is sampled; one that fits none is passed over. */
  readonly buckets: readonly Bucket[];
  /** Learning rate by step, from 0. */
  readonly schedule: Schedule;
  readonly optimizer?: Partial<AdamWOptions>;
  readonly max_grad_norm?: number;
  /** Document `index`, a function of the seed and the index alone. */
  readonly document: (seed: number, index: number) => TextPair | PlainText;
  /** Of plain texts, the share whose middle is told last, to be filled in; DeepSeek-V3 has 0.1. Default 0. */
  readonly fim_rate?: number;
  /** λ by step. Default: 0.3 for two thirds of the steps, then 0.1, as in DeepSeek-V3. */
  readonly mtp_loss_weight?: Schedule;
  /** γ, how far the router's bias moves a step. Default 0.001. */
  readonly bias_update_speed?: number;
  /** α. Default 0.0001. */
  readonly sequence_balance_coef?: number;
  /** Of the classic auxiliary loss, to compare with. Default 0. */
  readonly router_aux_loss_coef?: number;
  /** Weight of a prompt's token beside a completion's. Default 0: the loss counts completions only. */
  readonly prompt_weight?: number;
}

/**
 * Pretraining as DeepSeek-V3 does it, on texts, or on documents of a prompt and a completion: mixtures balanced by a bias on the router's
 * choice instead of a loss (section 2.1.2), multi-token prediction (2.2). A model without mixtures or modules trains plainly.
 */
export function base(options: BaseOptions): Stage {
  const { name = "base", steps, buckets, schedule, document } = options;
  requireBuckets(name, buckets);
  const weightAt = options.mtp_loss_weight ?? ((step: number) => (step < (2 * steps) / 3 ? 0.3 : 0.1));
  const run = async (context: StageContext): Promise<StageProgress> => {
    const reader = new BucketReader(buckets, documentReader(context.tokenizer, context.seed, document, options.fim_rate ?? 0), context.resumed?.cursor);
    const trainers = new Map<Bucket, TrainStep<BaseBatchTypes>>();
    const { parameterCount: parameters, base } = context.state;
    let done = context.resumed?.step ?? 0;
    let tokens = 0;
    while (done < Math.min(steps, context.maxSteps) && !context.signal.aborted) {
      const start = context.now();
      const { bucket, documents } = reader.next();
      let step = trainers.get(bucket);
      if (!step) trainers.set(bucket, (step = await createStep(context, bucket, options)));
      const rows = documents.map((d) => rowOf(d, bucket.time, context.tokenizer.padId ?? 0, options.prompt_weight ?? 0));
      const target_tokens = fill(step, rows.map((r) => r.ids), rows.map((r) => r.targets), rows.map((r) => r.counts));
      (step.batch.mtp_loss_weight.data as Float32Array)[0] = weightAt(done);
      const learning_rate = schedule(done);
      const { loss, grad_norm, ...metrics } = await step.run(learning_rate, { blocking: context.blocking });
      const balance = moveBias(context, step, options.bias_update_speed ?? 1e-3);
      done++;
      const [seconds, row_tokens] = [context.now() - start, bucket.batch * bucket.time];
      tokens += row_tokens;
      context.account({ seconds, tokens: row_tokens, flops: trainingFlops(parameters, row_tokens, base.size) });
      context.log(done, "metrics", { loss, grad_norm, learning_rate, ...metrics, ...balance, row_length: bucket.time, target_tokens, documents: reader.cursor.next }, { step_time: seconds, tokens_per_second: row_tokens / seconds });
      await context.checkpoint({ step: done, cursor: reader.cursor });
    }
    for (const step of trainers.values()) step.dispose();
    return { step: done, cursor: reader.cursor };
  };
  return { name, steps, run };
}

function createStep({ backend, config, state }: StageContext, { batch, time }: Bucket, options: BaseOptions): Promise<TrainStep<BaseBatchTypes>> {
  const { optimizer, max_grad_norm = 1, sequence_balance_coef = 1e-4, router_aux_loss_coef = 0 } = options;
  return TrainStep.create(backend, state, baseBatchTypes(batch * time), baseObjective(config, { batch, time }, { sequence_balance_coef, router_aux_loss_coef }), { optimizer: { ...adamwDefaults, ...optimizer }, max_grad_norm });
}

/** Layers with a mixture, the prediction module's last: the order of an objective's loads. */
function sparseLayers(config: ModelConfig): number[] {
  const layers = config.num_hidden_layers + (predictsAhead(config) ? 1 : 0);
  return Array.from({ length: layers }, (_, layer) => layer).filter((layer) => isSparse(config, layer));
}

/**
 * Moves each router's bias by the load that the step has seen. MaxVio (arXiv 2408.15664, eq. 4): how far the busiest expert is
 * above the mean load, as a share of it; the mean and the largest over the layers.
 */
function moveBias({ config, state }: StageContext, step: TrainStep<BaseBatchTypes>, speed: number): Record<string, number> {
  const violations = sparseLayers(config).map((layer, i) => {
    const load = step.statistics[`load.${i}`]!.data as Float32Array;
    const bias = state.parameters[`model.layers.${layer}.mlp.gate.e_score_correction_bias`]?.data as Float32Array | undefined;
    bias?.set(updateRouterBias(bias, load, speed));
    const mean = load.reduce((a, b) => a + b, 0) / load.length;
    return Math.max(...load) / mean - 1;
  });
  if (violations.length === 0) return {};
  return { "max_violation/mean": violations.reduce((a, b) => a + b, 0) / violations.length, "max_violation/max": Math.max(...violations) };
}
