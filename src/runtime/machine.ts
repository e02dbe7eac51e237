import { availableParallelism, cpus, freemem, totalmem } from "node:os";
import { LongjingError } from "../errors/index.ts";
import type { Provider } from "./backend.ts";
import { cpuQuota, defaultThreads, physicalCores, readText } from "./cores.ts";
import { openBackend } from "./node.ts";
import { ortLibraryPath } from "./ort-library.ts";

/** A thing that is there, or why it is not. */
export type Finding<T> = T | { readonly missing: string };

/** What decides whether Longjing runs here, and how fast. */
export interface Machine {
  readonly platform: string;
  readonly node: string;
  readonly cpu: {
    readonly model: string;
    /** The instruction sets that kernels choose between. Empty where the system does not say. */
    readonly simd: readonly string[];
    /** Null where the system does not say. */
    readonly physicalCores: number | null;
    readonly logicalCores: number;
    /** Processors' worth of time that a container grants; null without a limit. */
    readonly quota: number | null;
    /** Of a session that asks for no number of its own; null where ONNX Runtime counts the cores. */
    readonly threads: number | null;
  };
  /** In bytes. `limit` is the container's; null without one. */
  readonly memory: { readonly total: number; readonly free: number; readonly limit: number | null };
  /** ONNX Runtime's native library. */
  readonly library: Finding<{ readonly path: string }>;
  /** The version of ONNX Runtime behind each provider that opens. */
  readonly providers: Readonly<Record<Provider, Finding<{ readonly version: string }>>>;
}

/** Looks at this machine, and opens every provider once. */
export async function describeMachine(): Promise<Machine> {
  const limit = process.constrainedMemory();
  return {
    platform: `${process.platform}/${process.arch}`,
    node: process.versions.node,
    cpu: {
      model: cpus()[0]?.model.trim() ?? "unknown",
      simd: simdFlags(readText("/proc/cpuinfo") ?? ""),
      physicalCores: physicalCores() ?? null,
      logicalCores: availableParallelism(),
      quota: cpuQuota() ?? null,
      threads: defaultThreads() ?? null,
    },
    memory: { total: totalmem(), free: freemem(), limit: limit > 0 && limit < totalmem() ? limit : null },
    library: await find(async () => ({ path: ortLibraryPath() })),
    providers: { cpu: await version("cpu"), webgpu: await version("webgpu"), wasm: await version("wasm") },
  };
}

const version = (provider: Provider): Promise<Finding<{ version: string }>> => find(async () => ({ version: (await openBackend(provider)).version }));

/** A refusal of ours is what `doctor` reports; anything else is a defect and goes on up. */
async function find<T>(look: () => Promise<T>): Promise<Finding<T>> {
  try {
    return await look();
  } catch (error) {
    if (!LongjingError.is(error)) throw error;
    return { missing: error.message };
  }
}

/** The flags by which ONNX Runtime picks its kernels, as /proc/cpuinfo names them: x86-64's, then Arm's. */
const kernelFlags = ["avx", "avx2", "fma", "f16c", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8", "amx_bf16", "asimd", "asimddp", "asimdhp", "i8mm", "bf16", "sve", "sme"];

/** Of /proc/cpuinfo. */
export function simdFlags(cpuinfo: string): string[] {
  const flags = new Set(/^(?:flags|Features)\s*:(.*)$/m.exec(cpuinfo)?.[1]?.trim().split(/\s+/));
  return kernelFlags.filter((flag) => flags.has(flag));
}
