import { writeSync } from "node:fs";
import { fromState, random } from "../src/random/index.ts";
import type { RandomState } from "../src/random/index.ts";
import { openRun } from "../src/train/run.ts";

/**
 * A trainer without a model, to be killed: a random walk of 40,000 numbers that is logged and saved after every step.
 * `node kill-child.ts DIR STEPS` resumes; each saved step is said on standard output once `save` has returned.
 */
const [dir = "", steps = "0"] = process.argv.slice(2);
const run = openRun(dir, { config: { seed: 1 }, resume: true });
if (run.warnings.length > 0) throw new Error(run.warnings.join("; "));
const start = run.checkpoint?.step ?? 0;
const stream = run.checkpoint === null ? random("kill") : fromState(run.checkpoint.state as unknown as RandomState);
for (let step = start + 1; step <= Number(steps); step++) {
  const weights = Float32Array.from({ length: 40_000 }, () => stream.next());
  run.log({ stage: "walk", step, mean: weights.reduce((a, b) => a + b) / weights.length });
  const tensor = { shape: [200, 200], data: weights };
  run.save({ stage: "walk", step, tensors: { weights: tensor }, optimizer: { momentum: tensor }, state: [...stream.state()] });
  writeSync(1, `${step}\n`);
}
run.close();
