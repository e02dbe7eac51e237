import { initParameters, parameterCount, parameterSpecs, type ModelConfig } from "../model/index.ts";
import { configToText } from "../model/config.ts";
import { random } from "../random/index.ts";
import type { Backend, DeviceTensor } from "../runtime/index.ts";
import { createTokenizer, type TokenizerFiles } from "../text/index.ts";
import { loadTensors, modelFile, optimizerFile, type HostTensor, type JsonValue } from "./checkpoint.ts";
import { LongjingError } from "../errors/index.ts";
import { openRun, type Run } from "./run.ts";
import type { LogType, Stage, StageContext, StageProgress } from "./stage.ts";
import { TrainState } from "./train-state.ts";

/** A whole training, from nothing: a tokenizer, a model, and stages in order. */
export interface Recipe {
  readonly name: string;
  /** One sentence for lists. */
  readonly description: string;
  readonly tokenizer: () => TokenizerFiles;
  readonly model: (tokenizer: { readonly vocabSize: number; readonly bosId: number | null; readonly eosId: number | null; readonly padId: number | null }) => ModelConfig;
  readonly stages: readonly Stage[];
}

export interface RecipeRunOptions {
  readonly backend: Backend;
  /** The run's folder. */
  readonly dir: string;
  readonly seed: number;
  readonly resume: boolean;
  /** Ends each stage after this many steps. */
  readonly maxSteps?: number;
  /** Steps between checkpoints within a stage. Default 50. A stage's end is always a checkpoint. */
  readonly checkpointEvery?: number;
  /** Cores that the ledger counts. */
  readonly cores: number;
  /** Monotonic seconds. */
  readonly now: () => number;
  readonly report?: (event: RecipeEvent) => void;
}

/** What happens, for whoever watches. */
export type RecipeEvent =
  | { readonly type: "start"; readonly recipe: string; readonly parameters: number; readonly stages: readonly { readonly name: string; readonly steps: number }[]; readonly warnings: readonly string[] }
  | { readonly type: "stage"; readonly stage: string; readonly step: number; readonly steps: number }
  | { readonly type: LogType; readonly stage: string; readonly step: number; readonly steps: number; readonly values: Readonly<Record<string, JsonValue>>; readonly measures: Readonly<Record<string, number>> }
  | { readonly type: "checkpoint"; readonly path: string }
  | { readonly type: "end"; readonly dir: string };

/** What a checkpoint stores beside tensors. */
type SavedState = { readonly progress: { readonly step: number; readonly cursor: JsonValue }; readonly done: boolean; readonly optimizer_step: number };

/** Runs a recipe in a run folder, or goes on with one. A resumed run equals one that was never stopped, byte for byte. */
export async function runRecipe(recipe: Recipe, options: RecipeRunOptions): Promise<void> {
  const { backend, dir, seed, resume, report = () => {} } = options;
  const files = recipe.tokenizer();
  const tokenizer = createTokenizer(files.tokenizerJson, files.tokenizerConfig);
  const config = recipe.model(tokenizer);
  const specs = parameterSpecs(config);
  const run = openRun(dir, { config: { recipe: recipe.name, seed, stages: recipe.stages.map((s) => ({ name: s.name, steps: s.steps })) }, resume });
  try {
    const state = new TrainState(backend, specs, initParameters(specs, config.initializer_range, random("init", recipe.name, seed)));
    const at = run.checkpoint ? await restore(recipe, run, state) : { index: 0, progress: null };
    report({ type: "start", recipe: recipe.name, parameters: parameterCount(specs), stages: recipe.stages.map(({ name, steps }) => ({ name, steps: Math.min(steps, options.maxSteps ?? steps) })), warnings: run.warnings });
    const extraFiles = { "config.json": configToText(config, "float32"), "tokenizer.json": JSON.stringify(files.tokenizerJson), "tokenizer_config.json": JSON.stringify(files.tokenizerConfig, null, 2) };
    for (const [index, stage] of recipe.stages.entries()) {
      if (index < at.index) continue;
      const resumed = index === at.index ? at.progress : null;
      if (!resumed) state.resetOptimizer();
      const save = (progress: StageProgress, done: boolean): void => {
        const saved: SavedState = { progress, done, optimizer_step: state.step };
        const path = run.save({ stage: stage.name, step: progress.step, tensors: hostTensors(state.parameters), optimizer: optimizerTensors(state), state: saved as unknown as JsonValue, extraFiles, ...(done && { mark: "last" }) });
        report({ type: "checkpoint", path });
      };
      const progress = await stage.run(stageContext(stage, resumed, run, state, tokenizer, config, options, save));
      save(progress, true);
    }
    run.finish();
    report({ type: "end", dir });
  } finally {
    run.close();
  }
}

function stageContext(stage: Stage, resumed: StageProgress | null, run: Run, state: TrainState, tokenizer: StageContext["tokenizer"], config: ModelConfig, options: RecipeRunOptions, save: (progress: StageProgress, done: boolean) => void): StageContext {
  const { backend, seed, report = () => {}, checkpointEvery = 50, maxSteps = Number.POSITIVE_INFINITY } = options;
  const steps = Math.min(stage.steps, maxSteps);
  report({ type: "stage", stage: stage.name, step: resumed?.step ?? 0, steps });
  return {
    backend,
    config,
    tokenizer,
    state,
    seed,
    resumed,
    maxSteps,
    now: options.now,
    log: (step, type, values, measures = {}) => {
      run.log({ type, stage: stage.name, step, steps, ...values }, measures);
      report({ type, stage: stage.name, step, steps, values, measures });
    },
    account: (spent) => run.account(stage.name, { ...spent, cores: options.cores }),
    checkpoint: (progress) => {
      if (progress.step % checkpointEvery === 0 && progress.step < steps) save(progress, false);
    },
  };
}

/** Loads the newest checkpoint into `state`; says which stage goes on, and from where. */
async function restore(recipe: Recipe, run: Run, state: TrainState): Promise<{ index: number; progress: StageProgress | null }> {
  const checkpoint = run.checkpoint!;
  const index = recipe.stages.findIndex((s) => s.name === checkpoint.stage);
  if (index < 0) throw new LongjingError("bad_file", "The run was made by another recipe", { where: checkpoint.path, got: `stage "${checkpoint.stage}"`, expected: recipe.stages.map((s) => s.name) });
  const saved = checkpoint.state as unknown as SavedState;
  const parameters = await loadTensors(checkpoint, modelFile);
  const moments = await loadTensors(checkpoint, optimizerFile);
  const data = (from: Readonly<Record<string, HostTensor>>, prefix: string, names: readonly string[]): Record<string, Float32Array> => Object.fromEntries(names.map((name) => [name, from[prefix + name]!.data]));
  state.load(data(parameters, "", state.specs.map((s) => s.name)), { m: data(moments, "m.", state.trainedNames), v: data(moments, "v.", state.trainedNames) });
  state.step = saved.optimizer_step;
  return saved.done ? { index: index + 1, progress: null } : { index, progress: saved.progress };
}

const hostTensors = (tensors: Readonly<Record<string, DeviceTensor>>, prefix = ""): Record<string, HostTensor> => Object.fromEntries(Object.entries(tensors).map(([name, { shape, data }]) => [prefix + name, { shape, data: data as Float32Array }]));
const optimizerTensors = (state: TrainState): Record<string, HostTensor> => ({ ...hostTensors(state.moments.m, "m."), ...hostTensors(state.moments.v, "v.") });
