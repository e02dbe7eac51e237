// What guessed tokens gain while one sequence runs alone: tokens a second with and without them, and the share of right guesses.
// Rounds alternate. `same`: the share of the answer up to the first token that differs; in float32 it is 1.
//
//   npx tsx --conditions source bench/speculation.ts MODEL ['{"method":"ngram","num_speculative_tokens":4}' [auto|float32 [PROBLEMS.jsonl]]]
//
// PROBLEMS.jsonl is what `longjing tasks import` writes: its questions, by task.
import { readFileSync } from "node:fs";
import type { SpeculativeConfig } from "../src/engine/index.ts";
import { loadServedModel } from "../src/cli/load-model.ts";
import type { ServedModel } from "../src/serve/index.ts";

const [model, config = '{"method":"ngram","num_speculative_tokens":4}', dtype = "auto", problems] = process.argv.slice(2);
const speculative = JSON.parse(config) as SpeculativeConfig;
const [tokens, rounds] = [128, 3];

const story = "The old lighthouse keeper climbed the stairs every evening at dusk. He lit the lamp, wound the clockwork and wrote one line into the log. Ships far out at sea turned when they saw the light, and nobody on board knew his name.";
const code = "function add(a, b) {\n  return a + b;\n}\n\nfunction subtract(a, b) {\n  return a - b;\n}\n";
const plainPrompts: readonly (readonly [name: string, texts: readonly string[]])[] = [
  ["repeat", [`Repeat this text word for word: ${story}`]],
  ["code", [`Rewrite this code with the arguments named x and y, and add multiply and divide:\n\n${code}`]],
  ["story", ["Write a short story about a fox who learns to read."]],
];

function problemPrompts(file: string): typeof plainPrompts {
  const lines = readFileSync(file, "utf8").trim().split("\n").map((line) => JSON.parse(line) as { readonly task: string; readonly question: string });
  return [...new Set(lines.map(({ task }) => task))].map((task) => [task, lines.filter((line) => line.task === task).map(({ question }) => question)]);
}

const load = (options: { speculative?: SpeculativeConfig }) => loadServedModel(model!, { maxNumSeqs: 1, maxModelLen: 2048, prefixCacheBytes: 0, dtype: dtype === "float32" ? "float32" : "auto", ...options });
const [plain, guessing] = [await load({}), await load({ speculative })];

async function timed({ engine, tokenizer, renderChat }: ServedModel, content: string): Promise<{ ids: number[]; rate: number }> {
  const ids: number[] = [];
  const prompt_ids = tokenizer.encode(renderChat([{ role: "user", content }], { add_generation_prompt: true }));
  let start = 0;
  for await (const event of engine.submit({ prompt_ids, sampling: { temperature: 0, max_tokens: tokens } })) {
    if (event.type !== "token") continue;
    if (ids.push(event.token_id) === 1) start = performance.now();
  }
  return { ids, rate: ((ids.length - 1) / (performance.now() - start)) * 1000 };
}

const median = (values: readonly number[]): number => values.toSorted((a, b) => a - b)[values.length >> 1]!;
for (const [name, texts] of problems === undefined ? plainPrompts : problemPrompts(problems)) {
  const before = guessing.engine.stats();
  const [slow, fast]: [number[], number[]] = [[], []];
  let same = 1;
  for (const content of Array.from({ length: rounds }, () => texts).flat()) {
    const [a, b] = [await timed(plain, content), await timed(guessing, content)];
    const differs = a.ids.findIndex((id, at) => id !== b.ids[at]);
    if (differs >= 0) same = Math.min(same, differs / a.ids.length);
    slow.push(a.rate);
    fast.push(b.rate);
  }
  const after = guessing.engine.stats();
  const share = (after.spec_decode_num_accepted_tokens - before.spec_decode_num_accepted_tokens) / Math.max(1, after.spec_decode_num_draft_tokens - before.spec_decode_num_draft_tokens);
  process.stdout.write(`${JSON.stringify({ prompt: name, tokens_per_second: +median(slow).toFixed(1), with_guesses: +median(fast).toFixed(1), speed_up: +(median(fast) / median(slow)).toFixed(2), accepted: +share.toFixed(2), same: +same.toFixed(2) })}\n`);
}
plain.engine.dispose();
guessing.engine.dispose();
