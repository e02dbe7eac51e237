import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { TranscriptSplitter } from "./splitter.ts";
import { ToolCallParser, type ToolDelta } from "./tool-calls.ts";
import { deepseekV3, deepseekV31, hermes, llama3, renderToolCall, type ToolSyntax } from "./tool-syntax.ts";

interface Read {
  text: string;
  readonly calls: { name: string; arguments: string }[];
}

function read(syntax: ToolSyntax, pieces: readonly string[]): Read {
  const parser = new ToolCallParser(syntax);
  const out: Read = { text: "", calls: [] };
  const fold = (delta: ToolDelta): void => {
    if (delta.type === "text") out.text += delta.delta;
    else if (delta.type === "call") out.calls.push({ name: delta.name, arguments: "" });
    else out.calls.at(-1)!.arguments += delta.delta;
  };
  for (const piece of pieces) parser.push(piece).forEach(fold);
  parser.end().forEach(fold);
  return out;
}

/** `text` cut at any places. */
const cut = (text: string): fc.Arbitrary<string[]> =>
  fc.uniqueArray(fc.nat(text.length), { maxLength: 12 }).map((places) => {
    const ends = [...places.toSorted((a, b) => a - b), text.length];
    return ends.map((end, at) => text.slice(at === 0 ? 0 : ends[at - 1], end));
  });

const name = fc.stringMatching(/^[A-Za-z_][\w-]{0,10}$/);
const args = fc.dictionary(fc.string(), fc.jsonValue()).map((value) => JSON.stringify(value));
const calls = fc.array(fc.record({ name, arguments: args }), { minLength: 1, maxLength: 3 });
const syntaxes = Object.entries({ hermes, deepseekV3, deepseekV31, llama3 });

describe.each(syntaxes)("%s", (_, syntax) => {
  const before = syntax.first ? fc.constant("") : fc.string({ unit: fc.constantFrom("a", " ", "\n", "<", "é"), maxLength: 8 });

  test("gives back the calls that were rendered, with the text before them, however the stream is cut", () => {
    fc.assert(
      fc.property(
        fc.tuple(before, calls).chain(([text, made]) => {
          const whole = text + made.map((call) => renderToolCall(syntax, call.name, call.arguments)).join("\n");
          return fc.tuple(fc.constant(text), fc.constant(made), cut(whole));
        }),
        ([text, made, pieces]) => {
          expect(read(syntax, pieces)).toEqual({ text: text.trimEnd(), calls: made });
        },
      ),
    );
  });

  test("reads any text the same however it is cut, and keeps it whole when it opens no call", () => {
    const parts = fc.constantFrom(syntax.open, syntax.close, ...syntax.layout, ...syntax.before.split("§"), "f", "{", "}", '"', " ", "x");
    fc.assert(
      fc.property(fc.array(parts, { maxLength: 12 }).map((all) => all.join("")).chain((whole) => fc.tuple(fc.constant(whole), cut(whole))), ([whole, pieces]) => {
        const once = read(syntax, [whole]);
        expect(read(syntax, pieces)).toEqual(once);
        if (![syntax.open, ...syntax.layout].some((mark) => whole.includes(mark))) expect(once).toEqual({ text: whole, calls: [] });
      }),
    );
  });
});

test("what begins like a call and is none is text", () => {
  for (const text of ["<tool_call> not json", '<tool_call>{"name": "f"}</tool_call>', '<tool_call>{"name": "f", "arguments": 3}</tool_call>', "<tool"]) {
    expect(read(hermes, [...text])).toEqual({ text, calls: [] });
  }
  expect(read(llama3, ['{"answer": 4}'])).toEqual({ text: '{"answer": 4}', calls: [] });
  expect(read(llama3, ['Say {"name": "f", "parameters": {}}'])).toEqual({ text: 'Say {"name": "f", "parameters": {}}', calls: [] });
});

test("a call that is cut off before its arguments leaves no markup", () => {
  const call = renderToolCall(hermes, "f", "{}");
  const head = call.slice(0, call.indexOf("{}"));
  for (let length = hermes.open.length; length <= head.length; length++) expect(read(hermes, [...`Well.\n${head.slice(0, length)}`])).toEqual({ text: "Well.", calls: [] });
});

test("a call in a thought that was never closed is a call", () => {
  const splitter = new TranscriptSplitter({ thinking: true, interrupts: [hermes.open] });
  const parts = [...`I call.\n${renderToolCall(hermes, "f", "{}")}`].flatMap((char) => splitter.push(char));
  const of = (type: string): string => [...parts, ...splitter.end()].filter((part) => part.type === type).map(({ delta }) => delta).join("");
  expect(of("reasoning")).toBe("I call.\n");
  expect(read(hermes, [of("text")]).calls).toEqual([{ name: "f", arguments: "{}" }]);
});
