import type { DType } from "../tensor/value.ts";

/** Which kernels run a graph. */
export type Provider = "cpu" | "webgpu" | "wasm";

/** The memory of a tensor, by its element type. */
export interface Memory {
  readonly float32: Float32Array;
  readonly int64: BigInt64Array;
  readonly int32: Int32Array;
  readonly bool: Uint8Array;
  readonly uint8: Uint8Array;
}

/**
 * A tensor that a session reads or writes in place. `data` is its memory: on the CPU, writing into `data` before a run and
 * reading it after needs no copy. It must never be resized or transferred while the tensor lives.
 */
export interface DeviceTensor<D extends DType = DType> {
  readonly dtype: D;
  readonly shape: readonly number[];
  readonly data: Memory[D];
  /**
   * Brings the values, once however often it is called; absent where they are there. "data": into `data`. "tiles": where our own
   * products find them, for a matrix that nothing else reads; `data` may then stay as it is.
   */
  readonly load?: LoadValues | undefined;
  /** A binding that it is part of keeps it until that is disposed too. */
  dispose(): void;
}

export type LoadValues = (where: "data" | "tiles") => Promise<void>;

export interface SessionOptions {
  /** Threads inside one op. Default: the number of physical cores available. */
  readonly threads?: number;
  /** false keeps memory planning off: a third less peak memory for a train step. Default false. */
  readonly memoryPattern?: boolean;
  /** Graph rewrites by the runtime. Default "disabled": our graphs are lowered to what the kernels want. */
  readonly optimization?: "disabled" | "all";
  /**
   * Threads go on spinning for as long as they wait for work, after a run too, which slows another session of this process, or any
   * other process, by up to 2. Default false: they spin for a few microseconds between the ops of a run, and sleep after it.
   */
  readonly spinning?: boolean;
  /**
   * Where runs take their memory from. "shared": from one arena of the process, which holds what the largest run of all such sessions took.
   * "own": from one of the session's, which stays in one piece however many come and go: for a model that is served. Default "shared".
   */
  readonly arena?: "shared" | "own";
  /**
   * What a binding both reads and writes (a cache) stays where the provider computes: `data` is read before the first run and never
   * written. For "webgpu" in a browser; elsewhere it changes nothing. Default false.
   */
  readonly resident?: boolean;
  /** Our own kernels (kernels), where the machine has them. Default true; false for comparison. */
  readonly ownKernels?: boolean;
  /** Writes a Chrome trace with this prefix when the session is disposed. */
  readonly profile?: string;
  /**
   * Memory of the initializers whose data the model leaves out, by name. It never changes while the session lives. The processor reads
   * it where it lies, or keeps a repacked copy of it; a device, the browser and optimization "all" a copy.
   */
  readonly initializers?: Readonly<Record<string, DeviceTensor>>;
}

/** What sampling computes of a whole row of scores. All of its time is spent here: a row has as many as the vocabulary. */
export interface RowMath {
  /** The lowest id among the largest scores. */
  argmax(scores: Float32Array | Float64Array): number;
  /** exp((score − top) / divisor) of each, into `out` where it is given; their sum in order. */
  weights(scores: Float32Array | Float64Array, top: number, divisor: number, out?: Float64Array): number;
  /** The id at which the running sum of the weights by the largest score, which go into `out`, passes `uniform` of their sum. Ids without weight are passed over. */
  draw(scores: Float32Array | Float64Array, divisor: number, uniform: number, out: Float64Array): Drawn;
}

export interface Drawn {
  readonly id: number;
  /** The largest score. */
  readonly top: number;
  /** The sum of the weights. Without a positive and finite one there is nothing to draw. */
  readonly total: number;
}

/** Rows of a GGUF file's blocks, [rows, columns], and where they go: the i-th to row places[i]. */
export interface BlockReading {
  readonly type: string;
  /** Of an open file. */
  readonly descriptor: number;
  /** Where in it the rows begin. */
  readonly offset: number;
  readonly columns: number;
  readonly places: Int32Array;
  readonly blocks: Uint8Array;
  readonly scales: Float32Array;
  readonly offsets: Float32Array | null;
  /**
   * The matrix that these rows are a part of: only its tiles are made, which our products find for as long as its memory is not given back.
   * All its parts are asked for in one turn.
   */
  readonly tilesOf?: BlockMatrix | undefined;
}

