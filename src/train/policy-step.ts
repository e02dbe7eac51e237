import { eachInGroup, headWeight, hiddenStates, prefixContext, rotaryTables, trainingContext, type ModelConfig, type Parameters } from "../model/index.ts";
import type { ParameterTensors } from "../engine/model-parameters.ts";
import { entropy, tokenLogprobs } from "../nn/losses.ts";
import { compile, type Backend } from "../runtime/index.ts";
import { concat, reshape, slice, type Symbolic, type Value } from "../tensor/index.ts";
import { keptOf, policyTypes, policyValues, type FrozenBase } from "./frozen-base.ts";
import { policyLoss, type Objective, type PolicyLossOptions } from "./objectives.ts";
import { policyBatchTypes, type PolicyBatchTypes, type PolicyLayout, type PolicyTensors } from "./policy-layout.ts";

type PolicyInputs = Symbolic<Pick<PolicyBatchTypes, "ids" | "targets" | "prompt_mask">>;
type Scores = (parameters: Parameters, inputs: PolicyInputs) => ReturnType<typeof tokenLogprobs>;

/** The targets' log-probabilities, and the probabilities of all tokens, in rows of [time, batch]. */
function targetScores(config: ModelConfig, { batch, time, shared }: PolicyLayout): Scores {
  const ofHidden = (parameters: Parameters, hidden: Value, { targets }: PolicyInputs): ReturnType<Scores> => tokenLogprobs(hidden, headWeight(config, parameters), targets);
  if (!shared) {
    const tables = rotaryTables(config, time);
    return (parameters, inputs) => ofHidden(parameters, hiddenStates(config, parameters, inputs.ids, trainingContext({ batch, time }, tables)).hidden, inputs);
  }
  const prefixes = batch / shared.group;
  const tables = rotaryTables(config, shared.time + time - 1);
  return (parameters, inputs) => {
    const context = prefixContext({ prefixes, group: shared.group, prefixTime: shared.time, time: time - 1, prefixMask: inputs.prompt_mask! }, tables);
    const { hidden } = hiddenStates(config, parameters, inputs.ids, context);
    // The end of a prompt predicts the first token of each of its completions.
    const ends = eachInGroup(slice(hidden, 0, (shared.time - 1) * prefixes, prefixes), prefixes, shared.group);
    return ofHidden(parameters, concat([ends, slice(hidden, 0, shared.time * prefixes, (time - 1) * batch)], 0), inputs);
  };
}

/** The policy's loss on a minibatch: the model's forward, the targets' log-probabilities, and `policyLoss` on them. */
export function policyObjective(config: ModelConfig, layout: PolicyLayout, options: PolicyLossOptions): (parameters: Parameters, inputs: Symbolic<PolicyBatchTypes>) => Objective {
  const score = targetScores(config, layout);
  return (parameters, inputs) => {
    const { logprobs, probabilities } = score(parameters, inputs);
    const byTime = (x: Value): Value => reshape(x, [layout.time, layout.batch]);
    return policyLoss(
      {
        per_token_logps: byTime(logprobs),
        old_per_token_logps: inputs.old_logprobs,
        ref_per_token_logps: inputs.ref_logprobs,
        entropies: byTime(entropy(probabilities)),
        mask: inputs.mask,
        advantages: inputs.advantages,
        num_items_in_batch: inputs.num_items,
        num_completions_in_batch: inputs.num_completions,
        num_micro_batches: inputs.num_micro_batches,
      },
      options,
    );
  };
}

/** Log-probabilities of a step's targets under given parameters, without a gradient: the reference policy. */
export interface Scorer {
  /** Fills `ref_logprobs` of the step's inputs. */
  run(): Promise<void>;
  dispose(): void;
}

/**
 * @param parameters on the base, those that are trained elsewhere
 * @param inputs of the step
 */
export async function createScorer(backend: Backend, config: ModelConfig, base: FrozenBase, parameters: ParameterTensors, layout: PolicyLayout, inputs: PolicyTensors): Promise<Scorer> {
  const { ids, targets, prompt_mask } = policyBatchTypes(layout);
  const bound = { ...base.floats, ...parameters };
  const score = targetScores(config, layout);
  const program = await compile(
    backend,
    (v) => ({ logprobs: reshape(score(policyValues(base, bound, v), v as PolicyInputs).logprobs, [layout.time, layout.batch]) }),
    { ...policyTypes(base, bound), ids, targets, ...(prompt_mask && { prompt_mask }) },
    { frozen: keptOf(base) },
  );
  const read = { ids: inputs.ids, targets: inputs.targets, ...(inputs.prompt_mask && { prompt_mask: inputs.prompt_mask }) };
  const binding = program.bind({ parameters: bound, ...read }, { logprobs: inputs.ref_logprobs });
  return {
    run: () => binding.run(),
    dispose: () => {
      binding.dispose();
      program.dispose();
    },
  };
}
