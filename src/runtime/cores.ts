import { readFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { dirname, join } from "node:path";
import { LongjingError } from "../errors/index.ts";

/**
 * Threads inside one op unless a session says otherwise: LONGJING_THREADS, else one a physical core that this process may
 * use: two threads on a core share its vector units. Undefined where only ONNX Runtime knows the cores (macOS, Windows).
 *
 * @throws LongjingError `bad_argument` for a LONGJING_THREADS that is not a number of threads.
 */
export function defaultThreads(): number | undefined {
  const asked = process.env["LONGJING_THREADS"];
  if (asked !== undefined && !/^[1-9]\d{0,3}$/.test(asked)) throw new LongjingError("bad_argument", "LONGJING_THREADS is not a number of threads", { got: asked, expected: "1 or more" });
  if (asked !== undefined) return Number(asked);
  const cores = physicalCores();
  return cores && Math.max(1, Math.min(cores, Math.floor(cpuQuota() ?? cores)));
}

/** Physical cores among the processors that this process may run on, where the system says. */
export function physicalCores(): number | undefined {
  if (process.platform !== "linux") return undefined;
  const siblings = allowedProcessors().map((cpu) => readText(`/sys/devices/system/cpu/cpu${cpu}/topology/thread_siblings_list`));
  return siblings.includes(undefined) ? availableParallelism() : new Set(siblings).size || undefined;
}

/** From "Cpus_allowed_list: 0-3,8": [0, 1, 2, 3, 8]. */
function allowedProcessors(): number[] {
  const list = /^Cpus_allowed_list:\s*(\S+)$/m.exec(readText("/proc/self/status") ?? "")?.[1] ?? "";
  return list.split(",").flatMap((range) => {
    const [first = 0, last = first] = range.split("-").map(Number);
    return Array.from({ length: last - first + 1 }, (_, i) => first + i);
  });
}

/** How many processors' worth of time this process's control group grants, if it has a limit. The tightest ancestor's counts. */
export function cpuQuota(root = "/sys/fs/cgroup", groups = readText("/proc/self/cgroup") ?? ""): number | undefined {
  const limits: number[] = [];
  for (const line of groups.split("\n")) {
    const [, controllers = "", path = "/"] = /^\d+:([^:]*):(.*)$/.exec(line) ?? [];
    if (controllers !== "" && !controllers.split(",").includes("cpu")) continue;
    for (let group = path; ; group = dirname(group)) {
      const folder = join(root, controllers, group);
      const limit = controllers === "" ? readText(join(folder, "cpu.max"))?.split(" ") : [readText(join(folder, "cpu.cfs_quota_us")), readText(join(folder, "cpu.cfs_period_us"))];
      const processors = Number(limit?.[0]) / Number(limit?.[1]);
      if (processors > 0) limits.push(processors); // "max" and -1 are no limit
      if (group === "/" || group === ".") break;
    }
  }
  return limits.length > 0 ? Math.min(...limits) : undefined;
}

/** What a system file says, if the system has it. */
export function readText(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8").trim();
  } catch {
    return undefined;
  }
}