/** A matrix in blocks (tensor/ops/quantized.ts). */
export interface BlockMatrix extends Pick<BlockReading, "columns" | "blocks" | "scales" | "offsets"> {
  readonly rows: number;
  readonly bits: number;
  readonly block_size: number;
}

/**
 * Reads blocks on other threads, regrouped as weights/quantized-blocks.ts does it, bit for bit. False for a type that our kernels do not
 * know, where the file ends early, and for a matrix that has no tiles.
 */
export type ReadBlocks = (reading: BlockReading) => Promise<boolean>;

/** What text/text-table.ts and its users ask of a kernel. */
export interface TextTables {
  fill(bytes: Uint8Array, places: Uint32Array, slots: Int32Array): number | null;
  firstNotPair(bytes: Uint8Array, places: Uint32Array): number;
}

/** What our own kernels do beside a graph's operators. */
export interface OwnFunctions {
  /** @param expConstants what an exponential is made of (engine/exp.ts) */
  rowMath(expConstants: Float64Array): RowMath;
  readonly readBlocks: ReadBlocks;
  readonly textTables: TextTables;
}

/** Inputs and outputs of one session, bound once and run many times. */
export interface Binding {
  /** Runs on this thread; the event loop waits. Not available where the platform is asynchronous (the browser). */
  runSync(): void;
  /** Runs without blocking the event loop, but for a fiftieth of a second where the run before took no longer. */
  run(): Promise<void>;
  dispose(): void;
}

export interface Session {
  readonly inputNames: readonly string[];
  readonly outputNames: readonly string[];
  /**
   * Binds every input and every output. A tensor may be bound as an input and an output at once only for ops that are
   * documented to work in place (GroupQueryAttention's cache).
   */
  bind(inputs: Readonly<Record<string, DeviceTensor>>, outputs: Readonly<Record<string, DeviceTensor>>): Binding;
  dispose(): void;
}

/** What a program is made a session of. */
export interface LoweredProgram {
  /** An ONNX ModelProto. */
  readonly model: Uint8Array;
  /** Inputs that it is given as initializers, in the order of its inputs. */
  readonly initializers: readonly string[];
  /** Those among them that other operators than ours read. */
  readonly readByOthers: readonly string[];
}

/** Where lowered programs are kept from one process to the next, by a key that says all that they depend on but this code. */
export interface ProgramStore {
  /** At once: what a program needs of a file is read from then on, beside whatever else begins. */
  read(key: string): LoweredProgram | null;
  /** Never fails for want of room or of permission. */
  write(key: string, program: LoweredProgram): Promise<void>;
}

/** One execution provider on this machine. `#ort` exports `openBackend`. */
export interface Backend {
  readonly provider: Provider;
  /** Of the runtime library, for `doctor` and logs. */
  readonly version: string;
  /** What a model that is given initializers names as their file; null for the name of each. */
  readonly initializerFile: string | null;
  /** Whether graphs may use our own kernels. They are compiled when this is first asked (kernel-library.ts). */
  hasOwnKernels(): Promise<boolean>;
  /** Null before `hasOwnKernels` has found any. */
  ownFunctions(): OwnFunctions | null;
  /** Null where nothing is kept. */
  readonly programs: ProgramStore | null;
  /** `model` is an ONNX ModelProto. */
  createSession(model: Uint8Array, options?: SessionOptions): Promise<Session>;
  /**
   * Zeroed memory.
   * @param lasting For a model's parameters and caches. V8 looks for garbage after every large piece of its own memory; this is none of
   *   it, and goes back to the system when the tensor is disposed of. "dense": all of it is used again and again, so it lies in large pages
   *   where the system has them; "sparse": it does not, whose first use waits for the whole of each.
   */
  tensor<D extends DType>(dtype: D, shape: readonly number[], lasting?: "dense" | "sparse"): DeviceTensor<D>;
  /**
   * A tensor over memory that the caller already has, without a copy (a sub-array of a cache, a file's bytes).
   * @param owner the tensor that has the memory, which this one keeps
   */
  tensorOver<D extends DType>(dtype: D, shape: readonly number[], data: Memory[D], owner?: DeviceTensor, load?: LoadValues): DeviceTensor<D>;
}

export type OpenBackend = (provider?: Provider) => Promise<Backend>;
