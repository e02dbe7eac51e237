import { typesOf } from "../engine/model-parameters.ts";
import { parameterCount, type ModelConfig, type ParameterSpec } from "../model/index.ts";
import { adamwDefaults, cosine } from "../optim/index.ts";
import { random } from "../random/index.ts";
import { compile, type Backend, type DeviceTensor } from "../runtime/index.ts";
import { add, mul, reshape, type TensorType, type Value } from "../tensor/index.ts";
import { frozenBase } from "./frozen-base.ts";
import { nextTokenLogits } from "./next-token.ts";
import { distillLoss } from "./objectives.ts";
import { TrainState } from "./train-state.ts";
import { TrainStep } from "./train-step.ts";

/** One parameter of a model that was rounded. */
export interface RoundedParameter {
  readonly spec: ParameterSpec;
  /** As they are now, row-major. */
  readonly weights: Float32Array;
  /** Columns that share a factor: a block's. Null for a gain or bias, each of whose elements has one, and for what stays as it is. */
  readonly block: number | null;
}

export interface DistillScalesOptions {
  readonly backend: Backend;
  readonly config: ModelConfig;
  /** Of the texts, in windows of `time`; what is left behind the last window is not used. */
  readonly ids: readonly number[];
  /** Default 256. */
  readonly time?: number;
  /** How often the texts are read. Default 2. */
  readonly passes?: number;
  /** The peak, of relative changes. Default 2e-3. */
  readonly learning_rate?: number;
  readonly onProgress?: (done: number, total: number) => void;
}

/**
 * Moves what rounding has left free, each block's scale and each gain, so that the rounded model's distribution of every next token comes
 * closer to the original's: forward KL. The codes stay. This is the second phase of EfficientQAT (arXiv
 * 2407.11062, section 3.3), here by relative changes that begin at 0, and with the original model as teacher.
 * @param teacher the original's weights
 * @returns factors by the parameter's name, a number for each block [rows · columns / block] or element; empty where there is no block, or no window of text
 */
export async function distillScales(rounded: readonly RoundedParameter[], teacher: (spec: ParameterSpec) => Promise<Float32Array>, options: DistillScalesOptions): Promise<ReadonlyMap<string, Float32Array>> {
  const { backend, config, ids, time: wanted = 256, passes = 2, learning_rate = 2e-3, onProgress } = options;
  const time = Math.min(wanted, ids.length, config.max_position_embeddings);
  const starts = Array.from({ length: time > 1 ? Math.floor(ids.length / time) : 0 }, (_, w) => w * time);
  const windows = Array.from({ length: passes }, (_, pass) => random("distill scales", pass).shuffle(starts)).flat();
  if (windows.length === 0 || rounded.every(({ block }) => block === null)) return new Map();
  const moved = rounded.filter(({ spec, block }) => spec.trainable && (block !== null || spec.shape.length === 1));
  const specs = moved.map(({ spec, block }) => ({ ...spec, name: changeOf(spec.name), shape: block === null ? spec.shape : [spec.shape[0]!, spec.shape[1]! / block, 1], decay: false }));
  const floats = Object.fromEntries(rounded.map(({ spec, weights, block }) => [spec.name, backend.tensorOver("float32", blocksOf(spec, block), weights)]));
  const state = new TrainState(backend, specs, Object.fromEntries(specs.map((spec) => [spec.name, new Float32Array(parameterCount([spec]))])), frozenBase(floats, [], 0));
  const step = await TrainStep.create(backend, state, batchTypes(time, config), objective(config, rounded, time), { optimizer: { ...adamwDefaults, weight_decay: 0 }, max_grad_norm: 1 });
  const original = await teacherOf(backend, config, rounded.map(({ spec }) => spec), teacher, time);
  const binding = original.program.bind({ parameters: original.parameters, ids: step.batch.ids }, { logits: step.batch.teacher_logits });
  // A third of the steps is warm-up: Adam's first steps are the largest, and moved SmolLM2 away from its original at a shorter one.
  const schedule = cosine({ learning_rate, num_warmup_steps: Math.ceil(windows.length / 3), num_training_steps: windows.length });
  for (const [done, start] of windows.entries()) {
    for (let t = 0; t < time; t++) (step.batch.ids.data as BigInt64Array)[t] = BigInt(ids[start + t]!);
    await binding.run();
    await step.run(schedule(done));
    onProgress?.(done + 1, windows.length);
  }
  const factors = new Map(moved.map(({ spec }) => [spec.name, (state.parameters[changeOf(spec.name)]!.data as Float32Array).map((change) => 1 + change)]));
  binding.dispose();
  original.program.dispose();
  step.dispose();
  for (const tensor of [...Object.values(original.parameters), ...Object.values(floats)]) tensor.dispose();
  return factors;
}

const changeOf = (name: string): string => `${name}.change`;
const blocksOf = ({ shape }: ParameterSpec, block: number | null): readonly number[] => (block === null ? shape : [shape[0]!, shape[1]! / block, block]);

const batchTypes = (time: number, { vocab_size }: ModelConfig) => ({ ids: { shape: [time], dtype: "int64" }, teacher_logits: { shape: [time, vocab_size], dtype: "float32" } }) as const satisfies Readonly<Record<string, TensorType>>;

function objective(config: ModelConfig, rounded: readonly RoundedParameter[], time: number) {
  const said = nextTokenLogits(config, { batch: 1, time });
  return (given: Readonly<Record<string, Value>>, { ids, teacher_logits }: { readonly ids: Value; readonly teacher_logits: Value }) => {
    const changed = rounded.map(({ spec, block }) => {
      const [weights, change] = [given[spec.name]!, given[changeOf(spec.name)]];
      const values = change ? mul(weights, add(change, 1)) : weights;
      return [spec.name, block === null ? values : reshape(values, spec.shape)] as const;
    });
    const { loss } = distillLoss({ teacher_logits, student_logits: said(Object.fromEntries(changed), ids), mask: null }, { kind: "forward_kl" }, 1);
    return { loss, metrics: {} };
  };
}

async function teacherOf(backend: Backend, config: ModelConfig, specs: readonly ParameterSpec[], read: (spec: ParameterSpec) => Promise<Float32Array>, time: number) {
  const parameters: Record<string, DeviceTensor> = {};
  for (const spec of specs) parameters[spec.name] = backend.tensorOver("float32", spec.shape, await read(spec));
  const said = nextTokenLogits(config, { batch: 1, time });
  // Bound and not given to the session: it would keep a copy of each matrix for its kernels.
  const program = await compile(backend, (v) => ({ logits: said(v.parameters as Readonly<Record<string, Value>>, v.ids) }), { parameters: typesOf(parameters), ids: batchTypes(time, config).ids });
  return { parameters, program };
}
