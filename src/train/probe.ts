import { Generator } from "../engine/generator.ts";
import type { ParameterTensors } from "../engine/model-parameters.ts";
import { ModelRunner } from "../engine/model-runner.ts";
import { hiddenStates, logits, headWeight, parameterSpecs, rotaryTables, trainingContext, type ModelConfig, type Parameters } from "../model/index.ts";
import { tokenLogprobs, weightedNll } from "../nn/losses.ts";
import { allocate, compile, type Backend, type DeviceTensor, type SessionOptions } from "../runtime/index.ts";
import { gradientsOf, type TensorType, type Value } from "../tensor/index.ts";
import { byTime } from "./layout.ts";

/** What a forward and a backward pass say of a model on a batch of whole sequences. */
export interface ForwardReport {
  /** [batch, time, vocabulary] */
  readonly logits: Float32Array;
  /** Mean next-token cross-entropy over the batch · (time − 1) shifted positions, in nats. */
  readonly loss: number;
  /** Of the loss, under the parameters' names, in the checkpoint's layout. */
  readonly grads: Readonly<Record<string, Float32Array>>;
}

/** Logits, next-token loss and every gradient for input_ids [batch][time], all of equal length. */
export async function forwardBackward(backend: Backend, config: ModelConfig, parameters: ParameterTensors, input_ids: readonly (readonly number[])[], session?: SessionOptions): Promise<ForwardReport> {
  const batch = input_ids.length;
  const time = input_ids[0]!.length;
  const rows = batch * time;
  const specs = parameterSpecs(config);
  const types = {
    parameters: Object.fromEntries(specs.map((s) => [s.name, { shape: s.shape, dtype: "float32" } as TensorType])),
    ids: { shape: [rows], dtype: "int64" } as TensorType,
    targets: { shape: [rows], dtype: "int64" } as TensorType,
    weights: { shape: [rows, 1], dtype: "float32" } as TensorType,
  };
  const trained = specs.filter((s) => s.trainable).map((s) => s.name);
  const program = await compile(
    backend,
    (v) => {
      const all = v.parameters as Parameters;
      const { hidden } = hiddenStates(config, all, v.ids, trainingContext({ batch, time }, rotaryTables(config, time)));
      const loss = weightedNll(tokenLogprobs(hidden, headWeight(config, all), v.targets).logprobs, v.weights);
      const wrt: Record<string, Value> = Object.fromEntries(trained.map((name) => [name, all[name]!]));
      return { logits: logits(config, all, hidden), loss, grads: gradientsOf(loss, wrt) };
    },
    types,
    session,
  );
  const data = allocate(backend, { ids: types.ids, targets: types.targets, weights: types.weights });
  byTime(input_ids, (row, b, t) => {
    const next = input_ids[b]![t + 1];
    (data.ids!.data as BigInt64Array)[row] = BigInt(input_ids[b]![t]!);
    (data.targets!.data as BigInt64Array)[row] = BigInt(next ?? 0);
    (data.weights!.data as Float32Array)[row] = next === undefined ? 0 : 1 / (batch * (time - 1));
  });
  const out = allocate(backend, { logits: { shape: [rows, config.vocab_size], dtype: "float32" }, loss: { shape: [], dtype: "float32" } });
  const grads = allocate(backend, Object.fromEntries(trained.map((name) => [name, types.parameters[name]!])));
  const used: Record<string, DeviceTensor> = Object.fromEntries(specs.map((s) => [s.name, parameters[s.name]!]));
  const binding = program.bind({ parameters: used, ...data }, { ...out, grads });
  await binding.run();
  const report = {
    logits: bySequence(out.logits!.data as Float32Array, batch, time, config.vocab_size),
    loss: (out.loss!.data as Float32Array)[0]!,
    grads: Object.fromEntries(trained.map((name) => [name, grads[name]!.data as Float32Array])),
  };
  binding.dispose();
  program.dispose();
  return report;
}

/** Rows ordered by time to rows ordered by sequence. */
function bySequence(rows: Float32Array, batch: number, time: number, width: number): Float32Array {
  const out = new Float32Array(rows.length);
  for (let b = 0; b < batch; b++) for (let t = 0; t < time; t++) out.set(rows.subarray((t * batch + b) * width, (t * batch + b + 1) * width), (b * time + t) * width);
  return out;
}

/** The most likely continuation, by the engine's prefill and decode, and the log-probability of each token. */
export async function greedy(backend: Backend, config: ModelConfig, parameters: ParameterTensors, prompt_ids: readonly number[], tokens: number, session?: SessionOptions): Promise<{ new_ids: readonly number[]; logprobs: readonly number[] }> {
  const runner = new ModelRunner(backend, config, { max_num_seqs: 1, max_model_len: prompt_ids.length + tokens, ...(session && { session }) });
  const [completion] = await new Generator(runner, parameters, { blocking: false }).generate([{ prompt_ids, sampling: { temperature: 0, max_tokens: tokens } }]);
  await runner.dispose();
  return { new_ids: completion!.token_ids, logprobs: completion!.logprobs };
}
