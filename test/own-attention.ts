import { compile, type Backend } from "../src/runtime/index.ts";
import { cachedAttention, constant, type Value } from "../src/tensor/index.ts";

export interface AttentionSizes {
  readonly heads: number;
  readonly kvHeads: number;
  readonly dim: number;
  readonly capacity: number;
}

/** One step of some rows: `fresh` new tokens of each, after `past` that its cache holds. */
export interface AttentionStep {
  /** [rows, new, (heads + 2 · kvHeads) · dim] */
  readonly projected: Float32Array;
  readonly past: readonly number[];
  readonly fresh: number;
}

/** Attention with caches that it writes in place, [rows, kvHeads, capacity, dim] each; what a step gives, [rows, new, heads · dim]. */
export async function openAttention(backend: Backend, { heads, kvHeads, dim, capacity }: AttentionSizes, rows: number, threads = 2): Promise<(step: AttentionStep) => Promise<Float32Array>> {
  const cache = { shape: ["rows", kvHeads, capacity, dim], dtype: "float32" as const };
  const table = (f: (x: number) => number): Value => constant(Float32Array.from({ length: (capacity * dim) / 2 }, (_, i) => f(Math.floor(i / (dim / 2)) / 10 ** ((i % (dim / 2)) / dim))), [capacity, dim / 2]);
  const program = await compile(
    backend,
    (v: { readonly x: Value; readonly keys: Value; readonly values: Value; readonly last: Value; readonly longest: Value }) => {
      const { out, presentKey, presentValue } = cachedAttention([v.x], { key: v.keys, value: v.values, last: v.last, longest: v.longest }, [table(Math.cos), table(Math.sin)], { heads, kvHeads, scale: 1 / Math.sqrt(dim) });
      return { out, presentKey, presentValue };
    },
    { x: { shape: ["rows", "new", (heads + 2 * kvHeads) * dim], dtype: "float32" as const }, keys: cache, values: cache, last: { shape: ["rows"], dtype: "int32" as const }, longest: { shape: [], dtype: "int32" as const } },
    { threads },
  );
  const [keys, values] = [0, 1].map(() => backend.tensor("float32", [rows, kvHeads, capacity, dim])) as [ReturnType<typeof backend.tensor<"float32">>, ReturnType<typeof backend.tensor<"float32">>];
  return async ({ projected, past, fresh }) => {
    const lengths = past.map((n) => n + fresh);
    const out = backend.tensor("float32", [rows, fresh, heads * dim]);
    const binding = program.bind({ x: backend.tensorOver("float32", [rows, fresh, (heads + 2 * kvHeads) * dim], projected), keys, values, last: backend.tensorOver("int32", [rows], Int32Array.from(lengths, (n) => n - 1)), longest: backend.tensorOver("int32", [], Int32Array.of(Math.max(...lengths))) }, { out, presentKey: keys, presentValue: values });
    await binding.run();
    binding.dispose();
    return out.data;
  };
}
