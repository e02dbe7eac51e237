import { initParameters, parameterCount, parameterSpecs, type ModelConfig, type ParameterSpec, type VocabularyIds } from "../model/index.ts";
import { configToText } from "../model/config.ts";
import { random } from "../random/index.ts";
import type { Backend, DeviceTensor } from "../runtime/index.ts";
import { eventLoopTurn } from "../runtime/event-loop.ts";
import { sameShape } from "../tensor/op.ts";
import { createTokenizer, type Tokenizer, type TokenizerFiles } from "../text/index.ts";
import { LongjingError } from "../errors/index.ts";
import type { Checkpoint as OpenCheckpoint } from "../weights/index.ts";
import { adapterFile, loadTensors, modelFile, optimizerFile, stageEnd, stageEnds, type Checkpoint, type CheckpointContents, type HostTensor, type JsonValue, type WeightsFile } from "./checkpoint.ts";
import { noBase, type FrozenBase } from "./frozen-base.ts";
import { adapterFiles, loraConfigFor, loraDefaults, readBase, type LoraOptions } from "./lora.ts";
import { openRun, readRunConfig, type Run } from "./run.ts";
import type { LogType, Stage, StageContext, StageProgress } from "./stage.ts";
import { TrainState } from "./train-state.ts";

/** A whole training: stages in order, on a model from nothing or on one that is there already. */
export interface Recipe {
  readonly name: string;
  /** One sentence for lists. */
  readonly description: string;
  /** What a model from nothing is made of. A recipe without it trains the model that its run is given. */
  readonly tokenizer?: () => TokenizerFiles;
  readonly model?: (tokenizer: VocabularyIds) => ModelConfig;
  /** Trains an adapter of this kind on the model that its run is given, which stays as it is. Default: all parameters are trained. */
  readonly lora?: LoraOptions;
  readonly stages: readonly Stage[];
}

/** A model that a run starts from. */
export interface StartingModel extends Pick<OpenCheckpoint, "path" | "config" | "names" | "read" | "blockLayout" | "readBlocks"> {
  /** What others may know it by: a path, or ORG/NAME. */
  readonly name: string;
  readonly files: TokenizerFiles;
}

export interface RecipeRunOptions {
  readonly backend: Backend;
  /** The run's folder. */
  readonly dir: string;
  /** The model to start from, for recipes that do not make one. */
  readonly base?: StartingModel;
  /** Trains an adapter, of the recipe's kind where this leaves it open. Default: that of the run which goes on, else the recipe's. */
  readonly lora?: LoraOptions;
  /** Default: that of the run which goes on, else 0. */
  readonly seed?: number;
  /** Of the recipe's source files, in hexadecimal: who goes on with a run by an edited recipe is told so. */
  readonly recipeSha256?: string;
  /** Go on with the run in the folder, if there is one. Without it a folder that holds a run is refused. */
  readonly resume: boolean;
  /** Ends each stage after this many steps. */
  readonly maxSteps?: number;
  /** Steps between checkpoints within a stage. Default 50. A stage's end is always a checkpoint. */
  readonly checkpointEvery?: number;
  /** Cores that the ledger counts where `cpu` does not say. */
  readonly cores: number;
  /** Seconds of computing that this process has used, over all cores: what a machine shared with others gave. */
  readonly cpu?: () => number;
  /** Bytes that this process may have: a step that cannot fit is refused. Default: no limit. */
  readonly memory?: number;
  /** Monotonic seconds. */
  readonly now: () => number;
  readonly report?: (event: RecipeEvent) => void;
  /** Stops the run after the step that it is at, with a checkpoint of it. */
  readonly signal?: AbortSignal;
}

