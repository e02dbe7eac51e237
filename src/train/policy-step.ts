import { headWeight, hiddenStates, rotaryTables, trainingContext, type ModelConfig } from "../model/index.ts";
import type { ParameterTensors } from "../engine/model-parameters.ts";
import { entropy, tokenLogprobs } from "../nn/losses.ts";
import { allocate, compile, type Backend } from "../runtime/index.ts";
import { reshape, type Symbolic, type TensorType, type Value } from "../tensor/index.ts";
import { keptOf, policyTypes, policyValues, type FrozenBase } from "./frozen-base.ts";
import { policyLoss, type Objective, type PolicyLossOptions } from "./objectives.ts";

/** A minibatch of completions, rows ordered by time (row = t · batch + b); [time, batch] for what the loss weighs. */
export function policyBatchTypes(batch: number, time: number): Readonly<Record<"ids" | "targets" | "mask" | "old_logprobs" | "ref_logprobs" | "advantages" | "num_items", TensorType>> {
  const float = (...shape: number[]): TensorType => ({ shape, dtype: "float32" });
  const ids: TensorType = { shape: [batch * time], dtype: "int64" };
  return { ids, targets: ids, mask: float(time, batch), old_logprobs: float(time, batch), ref_logprobs: float(time, batch), advantages: float(1, batch), num_items: float() };
}
export type PolicyBatchTypes = ReturnType<typeof policyBatchTypes>;

/** The policy's loss on a minibatch: the model's forward, the targets' log-probabilities, and `policyLoss` on them. */
export function policyObjective(config: ModelConfig, batch: number, time: number, options: PolicyLossOptions): (parameters: Readonly<Record<string, Value>>, inputs: Symbolic<PolicyBatchTypes>) => Objective {
  const tables = rotaryTables(config, time);
  return (parameters, inputs) => {
    const { hidden } = hiddenStates(config, parameters, inputs.ids, trainingContext({ batch, time }, tables));
    const { logprobs, probabilities } = tokenLogprobs(hidden, headWeight(config, parameters), inputs.targets);
    const byTime = (x: Value): Value => reshape(x, [time, batch]);
    return policyLoss(
      {
        per_token_logps: byTime(logprobs),
        old_per_token_logps: inputs.old_logprobs,
        ref_per_token_logps: inputs.ref_logprobs,
        entropies: byTime(entropy(probabilities)),
        mask: inputs.mask,
        advantages: inputs.advantages,
        num_items_in_batch: inputs.num_items,
      },
      options,
    );
  };
}

/** Log-probabilities of given targets under given parameters, without a gradient: the reference policy. */
export interface Scorer {
  /** [time · batch], ordered by time. */
  score(ids: BigInt64Array, targets: BigInt64Array): Promise<Float32Array>;
  dispose(): void;
}

/** @param parameters on the base, those that are trained elsewhere */
export async function createScorer(backend: Backend, config: ModelConfig, base: FrozenBase, parameters: ParameterTensors, batch: number, time: number): Promise<Scorer> {
  const types = policyBatchTypes(batch, time);
  const bound = { ...base.floats, ...parameters };
  const tables = rotaryTables(config, time);
  const program = await compile(
    backend,
    (v) => {
      const p = policyValues(base, bound, v);
      const { hidden } = hiddenStates(config, p, v.ids, trainingContext({ batch, time }, tables));
      return { logprobs: tokenLogprobs(hidden, headWeight(config, p), v.targets).logprobs };
    },
    { ...policyTypes(base, bound), ids: types.ids, targets: types.targets },
    { frozen: keptOf(base) },
  );
  const data = allocate(backend, { ids: types.ids, targets: types.targets, logprobs: { shape: [batch * time, 1], dtype: "float32" } });
  const binding = program.bind({ parameters: bound, ids: data.ids!, targets: data.targets! }, { logprobs: data.logprobs! });
  return {
    score: async (ids, targets) => {
      (data.ids!.data as BigInt64Array).set(ids);
      (data.targets!.data as BigInt64Array).set(targets);
      await binding.run();
      return data.logprobs!.data as Float32Array;
    },
    dispose: () => {
      binding.dispose();
      program.dispose();
      for (const tensor of Object.values(data)) tensor.dispose();
    },
  };
}
