import { describe, expect, test } from "vitest";
import type { TokenConstraint } from "../engine/types.ts";
import { random } from "../random/index.ts";
import { deepseekV31, hermes, llama3, renderToolCall, type ToolSyntax } from "../text/tool-syntax.ts";
import { ToolCallParser } from "../text/tool-calls.ts";
import { createConstrainer, type ConstraintRequest } from "./constrainer.ts";
import type { ConstraintSpec } from "./spec.ts";

const encoder = new TextEncoder();
const marks = ["<think>", "</think>", "<answer>", "</answer>"];
const end = 256 + marks.length;

/** Bytes, the tags as tokens of their own, and an end. */
const tokenizer = {
  tokenBytes: [...Array.from({ length: 256 }, (_, byte) => Uint8Array.of(byte)), ...marks.map(() => null), null],
  idOf: (token: string) => (marks.includes(token) ? 256 + marks.indexOf(token) : null),
  encode: (text: string) => (marks.includes(text) ? [256 + marks.indexOf(text)] : [...encoder.encode(text)]),
};
const withoutTags = { ...tokenizer, idOf: () => null, encode: (text: string) => [...encoder.encode(text)] };

const open = async (request: ConstraintRequest, over = tokenizer): Promise<TokenConstraint> => {
  const make = await createConstrainer(over, [end]).constraintFor(request);
  if (make === undefined) throw new Error("no constraint");
  return make();
};

function allowed(constraint: TokenConstraint): number[] {
  const mask = new Uint32Array(Math.ceil((end + 1) / 32));
  constraint.mask(mask);
  return Array.from({ length: end + 1 }, (_, id) => id).filter((id) => (((mask[id >> 5] as number) >>> (id & 31)) & 1) === 1);
}

function say(constraint: TokenConstraint, text: string): void {
  for (const byte of encoder.encode(text)) {
    expect(allowed(constraint)).toContain(byte);
    constraint.accept(byte);
  }
}

const yes: ConstraintSpec = { type: "choice", choice: ["yes"] };
const y = 121;

describe("an answer with a format", () => {
  test("begins at once where there is no thinking", async () => expect(allowed(await open({ spec: yes, thinking: "none" }))).toEqual([60, y, 258]));

  test("begins behind the thinking, which is free and does not end the turn", async () => {
    const constraint = await open({ spec: yes, thinking: "inside" });
    say(constraint, "No! </thin");
    expect(allowed(constraint)).not.toContain(end);
    constraint.accept(257);
    say(constraint, "\n");
    expect(allowed(constraint)).toEqual([10, 60, y, 258]);
    say(constraint, "yes");
    expect(allowed(constraint)).toEqual([end]);
  });

  test("may be preceded by thinking that the model opens itself, and stand in the tags that it knows", async () => {
    const constraint = await open({ spec: yes, thinking: "before" });
    expect(allowed(constraint)).toEqual([60, y, 256, 258]);
    constraint.accept(256);
    say(constraint, "hm");
    constraint.accept(257);
    constraint.accept(258);
    say(constraint, "yes");
    expect(allowed(constraint)).toEqual([60, 259]);
  });

  test("goes on from what the prompt has of it", async () => {
    const constraint = await open({ spec: yes, thinking: "none", begun: "ye" });
    expect(allowed(constraint)).toEqual([115]);
    await expect(open({ spec: yes, thinking: "none", begun: "no" })).rejects.toThrow(expect.objectContaining({ code: "bad_argument" }));
  });

  test("is compiled once for equal requests, and again when that has failed", async () => {
    let compiled = 0;
    const failing = createConstrainer(tokenizer, [end], () => Promise.reject(new Error(String(++compiled))));
    for (let i = 1; i <= 2; i++) await expect(failing.constraintFor({ spec: yes, thinking: "none" })).rejects.toThrow(String(i));
  });
});

describe("a budget for thinking", () => {
  test.each([["with the tag as a token", tokenizer, [257]], ["with the tag in pieces", withoutTags, [...encoder.encode("</think>")]]] as const)("ends it %s", async (_, over, tag) => {
    for (const budget of [0, 3]) {
      const constraint = await open({ thinking: "inside", thinking_budget: budget }, over as typeof tokenizer);
      for (let i = 0; i < budget; i++) {
        expect(allowed(constraint)).toHaveLength(end + 1);
        constraint.accept(97);
      }
      for (const id of tag) {
        expect(allowed(constraint)).toEqual([id]);
        constraint.accept(id);
      }
      expect(allowed(constraint)).toHaveLength(end + 1);
    }
  });

  test("leaves thinking that ends by itself alone", async () => {
    const constraint = await open({ thinking: "inside", thinking_budget: 12 });
    say(constraint, "a</think>");
    for (let i = 0; i < 20; i++) say(constraint, "b");
    expect(allowed(constraint)).toHaveLength(end + 1);
  });

  test("counts from where the model begins to think", async () => {
    const constraint = await open({ thinking: "before", thinking_budget: 2 });
    say(constraint, "free <think>ab");
    expect(allowed(constraint)).toEqual([257]);
  });

  test("waits for the end of a character, and the format comes after it", async () => {
    const constraint = await open({ spec: yes, thinking: "inside", thinking_budget: 2 });
    for (const byte of encoder.encode("aé")) {
      expect(allowed(constraint)).toContain(byte);
      constraint.accept(byte);
    }
    expect(allowed(constraint)).toEqual([257]);
    constraint.accept(257);
    expect(allowed(constraint)).toEqual([10, 60, y, 258]);
  });

  test("asks for nothing where nothing is thought", async () => {
    expect(await createConstrainer(tokenizer, [end]).constraintFor({ thinking: "none", thinking_budget: 3 })).toBeUndefined();
    expect(await createConstrainer(tokenizer, [end]).constraintFor({ thinking: "inside" })).toBeUndefined();
  });
});

