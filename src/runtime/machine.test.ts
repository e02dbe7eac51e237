import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { cpuQuota, defaultThreads } from "./cores.ts";
import { describeMachine, simdFlags } from "./machine.ts";

let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "longjing-"));
});
afterEach(() => {
  rmSync(root, { recursive: true });
  vi.unstubAllEnvs();
});

function file(path: string, text: string): void {
  mkdirSync(join(root, path, ".."), { recursive: true });
  writeFileSync(join(root, path), text);
}

test("a machine is plain data, and its CPU provider opens", async () => {
  const machine = await describeMachine();
  expect(JSON.parse(JSON.stringify(machine))).toEqual(machine);
  expect(machine.providers.cpu).toHaveProperty("version");
  expect(machine.providers.wasm).toHaveProperty("version");
  expect(machine.library).toHaveProperty("path");
  expect(machine.memory.free).toBeLessThanOrEqual(machine.memory.total);
  expect(machine.cpu.threads ?? 1).toBeLessThanOrEqual(availableParallelism());
});

test("a provider that does not open says why", async () => {
  const { webgpu } = (await describeMachine()).providers;
  if ("missing" in webgpu) expect(webgpu.missing).toContain("graphics driver");
  else expect(webgpu.version).toMatch(/^\d/);
});

test("LONGJING_THREADS decides the threads, and nonsense is refused", () => {
  vi.stubEnv("LONGJING_THREADS", "3");
  expect(defaultThreads()).toBe(3);
  for (const nonsense of ["0", "-1", "2.5", "many", ""]) {
    vi.stubEnv("LONGJING_THREADS", nonsense);
    expect(defaultThreads).toThrow(/LONGJING_THREADS/);
  }
});

test("the tightest control group decides the quota (version 2)", () => {
  file("cpu.max", "max 100000\n");
  file("pod/cpu.max", "150000 100000\n");
  file("pod/box/cpu.max", "400000 100000\n");
  expect(cpuQuota(root, "0::/pod/box")).toBe(1.5);
  expect(cpuQuota(root, "0::/")).toBeUndefined();
});

test("control groups of version 1 count by their controller", () => {
  file("cpu,cpuacct/box/cpu.cfs_quota_us", "50000\n");
  file("cpu,cpuacct/box/cpu.cfs_period_us", "100000\n");
  file("cpu,cpuacct/cpu.cfs_quota_us", "-1\n");
  file("cpu,cpuacct/cpu.cfs_period_us", "100000\n");
  expect(cpuQuota(root, "4:memory:/box\n3:cpu,cpuacct:/box")).toBe(0.5);
  expect(cpuQuota(root, "3:cpu,cpuacct:/")).toBeUndefined();
  expect(cpuQuota(root, "")).toBeUndefined();
});

test("SIMD flags are whole words, of x86-64 and of Arm", () => {
  expect(simdFlags("processor\t: 0\nflags\t\t: fpu avx avx2 avx512f_fake fma\n")).toEqual(["avx", "avx2", "fma"]);
  expect(simdFlags("Features\t: fp asimd asimddp i8mm")).toEqual(["asimd", "asimddp", "i8mm"]);
  expect(simdFlags("")).toEqual([]);
});
