import type { OwnFunctions, RegroupBlocks } from "./backend.ts";
import { kernelLibrary } from "./kernel-library.ts";
import { loadKoffi, ortApi, type Pointer } from "./ort-api.ts";

/** Our own kernels, as a domain of operators that sessions are given. */
export interface OwnKernels extends OwnFunctions {
  /** What they use of the processor: "avx512_vnni" or "avx2". */
  readonly instructions: string;
  readonly domain: Pointer;
}

/** Or why there are none: ONNX Runtime's own are used then. */
export type OwnKernelsOrWhy = OwnKernels | { readonly missing: string };

let opened: Promise<OwnKernelsOrWhy> | undefined;
let ready: OwnKernels | undefined;

/** Compiles our kernels where that is yet to be done, and loads them: once a process. */
export const openOwnKernels = (): Promise<OwnKernelsOrWhy> => (opened ??= open());

/** Those that `openOwnKernels` has found in this process. */
export const openedOwnKernels = (): OwnKernels | undefined => ready;

const operators = ["longjing_matmul_blocks", "longjing_gated_matmul_blocks", "longjing_cached_attention"];

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
  return (ready = { instructions, domain, rowMath: bindRowMath(loaded), regroupBlocks: bindRegroupBlocks(loaded) });
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
  const [argmaxFloat, argmaxDouble, weightsFloat, weightsDouble] = [argmaxOf("float"), argmaxOf("double"), weightsOf("float"), weightsOf("double")];
  return (constants) => ({
    argmax: (scores) => Number((scores instanceof Float32Array ? argmaxFloat : argmaxDouble)(scores, scores.length)),
    weights: (scores, top, divisor, out) => (scores instanceof Float32Array ? weightsFloat : weightsDouble)(constants, scores, scores.length, top, divisor, out ?? null) as number,
  });
}

type ForeignFunction = ReturnType<Library["func"]>;

function bindRegroupBlocks(library: Library): RegroupBlocks {
  const regroup = library.func("longjing_regroup", "int", ["str", "void *", "size_t", "size_t", "void *", "void *", "void *", "void *"]);
  return (type, from, columns, places, blocks, scales, offsets) => regroup(type, from, places.length, columns, places, blocks, scales, offsets) !== 0;
}