describe.each([["Hermes", hermes], ["DeepSeek", deepseekV31], ["Llama 3", llama3]] as const)("calls in the syntax of %s", (_, syntax: ToolSyntax) => {
  const tools = [
    { name: "weather", parameters: { type: "object", properties: { city: { type: "string", maxLength: 5 }, days: { type: "integer", minimum: 1, maximum: 9 } }, required: ["city", "days"], additionalProperties: false }, strict: true },
    { name: "stop", parameters: { type: "object", properties: {} }, strict: true },
  ];

  /** By chance, and in the end what closes soonest. */
  function written(constraint: TokenConstraint, seed: number): string {
    const chance = random("calls", seed);
    const bytes: number[] = [];
    for (let step = 0; step < 2000; step++) {
      const ids = allowed(constraint);
      const id = step > 60 && ids.includes(end) ? end : step > 60 && ids.includes(34) ? 34 : chance.pick(ids);
      constraint.accept(id);
      if (id === end) return new TextDecoder().decode(Uint8Array.from(bytes));
      bytes.push(...(id < 256 ? [id] : encoder.encode(marks[id - 256])));
    }
    throw new Error("the turn does not end");
  }

  test("are read back: nothing but calls where they are required, with arguments by their schemas", async () => {
    const make = await createConstrainer(withoutTags, [end]).constraintFor({ spec: { type: "tool_calls", syntax, tools, required: true, parallel: false }, thinking: "none" });
    for (let seed = 0; seed < 40; seed++) {
      const text = written((make as () => TokenConstraint)(), seed);
      const parser = new ToolCallParser(syntax);
      const parts = [...parser.push(text), ...parser.end()];
      const calls = parts.filter((part) => part.type === "call");
      const args = parts.flatMap((part) => (part.type === "arguments" ? [part.delta] : [])).join("");
      expect([text, parts.filter((part) => part.type === "text"), calls.length]).toEqual([text, [], 1]);
      const value = JSON.parse(args) as Record<string, unknown>;
      if (calls[0]?.name === "weather") expect([Object.keys(value), typeof value["city"], Number.isInteger(value["days"])]).toEqual([["city", "days"], "string", true]);
      else expect([calls[0]?.name, value]).toEqual(["stop", {}]);
    }
  });

  test.each([{}, { description: "anything" }, { anyOf: [{ required: ["a"] }, { type: "null" }] }, { type: ["null", "object"], nullable: true }])("are given an object where the schema leaves the type open: %j", async (parameters) => {
    const spec = { type: "tool_calls", syntax, tools: [{ name: "f", parameters, strict: true }], required: true, parallel: false } as const;
    const constraint = ((await createConstrainer(withoutTags, [end]).constraintFor({ spec, thinking: "none" })) as () => TokenConstraint)();
    say(constraint, renderToolCall(syntax, "f", "").slice(0, -syntax.after.length));
    expect(allowed(constraint)).toEqual(["{".charCodeAt(0)]);
  });

  test("are refused where their arguments may be no object", async () => {
    const spec = { type: "tool_calls", syntax, tools: [{ name: "f", parameters: { type: ["array", "string"] }, strict: true }], required: true, parallel: false } as const;
    await expect(createConstrainer(withoutTags, [end]).constraintFor({ spec, thinking: "none" })).rejects.toMatchObject({ code: "bad_argument", facts: { where: "tools.0.function.parameters.type" } });
  });

  test("stand behind any text where they are not required", async () => {
    const make = await createConstrainer(withoutTags, [end]).constraintFor({ spec: { type: "tool_calls", syntax, tools, required: false, parallel: true }, thinking: "none" });
    const constraint = (make as () => TokenConstraint)();
    say(constraint, "It is <b>so</b>, ");
    expect(allowed(constraint)).toContain(end);
    if (syntax.first) return;
    say(constraint, syntax.open);
    expect(allowed(constraint).length).toBeLessThan(4);
    expect(allowed(constraint)).not.toContain(end);
  });
});
