import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { compiled, masksOf, walk } from "../../test/constrained-texts.ts";
import { random } from "../random/index.ts";
import { grammarConstraint } from "./constraint.ts";
import type { Situation } from "./machine.ts";
import { TokenMasks } from "./masks.ts";
import type { ConstraintSpec } from "./spec.ts";
import { createVocabulary } from "./vocabulary.ts";

const encoder = new TextEncoder();
const bit = (mask: Uint32Array, id: number): boolean => (((mask[id >> 5] as number) >>> (id & 31)) & 1) === 1;

const specs: readonly ConstraintSpec[] = [
  { type: "json_object" },
  { type: "json_schema", schema: { type: "object", properties: { a: { type: "string" }, ab: { type: "integer" }, é: { enum: ["x", "é", null] } }, required: ["ab"] } },
  { type: "regex", regex: "(a|ab)(c|bcd)*é?" },
  { type: "choice", choice: ["a", "ab", "abc", "é", "è"] },
  { type: "grammar", grammar: 'root ::= "a" root "b" | "ab" | [é-ü] root?' },
  { type: "grammar", grammar: 'root ::= expr\nexpr ::= term (("+" | "a") term)*\nterm ::= "(" expr ")" | [0-9]+ | list\nlist ::= "[" (expr ("," expr)*)? "]"' },
  // Several readings at once: of which call it is, and of where one ends.
  { type: "grammar", grammar: "root ::= x y | y x\nx ::= [a-c]* | [a-b] x\ny ::= [b-d]+ x? root?" },
];

/** Tokens over the characters that the grammars use, halves of characters among them, each byte too. */
const vocabularies = fc
  .array(fc.oneof(fc.string({ unit: fc.constantFrom(...'abcdé{}[]":, x1+()\\'), minLength: 1, maxLength: 5 }).map((text) => encoder.encode(text)), fc.uint8Array({ minLength: 1, maxLength: 3 })), { minLength: 1, maxLength: 40 })
  .map((tokens) => createVocabulary([...Array.from({ length: 256 }, (_, byte) => Uint8Array.of(byte)), null, ...tokens]));

describe("a mask", () => {
  test.each(specs)("allows a token if and only if the grammar goes on after its bytes: %j", (spec) => {
    const grammar = compiled(spec);
    fc.assert(
      fc.property(vocabularies, fc.integer(), (vocabulary, seed) => {
        const masks = new TokenMasks(grammar, vocabulary);
        const chance = random("walk", seed);
        for (let at: Situation | null = masks.machine.start, step = 0; at !== null && step < 12; step++) {
          const mask = masks.mask(at);
          for (const [id, bytes] of vocabulary.tokens.entries()) {
            let to: Situation | null = bytes === null ? null : at;
            for (const byte of bytes ?? []) to = to && masks.machine.step(to, byte);
            if (bit(mask, id) !== (to !== null)) expect([bytes, bit(mask, id)]).toEqual([bytes, to !== null]);
          }
          const allowed: number[] = [...vocabulary.tokens.keys()].filter((id) => bit(mask, id));
          if (allowed.length === 0) {
            expect(at.mayEnd).toBe(true);
            break;
          }
          at = masks.step(at, chance.pick(allowed));
        }
      }),
      { numRuns: 40 },
    );
  });

  test("is never empty, whatever bytes the vocabulary lacks: what cannot be finished is never begun", () => {
    const grammar = compiled({ type: "grammar", grammar: 'root ::= "(" root ")" | "[" root "]" | "x" | "y" tail\ntail ::= "z" | "é" tail' });
    fc.assert(
      fc.property(fc.subarray([..."()[]xyz"], { minLength: 1 }), fc.integer(), (bytes, seed) => {
        const vocabulary = createVocabulary(bytes.map((char) => encoder.encode(char)));
        const finishable = bytes.includes("x") || (bytes.includes("y") && bytes.includes("z"));
        if (!finishable) return void expect(() => new TokenMasks(grammar, vocabulary)).toThrow(expect.objectContaining({ code: "bad_argument" }));
        const masks = new TokenMasks(grammar, vocabulary);
        const chance = random("lacking", seed);
        for (let at = masks.machine.start, step = 0; step < 8 && !at.mayEnd; step++) {
          const allowed = bytes.flatMap((_, id) => (bit(masks.mask(at), id) ? [id] : []));
          expect(allowed).not.toEqual([]);
          at = masks.step(at, chance.pick(allowed)) as Situation;
        }
      }),
    );
  });

  test("of one sequence does not depend on what others have asked", () => {
    const shared = masksOf({ type: "json_object" });
    for (let seed = 0; seed < 20; seed++) expect(walk(shared, random("one", seed))).toBe(walk(masksOf({ type: "json_object" }), random("one", seed)));
  });

  test("does not depend on what has been forgotten, however deep the nesting", () => {
    const masks = masksOf({ type: "json_object" });
    const [before, open] = [masks.mask(masks.machine.start).slice(), encoder.encode('{"a":[')];
    let at: Situation | null = masks.machine.start;
    for (let depth = 0; depth < 12_000; depth++) for (const byte of open) at = at && masks.machine.step(at, depth === 0 || byte !== 123 ? byte : 91);
    expect(masks.mask(masks.machine.start)).toEqual(before);
  });
});

