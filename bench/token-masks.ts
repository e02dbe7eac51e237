/**
 * What constrained output costs a step: masks of a model's vocabulary along texts that follow a schema, a value of any JSON and a
 * regular expression, the first time that a grammar is used and once its states are known.
 *
 *     npx tsx --conditions source bench/token-masks.ts FOLDER      a folder with tokenizer.json and tokenizer_config.json
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { grammarConstraint } from "../src/constrain/constraint.ts";
import { TokenMasks } from "../src/constrain/masks.ts";
import { compileSpec, type ConstraintSpec } from "../src/constrain/spec.ts";
import { createVocabulary } from "../src/constrain/vocabulary.ts";
import { createTokenizer } from "../src/text/tokenizer.ts";

const folder = process.argv[2] ?? ".";
const file = (name: string): unknown => JSON.parse(readFileSync(join(folder, name), "utf8"));
const tokenizer = createTokenizer(file("tokenizer.json"), file("tokenizer_config.json"));

const person = {
  type: "object",
  properties: {
    name: { type: "string" },
    age: { type: "integer", minimum: 0, maximum: 150 },
    email: { type: "string", format: "email" },
    tags: { type: "array", items: { type: "string" }, maxItems: 8 },
    address: { type: "object", properties: { street: { type: "string", maxLength: 80 }, city: { type: "string" }, zip: { type: "string", pattern: "^\\d{5}$" } }, required: ["street", "city"] },
    friends: { type: "array", items: { $ref: "#" } },
  },
  required: ["name", "age"],
};
const one = { name: "Ada Lovelace", age: 36, email: "ada@example.com", tags: ["mathematics", "poetry", "engines"], address: { street: "12 St James's Square", city: "London", zip: "10247" } };
const value = { ...one, friends: [{ name: "Charles Babbage", age: 44, friends: [{ name: "Mary \"S.\" Café 東京", age: 63 }] }, one] };

const cases: readonly { readonly name: string; readonly spec: ConstraintSpec; readonly text: string }[] = [
  { name: "schema", spec: { type: "json_schema", schema: person }, text: JSON.stringify(value) },
  { name: "json_object", spec: { type: "json_object" }, text: JSON.stringify(value, null, 2) },
  { name: "regex", spec: { type: "regex", regex: "(The|An?) [a-z]+( [a-z]+){1,20}\\." }, text: "The quick brown fox jumps over the lazy dog." },
];

const milliseconds = (run: () => void): number => {
  const start = performance.now();
  run();
  return performance.now() - start;
};
const figures = (times: readonly number[]): string => {
  const sorted = times.toSorted((a, b) => a - b);
  const at = (share: number): string => (sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] as number).toFixed(3);
  return `median ${at(0.5)}, 95 % ${at(0.95)}, most ${at(1)}, sum ${times.reduce((a, b) => a + b).toFixed(1)} ms`;
};

let vocabulary = createVocabulary([]);
process.stdout.write(`vocabulary of ${tokenizer.tokenBytes.length}: trie in ${milliseconds(() => (vocabulary = createVocabulary(tokenizer.tokenBytes))).toFixed(0)} ms, ${vocabulary.byte.length} nodes\n`);
const end = tokenizer.eosId ?? 0;
const mask = new Uint32Array(Math.ceil(tokenizer.tokenBytes.length / 32));

for (const { name, spec, text } of cases) {
  const ids = [...tokenizer.encode(text), end];
  for (let round = 0; round < 3; round++) {
    let masks: TokenMasks | undefined;
    const compile = milliseconds(() => (masks = new TokenMasks(compileSpec(spec, { thinking: "none", answerTags: false }), vocabulary)));
    for (const pass of ["first", "again"]) {
      const constraint = grammarConstraint(masks as TokenMasks, [end]);
      const times: number[] = [];
      for (const id of ids) {
        times.push(milliseconds(() => constraint.mask(mask)));
        if (((mask[id >> 5] as number) >>> (id & 31) & 1) === 0) throw new Error(`${name}: the text does not follow`);
        constraint.accept(id);
      }
      // The first rounds are the compiler's of JavaScript.
      if (round === 2) process.stdout.write(`${name}, ${pass}: compiled in ${compile.toFixed(1)} ms; ${ids.length} masks: ${figures(times)}\n`);
    }
  }
}