/** What happens, for whoever watches. */
export type RecipeEvent =
  | { readonly type: "start"; readonly recipe: string; readonly parameters: number; readonly trainable: number; readonly stages: readonly { readonly name: string; readonly steps: number }[]; readonly warnings: readonly string[] }
  | { readonly type: "stage" | "progress" | "stopped"; readonly stage: string; readonly step: number; readonly steps: number }
  | { readonly type: LogType; readonly stage: string; readonly step: number; readonly steps: number; readonly values: Readonly<Record<string, JsonValue>>; readonly measures: Readonly<Record<string, number>> }
  | { readonly type: "checkpoint"; readonly path: string }
  | { readonly type: "end"; readonly dir: string };

/** What a checkpoint stores beside tensors. */
type SavedState = {
  readonly progress: { readonly step: number; readonly cursor: JsonValue };
  readonly done: boolean;
  /** Steps that the stage was to take. Older checkpoints do not say. */
  readonly steps?: number;
  readonly optimizer_step: number;
};

/** A run as its stages see it, except for what differs between them. */
type SharedContext = Pick<StageContext, "backend" | "config" | "tokenizer" | "state" | "seed" | "signal" | "blocking" | "memory" | "now" | "parametersAfter">;

/**
 * Runs a recipe in a run folder, or goes on with one. A resumed run equals one that was never stopped, byte for byte.
 * @returns "stopped" when the signal has ended it before its last stage was done
 * @throws LongjingError "conflict" when the folder holds a run and `resume` is not set, or a run of another recipe or seed, or one
 *   whose later stages are built on fewer steps of an earlier one than are planned now;
 *   "bad_argument" for stages in the wrong order; "bad_file"; "disk"; what the stages throw
 */
export async function runRecipe(recipe: Recipe, options: RecipeRunOptions): Promise<"finished" | "stopped"> {
  const { backend, dir, report = () => {}, signal = new AbortController().signal } = options;
  requireEarlier(recipe);
  const { seed, lora, recipe_sha256 } = choicesOf(recipe, options);
  const { files, tokenizer, config, specs, initial, frozen, weights } = await startOf(recipe, options, seed, lora);
  const chosen = { ...(options.base && { base: options.base.name }), ...(lora && { lora: { ...lora } }), ...(options.maxSteps !== undefined && { max_steps: options.maxSteps }), ...(recipe_sha256 !== undefined && { recipe_sha256 }) };
  const made = { recipe: recipe.name, seed, ...chosen, stages: recipe.stages.map((s) => ({ name: s.name, steps: s.steps })) };
  const run = openRun(dir, { config: made, resume: options.resume, accept: (checkpoint) => requireFinished(recipe, options, checkpoint) });
  try {
    const state = new TrainState(backend, specs, await initial(), frozen);
    const at = run.checkpoint ? await restore(recipe, options, run.checkpoint, weights.file, state) : { index: 0, progress: null };
    report({ type: "start", recipe: recipe.name, parameters: state.parameterCount, trainable: parameterCount(specs), stages: recipe.stages.map((stage) => ({ name: stage.name, steps: stepsOf(stage, options) })), warnings: [...run.warnings, ...changeWarnings(run.changed)] });
    const extraFiles = { ...weights.files, "tokenizer.json": JSON.stringify(files.tokenizerJson), "tokenizer_config.json": JSON.stringify(files.tokenizerConfig, null, 2) };
    const parametersAfter = async (stage: string): Promise<Record<string, Float32Array>> => {
      const checkpoint = stageEnd(dir, stage);
      return parametersOf(await loadTensors(checkpoint, weights.file), specs, checkpoint);
    };
    const shared = { backend, config, tokenizer, state, seed, signal, blocking: backend.provider !== "wasm", memory: options.memory ?? Number.POSITIVE_INFINITY, now: options.now, parametersAfter };
    for (const [index, stage] of recipe.stages.entries()) {
      if (index < at.index) continue;
      const resumed = index === at.index ? at.progress : null;
      if (!resumed) state.resetOptimizer();
      const save = (progress: StageProgress, done: boolean): void => {
        const path = run.save({ ...contents(stage, stepsOf(stage, options), progress, done, state), order: orderOf(recipe, index, progress.step), weightsFile: weights.file, extraFiles });
        report({ type: "checkpoint", path });
      };
      const progress = await stage.run(stageContext(stage, resumed, shared, run, options, save));
      if (signal.aborted && progress.step < stepsOf(stage, options)) {
        report({ type: "stopped", stage: stage.name, step: progress.step, steps: stepsOf(stage, options) });
        return "stopped";
      }
      save(progress, true);
    }
    run.finish();
    report({ type: "end", dir });
    return "finished";
  } finally {
    run.close();
  }
}

