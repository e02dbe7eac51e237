// Stands in for `longjing train RECIPE --out DIR [--resume] [--seed N] [--max-steps N]`: writes a log line every few
// milliseconds, ends after max-steps or at SIGTERM, fails on seed 13.
import { appendFileSync, existsSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const args = process.argv.slice(2);
const option = (name) => (args.includes(name) ? args[args.indexOf(name) + 1] : undefined);
const out = option("--out");
const steps = Number(option("--max-steps") ?? 1e9);
if (option("--seed") === "13") {
  console.error("the trainer does not like this seed");
  process.exit(1);
}
if (existsSync(out) !== args.includes("--resume")) process.exit(2);
mkdirSync(out, { recursive: true });
writeFileSync(join(out, "config.json"), JSON.stringify({ recipe: "tiny-zero", ...(option("--max-steps") && { max_steps: steps }), stages: [{ name: "grpo", steps }] }));

let step = 0;
const log = (type, values) =>
  appendFileSync(join(out, "log.jsonl"), `${JSON.stringify({ type, stage: "grpo", step, steps, ...values, clock: { time: Date.now() / 1000, step_time: 0.005, tokens_per_second: 1000 + step } })}\n`);

process.on("SIGTERM", () => process.exit(0));
const timer = setInterval(() => {
  step++;
  log("metrics", { reward: 1 - 1 / step, entropy: 1 / step, "completions/mean_length": 10 + step, "rewards/accuracy/mean": 1 - 1 / step });
  if (step === 1) log("completions", { completions: [{ prompt: "make 22", completion: "<think>3*5=15</think><answer>3*5+7</answer>", reward: 1, rewards: { accuracy: 1 }, advantage: 0.5 }] });
  if (step < steps) return;
  clearInterval(timer);
  writeFileSync(join(out, "ledger.json"), JSON.stringify({ finished: true }));
}, 5);
