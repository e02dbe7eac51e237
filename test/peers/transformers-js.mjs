/**
 * Loads what `longjing export --to onnx` wrote with transformers.js, and compares it with what `longjing probe` says of the model.
 * usage: transformers-js.mjs PACKAGES FOLDER PROBE_INPUT PROBE_OUTPUT
 */
import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { basename, dirname, join, resolve } from "node:path";
import { pathToFileURL } from "node:url";

const [packages, folder, inputPath, outputPath] = process.argv.slice(2);
const entry = createRequire(join(resolve(packages), "package.json")).resolve("@huggingface/transformers");
const { AutoModelForCausalLM, AutoTokenizer, Tensor, env } = await import(pathToFileURL(entry).href);
env.allowRemoteModels = false;
env.localModelPath = dirname(resolve(folder));

/** Of logits, as for every exported file in full precision. */
const bar = 1e-3;

const given = JSON.parse(readFileSync(inputPath, "utf8"));
const ours = JSON.parse(readFileSync(outputPath, "utf8"));
const model = await AutoModelForCausalLM.from_pretrained(basename(folder), { dtype: "fp32" });

const int64 = (rows) => new Tensor("int64", BigInt64Array.from(rows.flat(), BigInt), [rows.length, rows[0].length]);
const forward = async (rows, mask = rows.map((row) => row.map(() => 1))) => (await model({ input_ids: int64(rows), attention_mask: int64(mask) })).logits.tolist();
const farthest = (a, b) => (Array.isArray(a) ? Math.max(...a.map((x, i) => farthest(x, b[i]))) : Math.abs(a - b));

const difference = farthest(await forward(given.input_ids), ours.logits);
assert.ok(difference <= bar, `${folder}: logits differ by ${difference}, the bar is ${bar}`);

// The first row alone is what it is beside a longer one: padding on the left is seen by nobody.
const [row] = given.input_ids;
const padded = await forward([[0, 0, 0, ...row], [...row.slice(0, 3), ...row]], [[0, 0, 0, ...row.map(() => 1)], Array(row.length + 3).fill(1)]);
assert.ok(farthest(padded[0].slice(3), ours.logits[0]) <= bar, `${folder}: padding changes the logits`);

const prompt = given.greedy_prompt_ids;
const generated = await model.generate({ inputs: int64([prompt]), attention_mask: int64([prompt.map(() => 1)]), max_new_tokens: given.greedy_tokens, do_sample: false, eos_token_id: -1, repetition_penalty: 1 });
assert.deepEqual(generated.tolist()[0].slice(prompt.length).map(Number), ours.greedy.new_ids, `${folder}: another greedy continuation`);

// In blocks they are off by what rounding costs, which is a part of what they are.
const rms = (numbers) => Math.sqrt(numbers.reduce((sum, x) => sum + x * x, 0) / numbers.length);
const exact = ours.logits.flat(2);
const rounding = [];
for (const [dtype, most] of [["q8", 0.2], ["q4", 0.6]]) {
  const rounded = await AutoModelForCausalLM.from_pretrained(basename(folder), { dtype });
  const { logits } = await rounded({ input_ids: int64(given.input_ids), attention_mask: int64(given.input_ids.map((ids) => ids.map(() => 1))) });
  const off = rms(logits.tolist().flat(2).map((x, i) => x - exact[i])) / rms(exact);
  assert.ok(off <= most, `${folder}: ${dtype} is off by ${off}`);
  rounding.push(`${dtype} off by ${off.toFixed(3)}`);
}
const said = [`logits within ${difference.toExponential(1)}`, ...rounding];
if (existsSync(join(folder, "tokenizer.json"))) {
  const tokenizer = await AutoTokenizer.from_pretrained(basename(folder));
  const text = "Hello, 世界! 12 + 30 = 42";
  assert.equal(tokenizer.decode(tokenizer.encode(text, { add_special_tokens: false })), text, `${folder}: the tokenizer loses text`);
  if (tokenizer.chat_template) {
    assert.ok(tokenizer.apply_chat_template([{ role: "user", content: text }], { tokenize: false, add_generation_prompt: true }).includes(text));
    said.push("chat template");
  }
  said.push("tokenizer");
}
process.stdout.write(`${folder}: transformers.js: ${said.join(", ")}\n`);
