import { readFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { LongjingError } from "../errors/index.ts";

/**
 * Threads inside one op unless a session says otherwise: LONGJING_THREADS, else one a physical core that this process may
 * use. Two threads of one core share its vector units, so more threads would only get in each other's way.
 */
export function defaultThreads(): number {
  const asked = process.env["LONGJING_THREADS"];
  if (asked === undefined || asked === "") return Math.max(1, Math.min(physicalCores(), Math.floor(cpuQuota())));
  if (!/^[1-9]\d{0,3}$/.test(asked)) throw new LongjingError("bad_argument", "LONGJING_THREADS is not a number of threads", { got: asked, expected: "1 or more" });
  return Number(asked);
}

/** Physical cores among the processors that this process may run on. Logical processors where the system does not say. */
export function physicalCores(): number {
  const logical = availableParallelism();
  if (process.platform !== "linux") return logical;
  const cores = allowedProcessors().map((cpu) => readText(`/sys/devices/system/cpu/cpu${cpu}/topology/thread_siblings_list`));
  return cores.length === 0 || cores.includes(undefined) ? logical : new Set(cores).size;
}

/** Processors that a container is allowed to use at once, by its control group; infinite where there is no limit. */
export function cpuQuota(): number {
  const [quota, period] = readText("/sys/fs/cgroup/cpu.max")?.split(" ") ?? [readText("/sys/fs/cgroup/cpu/cpu.cfs_quota_us"), readText("/sys/fs/cgroup/cpu/cpu.cfs_period_us")];
  const processors = Number(quota) / Number(period);
  return processors > 0 ? Math.max(1, processors) : Infinity;
}

/** From /proc's "0-3,8": [0, 1, 2, 3, 8]. */
function allowedProcessors(): number[] {
  const list = /^Cpus_allowed_list:\s*(\S+)$/m.exec(readText("/proc/self/status") ?? "")?.[1] ?? "";
  return list.split(",").filter(Boolean).flatMap((range) => {
    const [first = 0, last = first] = range.split("-").map(Number);
    return Array.from({ length: last - first + 1 }, (_, i) => first + i);
  });
}

/** What a system file says, if the system has it. */
export function readText(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8").trim();
  } catch {
    return undefined;
  }
}
