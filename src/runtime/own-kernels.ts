import type { TypedArray } from "../tensor/value.ts";
import type { BlockMatrix, BlockReading, OwnFunctions, ReadBlocks } from "./backend.ts";
import { kernelLibrary } from "./kernel-library.ts";
import { callAside, loadKoffi, ortApi, type Pointer } from "./ort-api.ts";

/** Our own kernels, as a domain of operators that sessions are given. */
export interface OwnKernels extends OwnFunctions {
  /** What they use of the processor: "avx512_vnni" or "avx2". */
  readonly instructions: string;
  readonly domain: Pointer;
  /** Asks that memory be looked up in large pages, where the system has them. */
  wishLargePages(data: TypedArray): void;
  /** Gives memory that nobody will read any more back to the system, whenever its array goes. */
  giveBack(data: TypedArray): void;
}

/** Or why there are none: ONNX Runtime's own are used then. */
export type OwnKernelsOrWhy = OwnKernels | { readonly missing: string };

let opened: Promise<OwnKernelsOrWhy> | undefined;
let ready: OwnKernels | undefined;

/** Compiles our kernels where that is yet to be done, and loads them: once a process. */
export const openOwnKernels = (): Promise<OwnKernelsOrWhy> => (opened ??= open());

/** Those that `openOwnKernels` has found in this process. */
export const openedOwnKernels = (): OwnKernels | undefined => ready;

const operators = ["longjing_matmul_blocks", "longjing_gated_matmul_blocks", "longjing_gather_blocks", "longjing_cached_attention", "longjing_adamw", "longjing_swiglu", "longjing_swiglu_gradient", "longjing_rms_norm", "longjing_scatter_add_rows", "longjing_matmul_trans_a", "longjing_causal_attention", "longjing_causal_attention_gradient"];

/** Foreign code must stay where it is as long as a session may call it. */
const kept: unknown[] = [];

async function open(): Promise<OwnKernelsOrWhy> {
  const library = await kernelLibrary();
  if ("missing" in library) return library;
  const loaded = load(library.path);
  if ("missing" in loaded) return loaded;
  kept.push(loaded);
  const instructions = loaded.func("longjing_instructions", "str", [])() as string | null;
  if (instructions === null) return { missing: "they need AVX2 or AVX-512 VNNI, which this processor does not have" };
  const api = ortApi();
  const domain = api.CreateCustomOpDomain("longjing");
  for (const operator of operators) api.CustomOpDomain_Add(domain, loaded.func(operator, "void *", [])() as Pointer);
  return (ready = { instructions, domain, rowMath: bindRowMath(loaded), readBlocks: bindReadBlocks(loadKoffi(), loaded), textTables: bindTextTables(loaded), ...bindMemory(loaded) });
}

/** A file that is damaged, or lies where nothing may be run, must not keep a model from running. */
function load(path: string): Library | { readonly missing: string } {
  const koffi = loadKoffi();
  try {
    return koffi.load(path);
  } catch (error) {
    return { missing: `they cannot be loaded: ${(error as Error).message}` };
  }
}

type Library = ReturnType<ReturnType<typeof loadKoffi>["load"]>;

function bindRowMath(library: Library): OwnKernels["rowMath"] {
  const argmaxOf = (type: string): ForeignFunction => library.func(`longjing_argmax_${type}`, "size_t", ["void *", "size_t"]);
  const weightsOf = (type: string): ForeignFunction => library.func(`longjing_weights_${type}`, "double", ["void *", "void *", "size_t", "double", "double", "void *"]);
  const drawOf = (type: string): ForeignFunction => library.func(`longjing_draw_${type}`, "size_t", ["void *", "void *", "size_t", "double", "double", "void *", "void *"]);
  const [argmaxFloat, argmaxDouble, weightsFloat, weightsDouble, drawFloat, drawDouble] = [argmaxOf("float"), argmaxOf("double"), weightsOf("float"), weightsOf("double"), drawOf("float"), drawOf("double")];
  const found = new Float64Array(2);
  return (constants) => ({
    argmax: (scores) => Number((scores instanceof Float32Array ? argmaxFloat : argmaxDouble)(scores, scores.length)),
    weights: (scores, top, divisor, out) => (scores instanceof Float32Array ? weightsFloat : weightsDouble)(constants, scores, scores.length, top, divisor, out ?? null) as number,
    draw: (scores, divisor, uniform, out) => {
      const id = Number((scores instanceof Float32Array ? drawFloat : drawDouble)(constants, scores, scores.length, divisor, uniform, out, found));
      return { id, top: found[0]!, total: found[1]! };
    },
  });
}

type ForeignFunction = ReturnType<Library["func"]>;

interface Asked {
  readonly reading: BlockReading;
  readonly resolve: (done: boolean) => void;
  readonly reject: (error: unknown) => void;
}