/** @throws LongjingError "bad_argument" for a stage that starts from one that does not come before it */
function requireEarlier({ stages }: Recipe): void {
  for (const [index, { name, after = [] }] of stages.entries()) {
    const earlier = stages.slice(0, index).map((stage) => stage.name);
    const stray = after.find((one) => !earlier.includes(one));
    if (stray !== undefined) throw new LongjingError("bad_argument", "A stage starts from one that does not come before it", { where: name, got: stray, expected: earlier.length === 0 ? "an earlier stage, and there is none" : earlier });
  }
}

interface Start {
  readonly files: TokenizerFiles;
  readonly tokenizer: Tokenizer;
  readonly config: ModelConfig;
  /** Of what is trained. */
  readonly specs: readonly ParameterSpec[];
  readonly initial: () => Promise<Record<string, Float32Array>>;
  readonly frozen: FrozenBase;
  /** How a checkpoint holds what is trained: its file, and the files that say what it is. */
  readonly weights: { readonly file: WeightsFile; readonly files: Readonly<Record<string, string>> };
}

/** @throws LongjingError "bad_argument" for a recipe without a model where none is given, or the other way round */
async function startOf(recipe: Recipe, { backend, base }: RecipeRunOptions, seed: number, lora: Required<LoraOptions> | undefined): Promise<Start> {
  const whole = (config: ModelConfig): Pick<Start, "config" | "frozen" | "weights"> => ({ config, frozen: noBase, weights: { file: modelFile, files: { "config.json": configToText(config, "float32") } } });
  if (recipe.model && recipe.tokenizer) {
    if (base) throw new LongjingError("bad_argument", "The recipe makes its own model and takes no other", { where: recipe.name, got: base.path });
    if (lora) throw new LongjingError("bad_argument", "An adapter is trained on a model that is there already, and the recipe makes its own", { where: recipe.name, got: "lora" });
    const files = recipe.tokenizer();
    const tokenizer = createTokenizer(files.tokenizerJson, files.tokenizerConfig);
    const config = recipe.model(tokenizer);
    const specs = parameterSpecs(config, { mtp: true });
    return { files, tokenizer, specs, initial: async () => initParameters(specs, config.initializer_range, random("init", recipe.name, seed)), ...whole(config) };
  }
  if (!base) throw new LongjingError("bad_argument", "The recipe trains a model that is there already", { where: recipe.name, hint: "Name it: --base DIR, FILE.gguf or ORG/NAME" });
  const { files, config } = base;
  const tokenizer = createTokenizer(files.tokenizerJson, files.tokenizerConfig);
  const mtp = base.names.some((name) => name.endsWith(".eh_proj.weight"));
  const specs = parameterSpecs(config, { mtp });
  if (lora) {
    const adapter = loraConfigFor(parameterSpecs(config), base.name, lora);
    const read = await readBase(backend, base, specs, adapter);
    return { files, tokenizer, config, specs: read.specs, frozen: read.base, initial: async () => initParameters(read.specs, 0, random("lora", recipe.name, seed)), weights: { file: adapterFile, files: adapterFiles(adapter) } };
  }
  const initial = async (): Promise<Record<string, Float32Array>> => {
    const parameters: Record<string, Float32Array> = {};
    for (const { name, shape } of specs) parameters[name] = (await base.read(name, shape)).data;
    return parameters;
  };
  return { files, tokenizer, specs, initial, ...whole(config) };
}

