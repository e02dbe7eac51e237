// A process that is told how to fail, or tries what it may not do.
import { execFileSync } from "node:child_process";
import { readFileSync, readSync, writeFileSync, writeSync } from "node:fs";
import { Worker } from "node:worker_threads";

function readLine(): string {
  const byte = Buffer.alloc(1);
  for (let line = ""; ; line += byte.toString()) if (readSync(0, byte) === 0) process.exit(0);
    else if (byte[0] === 10) return line;
}

const attempt = (act: () => unknown): string => {
  try {
    act();
    return "done";
  } catch (error) {
    return (error as { code?: string }).code ?? String(error);
  }
};

const first = JSON.parse(readLine()) as { file: string; scratch: string; fault?: string; delay?: number };
if (first.fault !== undefined) throw new Error(first.fault);
Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, first.delay ?? 0);
writeSync(1, "ready\n");

const tasks: Record<string, () => string> = {
  exit: () => process.exit(1),
  throw: () => {
    throw new Error("a defect");
  },
  silence: () => {
    for (;;);
  },
  flood: () => {
    for (;;) writeSync(1, "x".repeat(1000));
  },
  grow: () => {
    for (const held: Buffer[] = []; ; ) held.push(Buffer.alloc(2 ** 24, 1));
  },
  reach: () =>
    JSON.stringify({
      itsFile: attempt(() => readFileSync(first.file)),
      file: attempt(() => readFileSync(process.execPath)),
      write: attempt(() => writeFileSync(first.scratch, "")),
      child: attempt(() => execFileSync(process.execPath, ["--version"])),
      thread: attempt(() => new Worker("", { eval: true })),
      code: attempt(() => void Reflect.construct(Function, ["return 1"])),
      environment: process.env["LONGJING_SECRET"] ?? "none",
    }),
};
const task = JSON.parse(readLine()) as string;
writeSync(1, `${tasks[task]?.() ?? task}\n`);
