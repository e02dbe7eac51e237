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
let step = 0;
process.on("SIGTERM", () => process.exit(0));
const timer = setInterval(() => {
  step++;
  appendFileSync(join(out, "log.jsonl"), `${JSON.stringify({ type: "metrics", stage: "grpo", step, reward: step / 10 })}\n`);
  if (step < steps) return;
  clearInterval(timer);
  writeFileSync(join(out, "ledger.json"), JSON.stringify({ finished: true }));
}, 5);
