import { LongjingError } from "../errors/index.ts";
import { applyAdapters, cacheShape, hiddenStates, logits, type CacheShape, type LoraModule, type ModelConfig } from "../model/index.ts";
import { compile, runBinding, usesOwnKernels, type Backend, type Binding, type DeviceTensor, type Program, type RowMath, type SessionOptions } from "../runtime/index.ts";
import { gather, type TensorType } from "../tensor/index.ts";
import type { LoraAdapter } from "../weights/index.ts";
import { paddedRuns, picksOf, piecesOf, tokensOf, wantedOf, type Chunk } from "./chunk.ts";
import { adaptedModules, adapterTensors } from "./adapters.ts";
import { DraftHead, type DraftRequest } from "./draft-head.ts";
import { allValues, quantizedOf, tensorsOf, typesOf, type ModelParameters } from "./model-parameters.ts";
import { rowMathOf } from "./row-math.ts";
import { float32Bytes, TensorMemory } from "./tensor-memory.ts";
import { StepBuffers } from "./step-buffers.ts";
import { placeTypes, raggedPlaceTypes, stepContext, tokenType } from "./step-inputs.ts";

export interface RunnerOptions {
  /** Rows of the cache: sequences that run at once. */
  readonly max_num_seqs: number;
  /** Tokens a row can hold. */
  readonly max_model_len: number;
  /** Parameters that never change: the session keeps and repacks them. Those that a trainer moves are given at each step. */
  readonly frozen?: ModelParameters;
  /** Matrices that factors among the parameters given at each step change. Default: those that have factors there, with scale 1. */
  readonly modules?: readonly LoraModule[];
  /** Also guess with the model's next-token module, whose parameters are among those given. Default false. */
  readonly mtp?: boolean;
  readonly session?: SessionOptions;
}

// Decoding and the checking of guesses repeat a few shapes, whose bindings are worth keeping; each holds a handle for each tensor of
// the cache.
const keptBindings = 64;
const keptTokens = 8;

/** Bytes of a cache that is wholly used before long. */
const soonUsed = 2 ** 27;

interface StepProgram {
  readonly program: Program;
  /** Whether rows may have different numbers of new tokens in one run, which only our own kernels can. */
  readonly ragged: boolean;
}

interface StepSizes {
  readonly start: number;
  readonly rows: number;
  /** With padding. */
  readonly tokens: number;
  readonly picks: number;
}

interface BoundStep {
  readonly binding: Binding;
  readonly dispose: () => void;
}

/**
 * Runs a model over a key-value cache of fixed capacity, [max_num_seqs, heads, max_model_len, width] a layer. A step appends
 * tokens to consecutive rows. Parameters are bound, never copied: the caller's buffers are read as they are at each step.
 */
export class ModelRunner {
  readonly config: ModelConfig;
  readonly options: RunnerOptions;
  readonly #backend: Backend;
  readonly #programs = new Map<string, Promise<StepProgram>>();
  readonly #signatures = new WeakMap<ModelParameters, string>();
  /** Of steps of few tokens a row, most recently used last. */
  #kept = new Map<string, BoundStep>();
  readonly #ids = new WeakMap<ModelParameters, number>();
  #lastId = 0;
  readonly #keys: readonly DeviceTensor<"float32">[];
  readonly #values: readonly DeviceTensor<"float32">[];
  readonly #draft: DraftHead | null;
  /** All parts of the cache, [max_num_seqs, heads, max_model_len, width] each. */
  readonly #lanes: readonly DeviceTensor<"float32">[];
  readonly #shape: CacheShape;
  /** Inputs and logits of every step; bindings see the parts that they need. */
  readonly #io: StepBuffers;