describe("the end", () => {
  test("is allowed exactly where the text may end, and nothing follows it", () => {
    const constraint = grammarConstraint(masksOf({ type: "choice", choice: ["a", "ab"] }), [300, 301]);
    const mask = new Uint32Array(10);
    const allowed = (): number[] => {
      constraint.mask(mask);
      return Array.from({ length: 320 }, (_, id) => id).filter((id) => bit(mask, id));
    };
    expect(allowed()).toEqual([97]);
    expect(() => constraint.accept(300)).toThrow(expect.objectContaining({ code: "bad_argument" }));
    constraint.accept(97);
    expect(allowed()).toEqual([98, 300, 301]);
    expect(() => constraint.accept(97)).toThrow(expect.objectContaining({ code: "bad_argument" }));
    constraint.accept(98);
    expect(allowed()).toEqual([300, 301]);
    constraint.accept(301);
    expect(allowed()).toEqual([300, 301]);
  });
});

describe("a grammar that would take for ever", () => {
  test("is refused at the token where it does", () => {
    const rules = Array.from({ length: 40 }, (_, i) => `r${i} ::= "x" r${(i * 7 + 1) % 40} "${i % 10}"? | "x" r${(i * 3 + 2) % 40} | "x"`);
    const { machine } = masksOf({ type: "grammar", grammar: `root ::= ${rules.map((_, i) => `r${i}`).join(" | ")}\n${rules.join("\n")}` });
    const run = (): void => {
      for (let i = 0, at: Situation | null = machine.start; i < 100_000 && at !== null; i++) at = machine.step(at, 120);
    };
    expect(run).toThrow(expect.objectContaining({ code: "bad_argument" }));
  });
});

describe("a grammar that can be read in more ways with every token", () => {
  const rules = 'root ::= q\nq ::= q2 q2 | "a" | "zz"\nq2 ::= "a" q | "a" q2 q | "a" "a"';
  const a = 97;

  test("is refused after bounded work, before a token takes long", () => {
    const masks = masksOf({ type: "grammar", grammar: rules });
    let at = masks.machine.start;
    let [tokens, most] = [0, 0];
    const run = (): void => {
      for (; tokens < 240; tokens++) {
        masks.mask(at);
        most = Math.max(most, masks.machine.work);
        at = masks.step(at, a) as Situation;
        most = Math.max(most, masks.machine.work);
      }
    };
    expect(run).toThrow(expect.objectContaining({ code: "bad_argument" }));
    expect(tokens).toBeGreaterThan(20);
    expect(most).toBeLessThanOrEqual(100_000);
  });

  test("ends the sequence that has used up its own share, and no other", () => {
    const masks = masksOf({ type: "grammar", grammar: rules });
    const mask = new Uint32Array(10);
    const run = (tokens: number): void => {
      const constraint = grammarConstraint(masks, [300]);
      for (let i = 0; i < tokens; i++) {
        constraint.mask(mask);
        constraint.accept(a);
      }
    };
    expect(() => run(240)).toThrow(expect.objectContaining({ code: "bad_argument" }));
    run(20);
  });

  test("is refused before a walk over the vocabulary takes long", () => {
    const grammar = "root ::= t u t u t u\nt ::= [^x]*\nu ::= [^y]*";
    const vocabulary = createVocabulary([...Array.from({ length: 256 }, (_, byte) => Uint8Array.of(byte)), encoder.encode("a".repeat(6_000))]);
    const masks = new TokenMasks(compiled({ type: "grammar", grammar }), vocabulary);
    const inside = masks.step(masks.machine.start, a) as Situation;
    expect(() => masks.mask(inside)).toThrow(expect.objectContaining({ code: "bad_argument" }));
  });
});

describe("usual constraints", () => {
  const optional = Object.fromEntries(Array.from({ length: 60 }, (_, i) => [`field_${i}`, { type: "string" }]));
  const tree = { type: "object", properties: { v: { type: "string" }, l: { anyOf: [{ $ref: "#" }, { type: "null" }] }, r: { type: "array", items: { $ref: "#" } } } };
  test.each<ConstraintSpec>([{ type: "json_object" }, { type: "json_schema", schema: { type: "object", properties: optional } }, { type: "json_schema", schema: tree }])("need a small part of the work that is allowed (%#)", (spec) => {
    const masks = masksOf(spec);
    const chance = random("work", 1);
    for (let at = masks.machine.start, step = 0; step < 100; step++) {
      const mask = masks.mask(at);
      expect(masks.machine.work).toBeLessThan(20_000);
      const allowed = [...masks.vocabulary.tokens.keys()].filter((id) => bit(mask, id));
      if (allowed.length === 0) break;
      at = masks.step(at, chance.pick(allowed)) as Situation;
    }
  });
});

test("a sequence that is long, of texts that are bounded, has work for all of it", () => {
  const [names, most] = [["a", "b", "c"], 3000];
  const properties = Object.fromEntries(names.map((name) => [name, { type: "string", maxLength: most }]));
  const masks = masksOf({ type: "json_schema", schema: { type: "object", properties, required: names } });
  const constraint = grammarConstraint(masks, [300]);
  const mask = new Uint32Array(10);
  for (const byte of encoder.encode(JSON.stringify(Object.fromEntries(names.map((name) => [name, "x".repeat(most)]))))) {
    constraint.mask(mask);
    constraint.accept(byte);
  }
  constraint.mask(mask);
  expect(bit(mask, 300)).toBe(true);
});

describe("a grammar that is read in many ways", () => {
  test.each(["root ::= a | b\na ::= [x] root? | \"xx\" a\nb ::= [x] root \"y\" | \"x\"", 'root ::= s\ns ::= "x" s "y"? | "x" t?\nt ::= s s? | "z"'])("stays small: %s", (grammar) => {
    const { machine } = masksOf({ type: "grammar", grammar });
    let at: Situation | null = machine.start;
    for (let i = 0; i < 100; i++) {
      machine.begin();
      at = at && machine.step(at, 120);
    }
    expect(at?.mayEnd).toBe(true);
  });
});
