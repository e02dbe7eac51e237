import type { Schedule } from "../optim/schedules.ts";
import { adamwDefaults, type AdamWOptions } from "../optim/adamw.ts";
import { trainingFlops } from "./ledger.ts";
import { byTime } from "./layout.ts";
import { documentEncoder, type DocumentEncoder, type TextDocument, type TokenDocument } from "../text/index.ts";
import { packRows } from "./pack.ts";
import { nextTokenObjective, nextTokenTypes } from "./next-token.ts";
import { requireCounts } from "./stage-options.ts";
import type { Stage, StageContext, StageProgress } from "./stage.ts";
import { TrainStep } from "./train-step.ts";

/** What a document says. */
export type TextPair = TextDocument;

export interface PretrainOptions {
  readonly name?: string;
  readonly steps: number;
  /** Rows a step, and tokens a row. */
  readonly batch: number;
  readonly time: number;
  /** Learning rate by step, from 0. */
  readonly schedule: Schedule;
  readonly optimizer?: Partial<AdamWOptions>;
  readonly max_grad_norm?: number;
  /** Document `start`, `start` + 1, …, a function of the seed and the index alone. Never ends. */
  readonly documents: (seed: number, start: number) => Iterator<TextPair>;
}

/** Next-token prediction on generated transcripts; the loss counts completions only. SFT is the same on other documents. */
export function pretrain({ name = "pretrain", steps, batch, time, schedule, optimizer, max_grad_norm = 1, documents }: PretrainOptions): Stage {
  requireCounts(name, { batch, time });
  const run = async (context: StageContext): Promise<StageProgress> => {
    const { backend, config, state, tokenizer } = context;
    const rows = batch * time;
    const step = await TrainStep.create(backend, state, nextTokenTypes(rows), nextTokenObjective(config, { batch, time }), { optimizer: { ...adamwDefaults, ...optimizer }, max_grad_norm });
    const encoder = documentEncoder(tokenizer);
    const flops = trainingFlops(state.parameterCount, rows, state.base.size);
    let cursor = (context.resumed?.cursor as number | undefined) ?? 0;
    let done = context.resumed?.step ?? 0;
    const total = Math.min(steps, context.maxSteps);
    while (done < total && !context.signal.aborted) {
      const start = context.now();
      const source = encoded(documents(context.seed, cursor), encoder);
      const packed = packRows(source, batch, time, tokenizer.padId ?? 0);
      cursor += packed.documents;
      const tokens = fill(step, packed.ids, packed.targets, packed.counts);
      const learning_rate = schedule(done);
      const { loss, grad_norm } = await step.run(learning_rate, { blocking: context.blocking });
      done++;
      const seconds = context.now() - start;
      context.account({ seconds, tokens: rows, flops });
      context.log(done, "metrics", { loss, grad_norm, learning_rate, num_tokens: done * rows, target_tokens: tokens }, { step_time: seconds, tokens_per_second: rows / seconds });
      await context.checkpoint({ step: done, cursor });
    }
    step.dispose();
    return { step: done, cursor };
  };
  return { name, steps, run };
}

function* encoded(pairs: Iterator<TextPair>, encoder: DocumentEncoder): Generator<TokenDocument, void> {
  for (;;) {
    const next = pairs.next();
    if (next.done) return;
    yield encoder.document(next.value);
  }
}

/** Writes rows into a step's batch, weights so that the loss is the mean over counted targets; returns their number. */
export function fill(step: TrainStep<ReturnType<typeof nextTokenTypes>>, ids: readonly (readonly number[])[], targets: readonly (readonly number[])[], counts: readonly (readonly number[])[]): number {
  const total = counts.reduce((n, row) => n + row.reduce((a, c) => a + c, 0), 0);
  const [idsOut, targetsOut, weights] = [step.batch.ids.data as BigInt64Array, step.batch.targets.data as BigInt64Array, step.batch.weights.data as Float32Array];
  byTime(ids, (row, b, t) => {
    idsOut[row] = BigInt(ids[b]![t]!);
    targetsOut[row] = BigInt(targets[b]![t]!);
    weights[row] = counts[b]![t]! / total;
  });
  return total;
}