function stageContext(stage: Stage, resumed: StageProgress | null, shared: SharedContext, run: Run, options: RecipeRunOptions, save: (progress: StageProgress, done: boolean) => void): StageContext {
  const { report = () => {}, checkpointEvery = 50, maxSteps = Number.POSITIVE_INFINITY } = options;
  const { cpu } = options;
  const steps = stepsOf(stage, options);
  let counted = cpu?.() ?? 0;
  let told = resumed?.step ?? 0;
  report({ type: "stage", stage: stage.name, step: told, steps });
  return {
    ...shared,
    resumed,
    maxSteps,
    log: (step, type, values, measures = {}) => {
      run.log({ type, stage: stage.name, step, steps, ...values }, measures);
      report({ type, stage: stage.name, step, steps, values, measures });
    },
    account: (spent) => {
      const used = cpu === undefined ? spent.seconds * options.cores : cpu() - counted;
      counted += used;
      run.account(stage.name, { ...spent, cores: spent.seconds > 0 ? used / spent.seconds : 0 });
    },
    progress: (step) => {
      if (step > told) report({ type: "progress", stage: stage.name, step: (told = step), steps });
    },
    checkpoint: async (progress, urgent = false) => {
      await eventLoopTurn();
      const due = progress.step % checkpointEvery === 0 || progress.best === true || urgent || shared.signal.aborted;
      if (due && progress.step < steps) save(progress, false);
    },
  };
}

function stepsOf(stage: Stage, { maxSteps = Number.POSITIVE_INFINITY }: RecipeRunOptions): number {
  return Math.min(stage.steps, maxSteps);
}

/** Counts the steps that the recipe plans, and stages, so that no two checkpoints tie and one more in between changes no other. */
function orderOf(recipe: Recipe, index: number, step: number): number {
  return recipe.stages.slice(0, index).reduce((n, stage) => n + stage.steps + 1, step);
}

function contents(stage: Stage, steps: number, { step, cursor, tensors, best = false }: StageProgress, done: boolean, state: TrainState): Pick<CheckpointContents, "stage" | "step" | "tensors" | "optimizer" | "state" | "marks"> {
  const saved: SavedState = { progress: { step, cursor }, done, steps, optimizer_step: state.step };
  const moments = { ...hostTensors(state.moments.m, "m."), ...hostTensors(state.moments.v, "v.") };
  return { stage: stage.name, step, tensors: hostTensors(state.parameters), optimizer: { ...moments, ...tensors }, state: saved, marks: [...(best ? ["best"] : []), ...(done ? ["last"] : [])] };
}

/** What a run is made with that its recipe leaves open. @throws LongjingError "conflict" where the run that shall go on is of another recipe, seed or adapter */
function choicesOf(recipe: Recipe, { dir, resume, seed, lora, recipeSha256 }: RecipeRunOptions): { readonly seed: number; readonly lora: Required<LoraOptions> | undefined; readonly recipe_sha256: string | undefined } {
  const wanted = (recipe.lora ?? lora) && { ...loraDefaults, ...recipe.lora, ...lora };
  const old = resume ? (readRunConfig(dir) as { readonly recipe: string; readonly seed: number; readonly lora?: Required<LoraOptions>; readonly recipe_sha256?: string } | null) : null;
  if (old === null) return { seed: seed ?? 0, lora: wanted, recipe_sha256: recipeSha256 };
  if (old.recipe !== recipe.name) throw new LongjingError("conflict", "The folder holds a run of another recipe", { where: dir, got: recipe.name, expected: old.recipe });
  if (seed !== undefined && seed !== old.seed) throw new LongjingError("conflict", "The run in the folder has another seed", { where: dir, got: seed, expected: old.seed });
  if (lora && JSON.stringify(wanted) !== JSON.stringify(old.lora)) throw new LongjingError("conflict", "The run in the folder trains another adapter", { where: dir, got: wanted, expected: old.lora ?? "none" });
  return { seed: old.seed, lora: old.lora, recipe_sha256: recipeSha256 ?? old.recipe_sha256 };
}

