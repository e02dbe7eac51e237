import { Ajv2020 } from "ajv/dist/2020.js";
import { afterAll, describe, expect, test } from "vitest";
import { loadServedModel } from "../src/cli/load-model.ts";
import type { ConstraintSpec } from "../src/constrain/index.ts";
import type { TokenConstraint } from "../src/engine/types.ts";
import { fixture } from "./fixtures.ts";

const schema = {
  type: "object",
  properties: { ok: { type: "boolean" }, level: { type: "integer", minimum: 1, maximum: 12 }, kind: { enum: ["a", "bé", null] }, notes: { type: "array", items: { type: "string", maxLength: 3 }, maxItems: 2 } },
  required: ["ok", "level", "kind"],
  additionalProperties: false,
};
const validate = new Ajv2020().compile(schema);

const formats: readonly (readonly [ConstraintSpec, (text: string) => boolean])[] = [
  [{ type: "json_schema", schema }, (text) => validate(JSON.parse(text))],
  [{ type: "regex", regex: "(yes|no), \\d{2}[^\\n]?" }, (text) => /^(yes|no), \d{2}[^\n]?$/u.test(text)],
  [{ type: "choice", choice: ["left", "right", "right away"] }, (text) => ["left", "right", "right away"].includes(text)],
  [{ type: "grammar", grammar: 'root ::= "(" root? ")" | [x-z]' }, (text) => /^(\(*)([x-z]?)(\)*)$/.test(text) && text.split("(").length === text.split(")").length],
];

/** A model of random weights says anything: what it says is the constraint's doing. */
describe.each(["qwen3", "llama_gqa"])("the model %s, whatever its weights", async (name) => {
  const model = await loadServedModel(fixture("models", name), { maxModelLen: 120, maxNumSeqs: 4 });
  afterAll(() => model.engine.dispose());
  const prompt_ids = model.tokenizer.encode("Say something.");

  const answer = async (make: (() => TokenConstraint) | undefined, seed: number) => {
    const sampling = { temperature: 1.5, seed, max_tokens: 90, stop_token_ids: model.stop_token_ids };
    const ids: number[] = [];
    for await (const event of model.engine.submit({ prompt_ids, sampling, ...(make === undefined ? {} : { constraint: make() }) })) {
      if (event.type === "finish") return { text: model.tokenizer.decode(ids.filter((id) => !model.stop_token_ids.includes(id))), reason: event.reason };
      if (event.type === "token") ids.push(event.token_id);
    }
    throw new Error("no end");
  };

  test("keeps to its formats, many at a time, and says what it would say alone", async () => {
    const makers = await Promise.all(formats.map(([spec]) => model.constrainer.constraintFor({ spec, thinking: "none" })));
    const all = formats.flatMap(([, holds], i) => [0, 1, 2].map((seed) => ({ holds, make: makers[i], seed })));
    const together = await Promise.all(all.map(({ make, seed }) => answer(make, seed)));
    for (const [i, { holds, make, seed }] of all.entries()) {
      const { text, reason } = together[i] as { text: string; reason: string };
      if (reason === "stop") expect([text, holds(text)]).toEqual([text, true]);
      expect(await answer(make, seed)).toEqual({ text, reason });
    }
    expect(together.filter(({ reason }) => reason === "stop").length).toBeGreaterThan(all.length / 2);
  });
});