  constructor(backend: Backend, config: ModelConfig, options: RunnerOptions) {
    this.#backend = backend;
    this.config = config;
    this.options = options;
    this.#shape = cacheShape(config);
    const shape = [options.max_num_seqs, this.#shape.heads, options.max_model_len, this.#shape.width];
    this.#lanes = this.#allocateLanes((this.#shape.shared ? 1 : 2) * config.num_hidden_layers, shape);
    this.#keys = this.#lanes.slice(0, config.num_hidden_layers);
    this.#values = this.#shape.shared ? this.#keys : this.#lanes.slice(config.num_hidden_layers);
    this.#draft = options.mtp ? new DraftHead(backend, config, options) : null;
    if (this.#draft) this.#lanes = [...this.#lanes, this.#draft.keys, this.#draft.outputs];
    this.#io = new StepBuffers(config.vocab_size, this.#draft ? config.hidden_size : 0);
  }

  #allocateLanes(count: number, shape: readonly number[]): DeviceTensor<"float32">[] {
    const bytes = count * float32Bytes(shape);
    const memory = new TensorMemory(this.#backend, bytes, bytes <= soonUsed ? "dense" : "sparse");
    const lanes = Array.from({ length: count }, () => memory.float32(shape));
    memory.leave();
    return lanes;
  }

  /** How rows of logits are looked through, once a step has run. */
  rowMath(): RowMath {
    return rowMathOf(this.#backend.ownFunctions());
  }

  /** Numbers that a token takes in the cache, over all layers. */
  get floatsPerToken(): number {
    return this.#lanes.reduce((n, { shape }) => n + shape[1]! * shape[3]!, 0);
  }

  /**
   * Appends chunks to rows start, start + 1, …: any number of tokens to each. Gives the logits that are wanted of each chunk, in their
   * order, [wanted of all, vocabulary]; the next call overwrites them.
   */
  async forward(parameters: ModelParameters, start: number, chunks: readonly Chunk[], blocking: boolean): Promise<Float32Array> {
    if (tokensOf(chunks) === 0) return new Float32Array(0);
    const step = await this.#program(parameters);
    const runs = step.ragged ? [{ first: 0, chunks }] : paddedRuns(chunks);
    const [only] = runs;
    if (only && runs.length === 1) return this.#run(step, parameters, start + only.first, only.chunks, blocking);
    const { vocab_size } = this.config;
    const all = new Float32Array(picksOf(chunks) * vocab_size);
    for (const run of runs) {
      const logits = await this.#run(step, parameters, start + run.first, run.chunks, blocking);
      let from = 0;
      for (const [i, chunk] of run.chunks.entries()) {
        const count = wantedOf(chunk) * vocab_size;
        if (count > 0) all.set(logits.subarray(from, from + count), picksOf(chunks.slice(0, run.first + i)) * vocab_size);
        from += count;
      }
    }
    return all;
  }

  /** Appends tokens to a row that holds `past`; logits after each of the last `wanted` of them, [wanted, vocabulary]. */
  async extend(parameters: ModelParameters, row: number, past: number, token_ids: readonly number[], wanted: number, blocking: boolean): Promise<Float32Array> {
    return this.#run(await this.#program(parameters), parameters, row, [{ token_ids, past, wanted }], blocking);
  }

  /** Chunks as the kernels take them. */
  async #run(step: StepProgram, parameters: ModelParameters, start: number, chunks: readonly Chunk[], blocking: boolean): Promise<Float32Array> {
    const [chunk] = chunks;
    for (const some of chunk && chunks.length === 1 ? piecesOf(chunk).map((piece) => [piece]) : [chunks]) await this.#runOnce(step, parameters, start, some, blocking);
    return this.#io.logits.subarray(0, picksOf(chunks) * this.config.vocab_size);
  }

  async #runOnce(program: StepProgram, parameters: ModelParameters, start: number, chunks: readonly Chunk[], blocking: boolean): Promise<void> {
    const count = Math.max(...chunks.map(({ token_ids }) => token_ids.length));
    const io = this.#io;
    const sizes = { start, rows: chunks.length, ...io.write(chunks, program.ragged ? null : count, this.options.max_model_len) };
    const keeps = count <= keptTokens;
    const step = keeps ? this.#keep(program, parameters, sizes) : this.#bind(program, parameters, sizes);
    try {
      await runBinding(step.binding, blocking);
    } finally {
      if (!keeps) step.dispose();
    }
    if (this.#draft) for (const [b, { token_ids, past }] of chunks.entries()) this.#keepOutputs(this.#draft, start + b, past, io.cumulativeLengths[b]!, token_ids.length);
  }

  /** Keeps the last step's outputs of rows from, … as those of the tokens of a sequence from `past` on. */
  #keepOutputs({ outputs }: DraftHead, row: number, past: number, from: number, count: number): void {
    const width = this.config.hidden_size;
    outputs.data.set(this.#io.hidden.subarray(from * width, (from + count) * width), (row * this.options.max_model_len + past) * width);
  }

  /** What the next-token module says of the token after the last of a row's. @throws LongjingError "bad_argument" without `mtp` */
  draft(parameters: ModelParameters, request: DraftRequest, blocking: boolean): Promise<Float32Array> {
    if (!this.#draft) throw new LongjingError("bad_argument", "The runner was made without the next-token module", { expected: "mtp: true" });
    return this.#draft.run(parameters, request, blocking);
  }

  /** Copies the first `length` tokens of a row's cache to another row. @throws LongjingError "unsupported" of a cache that is resident */
  copyRow(from: number, to: number, length: number): void {
    this.#requireHere();
    for (const { data, shape } of this.#lanes) {
      const [, heads, capacity, width] = shape as [number, number, number, number];
      const lane = capacity * width;
      for (let h = 0; h < heads; h++) data.copyWithin((to * heads + h) * lane, (from * heads + h) * lane, (from * heads + h) * lane + length * width);
    }
  }

  /** What a row's cache holds of tokens start, …, start + count − 1: count · floatsPerToken numbers. */
  readRow(row: number, start: number, count: number, into: Float32Array): void {
    this.#eachLane(row, start, count, (lane, at) => into.set(lane, at));
  }

  /** Puts back what `readRow` gave, at the same places of any row. */
  writeRow(row: number, start: number, count: number, from: Float32Array): void {
    this.#eachLane(row, start, count, (lane, at) => lane.set(from.subarray(at, at + lane.length)));
  }

  #requireHere(): void {
    if (this.options.session?.resident) throw new LongjingError("unsupported", "The cache is where the provider computes, and cannot be read or written here", { hint: "Make the runner without `resident`" });
  }

  #eachLane(row: number, start: number, count: number, visit: (lane: Float32Array, at: number) => void): void {
    this.#requireHere();
    let at = 0;
    for (const { data, shape } of this.#lanes) {
      const [, heads, capacity, width] = shape as [number, number, number, number];
      for (let h = 0; h < heads; h++, at += count * width) {
        const from = ((row * heads + h) * capacity + start) * width;
        visit(data.subarray(from, from + count * width), at);
      }
    }
  }

  /**
   * An adapter's factors in memory of their own. Steps that are given them beside the parameters apply them: one program serves
   * all adapters that change the same matrices with the same ranks.
   */
  loadAdapter(parameters: ModelParameters, adapter: LoraAdapter): Record<string, DeviceTensor> {
    return adapterTensors(this.#backend, this.config, new Set([...Object.keys(this.options.frozen ?? {}), ...Object.keys(parameters)]), adapter);
  }

  unloadAdapter(factors: Readonly<Record<string, DeviceTensor>>): void {
    this.#dropKept();
    for (const tensor of Object.values(factors)) tensor.dispose();
  }

  async dispose(): Promise<void> {
    this.#dropKept();
    for (const program of this.#programs.values()) await program.then((made) => made.program.dispose(), () => {}); // one that could not be made holds nothing
    this.#programs.clear();
    for (const tensor of this.#lanes) tensor.dispose();
    await this.#draft?.dispose();
  }

  /** One for each set of types that steps bring as parameters. */
  #program(parameters: ModelParameters): Promise<StepProgram> {
    let signature = this.#signatures.get(parameters);
    if (signature === undefined) this.#signatures.set(parameters, (signature = JSON.stringify(typesOf(parameters))));
    let found = this.#programs.get(signature);
    if (!found) this.#programs.set(signature, (found = this.#compile(parameters)));
    return found;
  }

  async #compile(parameters: ModelParameters): Promise<StepProgram> {
    const { config, options } = this;
    const { frozen = {}, modules = adaptedModules(parameters), max_model_len, session } = options;
    const ragged = await usesOwnKernels(this.#backend, session);
    const cache = (): TensorType[] => this.#keys.map(() => ({ shape: ["batch", this.#shape.heads, max_model_len, this.#shape.width], dtype: "float32" }));
    const types = {
      frozen: typesOf(frozen),
      parameters: typesOf(parameters),
      keys: cache(),
      values: cache(),
      ids: tokenType,
      ...(ragged ? raggedPlaceTypes : placeTypes),
    };
    const program = await compile(
      this.#backend,
      (v) => {
        const given = allValues(frozen, parameters, v);
        const all = applyAdapters(given, modules, given);
        const context = stepContext(config, max_model_len, v, { keys: v.keys, values: v.values });
        const { hidden } = hiddenStates(config, all, v.ids, context);
        return { ...(options.mtp && { hidden }), logits: logits(config, all, gather(hidden, v.pick)), presentKeys: context.present.keys, presentValues: context.present.values };
      },
      types,
      { ...(options.frozen && { arena: "own" }), ...session, frozen: { frozen: tensorsOf(frozen) }, key: JSON.stringify({ config, max_model_len, modules, mtp: options.mtp, ragged, quantized: quantizedOf({ ...frozen, ...parameters }) }) },
    );
    return { program, ragged };
  }

  /** The binding of a step of these shapes, made once. */
  #keep(program: StepProgram, parameters: ModelParameters, sizes: StepSizes): BoundStep {
    if (this.#io.moved) this.#dropKept();
    let id = this.#ids.get(parameters);
    if (id === undefined) this.#ids.set(parameters, (id = this.#lastId++));
    const key = `${id} ${sizes.start} ${sizes.rows} ${sizes.tokens} ${sizes.picks}`;
    const step = this.#kept.get(key) ?? this.#bind(program, parameters, sizes);
    this.#kept.delete(key);
    this.#kept.set(key, step);
    if (this.#kept.size > keptBindings) {
      const [oldest, unused] = this.#kept.entries().next().value!;
      this.#kept.delete(oldest);
      unused.dispose();
    }
    return step;
  }

  #dropKept(): void {
    for (const step of this.#kept.values()) step.dispose();
    this.#kept.clear();
    this.#io.moved = false;
  }

  #bind({ program, ragged }: StepProgram, parameters: ModelParameters, { start, rows, tokens, picks }: StepSizes): BoundStep {
    const { heads, width } = this.#shape;
    const { max_model_len } = this.options;
    const lane = heads * max_model_len * width;
    const over = this.#backend.tensorOver.bind(this.#backend);
    const part = (cache: DeviceTensor<"float32">): DeviceTensor => over("float32", [rows, heads, max_model_len, width], cache.data.subarray(start * lane, (start + rows) * lane), cache);
    const keys = this.#keys.map(part);
    const values = this.#shape.shared ? keys : this.#values.map(part);
    const { ids, positions, cumulativeLengths, last, longest, pick, hidden, logits: out } = this.#io;
    const inputs = {
      ids: over("int64", [tokens], ids.subarray(0, tokens)),
      positions: over("int64", ragged ? [tokens, 1] : [rows, tokens / rows], positions.subarray(0, tokens)),
      ...(ragged && { cumulativeLengths: over("int32", [rows + 1], cumulativeLengths.subarray(0, rows + 1)) }),
      last: over("int32", [rows], last.subarray(0, rows)),
      longest: over("int32", [], longest),
      pick: over("int64", [picks], pick.subarray(0, picks)),
    };
    const written = over("float32", [picks, this.config.vocab_size], out.subarray(0, picks * this.config.vocab_size));
    const { hidden_size } = this.config;
    const outputs = this.#draft ? { hidden: over("float32", [tokens, hidden_size], hidden.subarray(0, tokens * hidden_size)) } : {};
    const binding = program.bind({ parameters: tensorsOf(parameters), keys, values, ...inputs }, { ...outputs, logits: written, presentKeys: keys, presentValues: values });
    const views = [...Object.values(outputs), ...new Set([...keys, ...values]), ...Object.values(inputs), written];
    return {
      binding,
      dispose: () => {
        binding.dispose();
        for (const view of views) view.dispose();
      },
    };
  }
}
