import { loadModel, type LoadedModel } from "../engine/load.ts";
import { disposeParameters, typesOf } from "../engine/model-parameters.ts";
import { LongjingError } from "../errors/index.ts";
import { headWeight, hiddenStates, logits, parameterCount, rotaryTables, trainingContext, type ModelConfig } from "../model/index.ts";
import { tokenLogprobs, weightedNll } from "../nn/index.ts";
import { adamwDefaults } from "../optim/adamw.ts";
import { compile, runBinding, type Backend, type Program } from "../runtime/index.ts";
import { add, cast, less, mul, type TensorType, type Value } from "../tensor/index.ts";
import { documentReader } from "./base-documents.ts";
import { BucketReader, type Bucket } from "./buckets.ts";
import { generationFlops, trainingFlops } from "./ledger.ts";
import { nextTokenLogits, nextTokenTypes, type NextTokenTypes } from "./next-token.ts";
import { distillLoss, type Divergence, type Objective } from "./objectives.ts";
import { rowOf } from "./pack.ts";
import { fill } from "./pretrain.ts";
import type { SftOptions } from "./sft.ts";
import { requireBuckets } from "./stage-options.ts";
import type { Stage, StageContext, StageProgress } from "./stage.ts";
import { TrainStep, type StepMetrics } from "./train-step.ts";

/** Names are those of `sft`. */
export interface DistillOptions extends SftOptions {
  /** Folder or GGUF file of a model with the student's vocabulary. Its distribution is asked for on the completions of `document`. */
  readonly teacher: string;
  /** Default: forward KL. */
  readonly divergence?: Divergence;
  /** Softens both distributions. Default 1. */
  readonly temperature?: number;
  /** Weight of the plain cross-entropy on the documents beside the divergence. Default 0. */
  readonly cross_entropy_weight?: number;
}

/** Distillation by logits: the student's distribution of each token of a completion is moved to the teacher's. */
export function distill(options: DistillOptions): Stage {
  const { name = "distill", steps, buckets, schedule, document } = options;
  requireBuckets(name, buckets);
  const run = async (context: StageContext): Promise<StageProgress> => {
    const { state, tokenizer, seed, resumed } = context;
    const reader = new BucketReader(buckets, documentReader(tokenizer, seed, document, 0), resumed?.cursor);
    const teacher = await openTeacher(context, options);
    const lessons = new Map<Bucket, Lesson>();
    let done = resumed?.step ?? 0;
    while (done < Math.min(steps, context.maxSteps) && !context.signal.aborted) {
      const start = context.now();
      const { bucket, documents } = reader.next();
      let lesson = lessons.get(bucket);
      if (!lesson) lessons.set(bucket, (lesson = await createLesson(context, teacher, bucket, options)));
      const rows = documents.map((d) => rowOf(d, bucket.time, tokenizer.padId ?? 0, 0));
      const target_tokens = fill(lesson.step, rows.map((r) => r.ids), rows.map((r) => r.targets), rows.map((r) => r.counts));
      const learning_rate = schedule(done);
      const metrics = await lesson.run(learning_rate);
      done++;
      const [seconds, tokens] = [context.now() - start, bucket.batch * bucket.time];
      context.account({ seconds, tokens, flops: trainingFlops(state.parameterCount, tokens, state.base.size) + generationFlops(parameterCount(teacher.specs), tokens) });
      context.log(done, "metrics", { ...metrics, learning_rate, target_tokens, row_length: bucket.time }, { step_time: seconds, tokens_per_second: tokens / seconds });
      await context.checkpoint({ step: done, cursor: reader.cursor });
    }
    for (const lesson of lessons.values()) lesson.dispose();
    disposeParameters(teacher.parameters);
    return { step: done, cursor: reader.cursor };
  };
  return { name, steps, run };
}

type DistillTypes = NextTokenTypes & { readonly teacher_logits: TensorType };

const distillTypes = (rows: number, vocabulary: number): DistillTypes => ({ ...nextTokenTypes(rows), teacher_logits: { shape: [rows, vocabulary], dtype: "float32" } });

function distillObjective(config: ModelConfig, layout: Bucket, { divergence = { kind: "forward_kl" }, temperature = 1, cross_entropy_weight = 0 }: DistillOptions): (parameters: Readonly<Record<string, Value>>, inputs: { readonly [name: string]: Value }) => Objective {
  const tables = rotaryTables(config, layout.time);
  return (parameters, { ids, targets, weights, teacher_logits }) => {
    const { hidden } = hiddenStates(config, parameters, ids!, trainingContext(layout, tables));
    const mask = cast(less(0, weights!), "float32");
    const { loss } = distillLoss({ teacher_logits: teacher_logits!, student_logits: logits(config, parameters, hidden), mask }, divergence, temperature);
    const nll = weightedNll(tokenLogprobs(hidden, headWeight(config, parameters), targets!).logprobs, weights!);
    // The gradient of softened distributions shrinks with the square of the temperature (arXiv 1503.02531).
    const softened = mul(loss, temperature ** 2);
    return { loss: cross_entropy_weight > 0 ? add(softened, mul(nll, cross_entropy_weight)) : softened, metrics: { divergence: loss, nll } };
  };
}

/** @throws LongjingError "bad_argument" for a teacher of another vocabulary */
async function openTeacher({ backend, config: student }: StageContext, { teacher }: DistillOptions): Promise<LoadedModel> {
  const loaded = await loadModel(backend, teacher);
  const { vocab_size } = loaded.config;
  if (vocab_size === student.vocab_size) return loaded;
  disposeParameters(loaded.parameters);
  throw new LongjingError("bad_argument", "Teacher and student do not share a vocabulary", { where: teacher, got: `${vocab_size} tokens`, expected: `${student.vocab_size} tokens`, hint: "Distil by samples: fine-tune on the teacher's completions" });
}

/** The student's step on rows of one length, behind what the teacher says of them. */
interface Lesson {
  readonly step: TrainStep<DistillTypes>;
  run(learningRate: number): Promise<StepMetrics>;
  dispose(): void;
}

async function createLesson({ backend, config, state, blocking }: StageContext, teacher: LoadedModel, bucket: Bucket, options: DistillOptions): Promise<Lesson> {
  const rows = bucket.batch * bucket.time;
  const step = await TrainStep.create(backend, state, distillTypes(rows, config.vocab_size), distillObjective(config, bucket, options), { optimizer: { ...adamwDefaults, ...options.optimizer }, max_grad_norm: options.max_grad_norm ?? 1 });
  const program = await teacherProgram(backend, teacher, bucket);
  const binding = program.bind({ ids: step.batch.ids }, { logits: step.batch.teacher_logits });
  return {
    step,
    run: async (learningRate) => {
      await runBinding(binding, blocking);
      return step.run(learningRate, { blocking });
    },
    dispose: () => {
      binding.dispose();
      program.dispose();
      step.dispose();
    },
  };
}

function teacherProgram(backend: Backend, { config, parameters }: LoadedModel, bucket: Bucket): Promise<Program> {
  const types = { parameters: typesOf(parameters), ids: { shape: [bucket.batch * bucket.time], dtype: "int64" } as TensorType };
  const said = nextTokenLogits(config, bucket);
  return compile(backend, (v) => ({ logits: said(v.parameters as Readonly<Record<string, Value>>, v.ids) }), types, { frozen: { parameters } });
}
