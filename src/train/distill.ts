import { loadModel, type LoadedModel } from "../engine/load.ts";
import { disposeParameters } from "../engine/model-parameters.ts";
import { LongjingError } from "../errors/index.ts";
import { headWeight, hiddenStates, logits, rotaryTables, trainingContext, type ModelConfig } from "../model/index.ts";
import { tokenLogprobs, weightedNll } from "../nn/index.ts";
import { adamwDefaults } from "../optim/adamw.ts";
import { allocate, compile, type Backend, type Binding, type DeviceTensor, type Program } from "../runtime/index.ts";
import { add, cast, less, mul, type TensorType, type Value } from "../tensor/index.ts";
import { documentEncoder } from "../text/index.ts";
import { trainingFlops } from "./ledger.ts";
import { nextTokenLogits, nextTokenTypes, type NextTokenTypes } from "./next-token.ts";
import { distillLoss, type Divergence, type Objective } from "./objectives.ts";
import { rowOf } from "./pack.ts";
import { fill, type PretrainOptions, type TextPair } from "./pretrain.ts";
import type { Stage, StageContext, StageProgress } from "./stage.ts";
import { TrainStep } from "./train-state.ts";

/** A step takes `batch` documents, each in a row of `time` tokens; longer ones are passed over. */
export interface DistillOptions extends Omit<PretrainOptions, "documents"> {
  /** Folder or GGUF file of a model with the student's vocabulary. */
  readonly teacher: string;
  /** Document `index`, a function of the seed and the index alone: where the teacher's distribution is asked for. */
  readonly document: (seed: number, index: number) => TextPair;
  /** Default: forward KL. */
  readonly divergence?: Divergence;
  /** Softens both distributions. Default 1. */
  readonly temperature?: number;
  /** Weight of the plain cross-entropy on the documents beside the divergence. Default 0. */
  readonly cross_entropy_weight?: number;
}

/** Distillation by logits: the student's distribution of each token of a completion is moved to the teacher's. */
export function distill(options: DistillOptions): Stage {
  const { name = "distill", steps, batch, time, schedule, document } = options;
  const run = async (context: StageContext): Promise<StageProgress> => {
    const { backend, config, state, tokenizer, seed } = context;
    const teacher = await openTeacher(backend, options, config);
    const step = await TrainStep.create(backend, state, distillTypes(batch * time, config.vocab_size), distillObjective(config, options), { optimizer: { ...adamwDefaults, ...options.optimizer }, max_grad_norm: options.max_grad_norm ?? 1 });
    const encoder = documentEncoder(tokenizer);
    const flops = trainingFlops(state.parameterCount, batch * time, state.base.size);
    let next = (context.resumed?.cursor as number | undefined) ?? 0;
    let done = context.resumed?.step ?? 0;
    while (done < Math.min(steps, context.maxSteps) && !context.signal.aborted) {
      const start = context.now();
      const rows: ReturnType<typeof rowOf>[] = [];
      for (const first = next; rows.length < batch; ) {
        const tokens = encoder.document(document(seed, next++));
        if (tokens.prompt.length + tokens.completion.length <= time + 1) rows.push(rowOf(tokens, time, tokenizer.padId ?? 0, 0));
        else if (next - first > 10_000) throw new LongjingError("bad_argument", "No document fits a row", { expected: `at most ${time + 1} tokens`, where: name });
      }
      const target_tokens = fill(step, rows.map((r) => r.ids), rows.map((r) => r.targets), rows.map((r) => r.counts));
      await teacher.logits(step.batch.ids!.data as BigInt64Array, step.batch.teacher_logits!.data as Float32Array, context.blocking);
      const learning_rate = schedule(done);
      const metrics = await step.run(learning_rate, { blocking: context.blocking });
      done++;
      const seconds = context.now() - start;
      context.account({ seconds, tokens: batch * time, flops });
      context.log(done, "metrics", { ...metrics, learning_rate, target_tokens }, { step_time: seconds, tokens_per_second: (batch * time) / seconds });
      await context.checkpoint({ step: done, cursor: next });
    }
    step.dispose();
    teacher.dispose();
    return { step: done, cursor: next };
  };
  return { name, steps, run };
}

const distillTypes = (rows: number, vocabulary: number): NextTokenTypes & { readonly teacher_logits: TensorType } => ({ ...nextTokenTypes(rows), teacher_logits: { shape: [rows, vocabulary], dtype: "float32" } });

function distillObjective(config: ModelConfig, { batch, time, divergence = { kind: "forward_kl" }, temperature = 1, cross_entropy_weight = 0 }: DistillOptions): (parameters: Readonly<Record<string, Value>>, inputs: { readonly [name: string]: Value }) => Objective {
  const tables = rotaryTables(config, time);
  return (parameters, { ids, targets, weights, teacher_logits }) => {
    const { hidden } = hiddenStates(config, parameters, ids!, trainingContext({ batch, time }, tables));
    const mask = cast(less(0, weights!), "float32");
    const { loss } = distillLoss({ teacher_logits: teacher_logits!, student_logits: logits(config, parameters, hidden), mask }, divergence, temperature);
    const nll = weightedNll(tokenLogprobs(hidden, headWeight(config, parameters), targets!).logprobs, weights!);
    // The gradient of softened distributions shrinks with the square of the temperature (arXiv 1503.02531).
    const softened = mul(loss, temperature ** 2);
    return { loss: cross_entropy_weight > 0 ? add(softened, mul(nll, cross_entropy_weight)) : softened, metrics: { divergence: loss, nll } };
  };
}

interface Teacher {
  /** Writes the logits of every row, ordered by time. */
  logits(ids: BigInt64Array, into: Float32Array, blocking: boolean): Promise<void>;
  dispose(): void;
}

/** @throws LongjingError "bad_argument" for a teacher of another vocabulary */
async function openTeacher(backend: Backend, { teacher, batch, time }: DistillOptions, student: ModelConfig): Promise<Teacher> {
  const loaded = await loadModel(backend, teacher);
  const { config, parameters } = loaded;
  if (config.vocab_size !== student.vocab_size) throw new LongjingError("bad_argument", "Teacher and student do not share a vocabulary", { where: teacher, got: `${config.vocab_size} tokens`, expected: `${student.vocab_size} tokens`, hint: "Distil by samples: fine-tune on the teacher's completions" });
  const program = await teacherProgram(backend, loaded, batch, time);
  const data = allocate(backend, { ids: { shape: [batch * time], dtype: "int64" }, logits: { shape: [batch * time, config.vocab_size], dtype: "float32" } });
  const binding: Binding = program.bind({ ids: data.ids as DeviceTensor }, { logits: data.logits as DeviceTensor });
  return {
    logits: async (ids, into, blocking) => {
      (data.ids.data as BigInt64Array).set(ids);
      if (blocking) binding.runSync();
      else await binding.run();
      into.set(data.logits.data as Float32Array);
    },
    dispose: () => {
      binding.dispose();
      program.dispose();
      disposeParameters(parameters);
      for (const tensor of Object.values(data)) tensor.dispose();
    },
  };
}

function teacherProgram(backend: Backend, { config, parameters }: LoadedModel, batch: number, time: number): Promise<Program> {
  const types = { parameters: Object.fromEntries(Object.entries(parameters).map(([name, { shape, dtype }]) => [name, { shape, dtype } as TensorType])), ids: { shape: [batch * time], dtype: "int64" } as TensorType };
  const said = nextTokenLogits(config, { batch, time });
  return compile(backend, (v) => ({ logits: said(v.parameters as Readonly<Record<string, Value>>, v.ids) }), types, { frozen: { parameters } });
}