function bindReadBlocks(koffi: ReturnType<typeof loadKoffi>, library: Library): ReadBlocks {
  const read = library.func("longjing_read_blocks", "void", ["void *", "size_t", "void *"]);
  const address = (data: TypedArray | null): bigint => {
    if (data === null) return 0n;
    void data.buffer; // a small array moves until somebody has asked for its buffer
    return koffi.address(data);
  };
  const call = (batch: readonly Asked[]): void => {
    const names = new Map(batch.map(({ reading }) => [reading.type, new TextEncoder().encode(`${reading.type}\0`)]));
    const whole = [...new Set(batch.flatMap(({ reading }) => reading.tilesOf ?? []))];
    const matrices = BigInt64Array.from(whole.flatMap(({ blocks, scales, offsets, rows, columns, block_size, bits }) => [address(blocks), address(scales), address(offsets), ...[rows, columns, block_size, bits].map(BigInt)]));
    const fields = ({ type, descriptor, offset, columns, places, blocks, scales, offsets, tilesOf }: BlockReading): bigint[] =>
      [address(names.get(type)!), BigInt(descriptor), BigInt(offset), BigInt(places.length), BigInt(columns), address(places), address(blocks), address(scales), address(offsets), BigInt(tilesOf ? whole.indexOf(tilesOf) : -1), 0n];
    const readings = BigInt64Array.from(batch.flatMap(({ reading }) => fields(reading)));
    const each = readings.length / batch.length;
    for (const { blocks } of whole) tiled.add(blocks.buffer);
    whileUsed(batch.map(({ reading }) => reading.blocks.buffer), callAside(read, [readings, batch.length, matrices], [batch, names])).then(
      () => batch.forEach(({ resolve }, at) => resolve(readings[(at + 1) * each - 1] !== 0n)),
      (error: unknown) => batch.forEach(({ reject }) => reject(error)),
    );
  };
  let asked: Asked[] = [];
  const start = (): void => {
    const batch = asked;
    asked = [];
    for (const part of shares(batch)) if (part.length > 0) call(part);
  };
  return (reading) =>
    new Promise((resolve, reject) => {
      if (asked.length === 0) queueMicrotask(start);
      asked.push({ reading, resolve, reject });
    });
}

/** Memory that tiles stand for: at its address nothing else may come to lie before they are forgotten. */
const tiled = new Set<ArrayBufferLike>();

/** Memory that is being read into, how many do so, and what is to happen to it afterwards. */
const used = new Map<ArrayBufferLike, { users: number; afterwards?: () => void }>();

async function whileUsed(buffers: readonly ArrayBufferLike[], work: Promise<unknown>): Promise<void> {
  for (const buffer of buffers) {
    const use = used.get(buffer);
    if (use) use.users++;
    else used.set(buffer, { users: 1 });
  }
  try {
    await work;
  } finally {
    for (const buffer of buffers) {
      const use = used.get(buffer)!;
      if (--use.users > 0) continue;
      used.delete(buffer);
      use.afterwards?.();
    }
  }
}

/** Threads that make tiles. */
const tileThreads = 2;

/**
 * Those that are asked for in one turn go in few calls: each call on another thread takes a stack of its own. What stays as it is read comes
 * first; tiles take a while to make.
 */
function shares(batch: readonly Asked[]): readonly (readonly Asked[])[] {
  const byMatrix = new Map<BlockMatrix | undefined, Asked[]>([[undefined, []]]);
  for (const each of batch) {
    const same = byMatrix.get(each.reading.tilesOf);
    if (same) same.push(each);
    else byMatrix.set(each.reading.tilesOf, [each]);
  }
  const [plain, ...matrices] = byMatrix.values();
  return [plain!, ...Array.from({ length: tileThreads }, (_, thread) => matrices.filter((_, i) => i % tileThreads === thread).flat())];
}

function bindTextTables(library: Library): OwnKernels["textTables"] {
  const fill = library.func("longjing_fill_text_table", "int64_t", ["void *", "void *", "size_t", "void *", "size_t"]);
  const firstNotPair = library.func("longjing_first_not_pair", "size_t", ["void *", "void *", "size_t"]);
  return {
    fill: (bytes, places, slots) => {
      const longest = Number(fill(bytes, places, places.length / 2, slots, slots.length));
      return longest < 0 ? null : longest;
    },
    firstNotPair: (bytes, places) => Number(firstNotPair(bytes, places, places.length / 2)),
  };
}

function bindMemory(library: Library): Pick<OwnKernels, "wishLargePages" | "giveBack"> {
  const [wish, forget] = ["longjing_wish_large_pages", "longjing_give_back"].map((name) => library.func(name, "void", ["void *", "size_t"])) as [ForeignFunction, ForeignFunction];
  const forgetNow = (data: TypedArray): void => {
    forget(data, data.byteLength);
    tiled.delete(data.buffer);
  };
  const giveBack = (data: TypedArray): void => {
    const use = used.get(data.buffer);
    if (use) use.afterwards = () => forgetNow(data);
    else forgetNow(data);
  };
  return { wishLargePages: (data) => void wish(data, data.byteLength), giveBack };
}
