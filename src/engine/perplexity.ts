import { LongjingError } from "../errors/index.ts";
import { hiddenStates, logits, rotaryTables, trainingContext } from "../model/index.ts";
import { allocate, compile, type Backend } from "../runtime/index.ts";
import { logSoftmax, reshape, takeAlong, type TensorType } from "../tensor/index.ts";
import type { LoadedModel } from "./load.ts";
import { tensorsOf, typesOf, valuesOf, type ModelParameters } from "./model-parameters.ts";

export interface PerplexityOptions {
  /** Tokens that see each other; the text is cut into windows of so many, and the first of each is not predicted. Default 512. */
  readonly window?: number;
  /** Called with the number of tokens that were read, and of all. */
  readonly onProgress?: (done: number, total: number) => void;
}

export interface Perplexity {
  /** exp(nll) */
  readonly perplexity: number;
  /** Mean −ln p of the tokens that were predicted, in nats. */
  readonly nll: number;
  /** That were predicted. */
  readonly tokens: number;
}

/**
 * How well a model predicts a text, with its matrices as the engine runs them.
 * @throws LongjingError "bad_argument" for a text of fewer than two tokens, or with tokens that the model does not know
 */
export async function perplexity(backend: Backend, { config, parameters }: LoadedModel<ModelParameters>, ids: readonly number[], { window = 512, onProgress }: PerplexityOptions = {}): Promise<Perplexity> {
  const stray = ids.find((id) => !(id >= 0 && id < config.vocab_size));
  if (ids.length < 2 || window < 2 || stray !== undefined) throw new LongjingError("bad_argument", "Nothing of the text can be predicted", { got: stray ?? `${ids.length} tokens in windows of ${window}`, expected: `at least two tokens below ${config.vocab_size}` });
  const time = Math.min(window, ids.length, config.max_position_embeddings);
  const row: TensorType = { shape: [time], dtype: "int64" };
  const types = { parameters: typesOf(parameters), ids: row, targets: row };
  const context = { ...trainingContext({ batch: 1, time }, rotaryTables(config, time)), foldGain: false };
  const program = await compile(
    backend,
    (v) => {
      const given = valuesOf(parameters, v.parameters as Parameters<typeof valuesOf>[1]);
      const { hidden } = hiddenStates(config, given, v.ids, context);
      return { logprobs: takeAlong(logSoftmax(logits(config, given, hidden)), reshape(v.targets, [time, 1])) };
    },
    types,
    { frozen: { parameters: tensorsOf(parameters) } },
  );
  const bound = allocate(backend, { ids: row, targets: row, logprobs: { shape: [time, 1], dtype: "float32" } });
  const binding = program.bind({ ids: bound.ids, targets: bound.targets }, { logprobs: bound.logprobs });
  let sum = 0;
  let tokens = 0;
  for (let start = 0; start < ids.length; start += time) {
    // Behind the end of the text anything will do: nothing before it sees it.
    for (let t = 0; t < time; t++) {
      bound.ids.data[t] = BigInt(ids[start + t] ?? 0);
      bound.targets.data[t] = BigInt(ids[start + t + 1] ?? 0);
    }
    await binding.run();
    const predicted = Math.min(time, ids.length - start) - 1;
    for (let t = 0; t < predicted; t++) sum -= bound.logprobs.data[t]!;
    tokens += predicted;
    onProgress?.(Math.min(ids.length, start + time), ids.length);
  }
  binding.dispose();
  program.dispose();
  for (const tensor of Object.values(bound)) tensor.dispose();
  const nll = sum / tokens;
  return { perplexity: Math.exp(nll), nll, tokens };
}