function changeWarnings(changed: readonly string[]): string[] {
  const fields = changed.filter((name) => name !== "recipe_sha256");
  return [
    ...(fields.length < changed.length ? ["The recipe's source has changed since the run began: what is done was done by the old one, what follows is done by the new one"] : []),
    ...(fields.length > 0 ? [`config.json has changed since the run began: ${fields.join(", ")}`] : []),
  ];
}

/** Whether a stage that has ended is to take more steps now than it was to take then. */
function isShort({ state }: Checkpoint, stage: Stage, options: RecipeRunOptions): boolean {
  const { done, steps = Number.POSITIVE_INFINITY } = state as unknown as SavedState;
  return done && steps < stepsOf(stage, options);
}

/** @throws LongjingError "conflict" where a stage before the newest checkpoint's is short of steps: what came after it would not be built on them */
function requireFinished(recipe: Recipe, options: RecipeRunOptions, newest: Checkpoint | null): void {
  const ends = stageEnds(options.dir);
  for (const stage of recipe.stages.slice(0, Math.max(0, recipe.stages.findIndex(({ name }) => name === newest?.stage)))) {
    const end = ends.findLast((one) => one.stage === stage.name);
    if (end === undefined || !isShort(end, stage, options)) continue;
    throw new LongjingError("conflict", "Later stages are built on fewer steps of an earlier one than are planned now", { where: end.path, got: `${stage.name}: ${end.step} steps`, expected: `${stepsOf(stage, options)} steps`, hint: "Go on with as many steps as before (the recipe, --max-steps), or remove the checkpoints that are newer than this one to go on from it" });
  }
}

/** Loads a checkpoint into `state`; says which stage goes on, and from where. */
async function restore(recipe: Recipe, options: RecipeRunOptions, checkpoint: Checkpoint, file: WeightsFile, state: TrainState): Promise<{ index: number; progress: StageProgress | null }> {
  const index = recipe.stages.findIndex((s) => s.name === checkpoint.stage);
  if (index < 0) throw new LongjingError("bad_file", "The run was made by another recipe", { where: checkpoint.path, got: `stage "${checkpoint.stage}"`, expected: recipe.stages.map((s) => s.name) });
  const saved = checkpoint.state as unknown as SavedState;
  const parameters = await loadTensors(checkpoint, file);
  const optimizer = await loadTensors(checkpoint, optimizerFile);
  const trained = state.specs.filter((s) => s.trainable);
  state.load(parametersOf(parameters, state.specs, checkpoint), { m: parametersOf(optimizer, trained, checkpoint, "m."), v: parametersOf(optimizer, trained, checkpoint, "v.") });
  state.step = saved.optimizer_step;
  if (saved.done && !isShort(checkpoint, recipe.stages[index]!, options)) return { index: index + 1, progress: null };
  const rest = Object.entries(optimizer).filter(([name]) => !/^[mv]\./.test(name));
  return { index, progress: { ...saved.progress, ...(rest.length > 0 && { tensors: Object.fromEntries(rest) }) } };
}

const parametersOf = (tensors: Readonly<Record<string, HostTensor>>, specs: readonly ParameterSpec[], from: Checkpoint, prefix = ""): Record<string, Float32Array> =>
  Object.fromEntries(specs.map(({ name, shape }) => [name, dataOf(tensors, prefix + name, shape, from)]));

function dataOf(tensors: Readonly<Record<string, HostTensor>>, name: string, shape: readonly number[], { path }: Checkpoint): Float32Array {
  const found = tensors[name];
  if (found && sameShape(found.shape, shape)) return found.data;
  throw new LongjingError("bad_file", "The run was made with another model", { where: `${path}: ${name}`, got: found?.shape ?? "no such tensor", expected: shape, hint: "Restore the recipe as it was, or start again in another folder" });
}

const hostTensors = (tensors: Readonly<Record<string, DeviceTensor>>, prefix = ""): Record<string, HostTensor> => Object.fromEntries(Object.entries(tensors).map(([name, { shape, data }]) => [prefix + name, { shape, data: data as Float32Array }]));
