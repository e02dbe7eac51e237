import fc from "fast-check";
import { expect, test } from "vitest";
import { TranscriptSplitter, type SplitterOptions } from "./splitter.ts";
import { tags } from "./transcript.ts";

const text = fc.array(fc.constantFrom(...Object.values(tags), "a", " ", "\n", "<"), { maxLength: 10 }).map((parts) => parts.join(""));

function read(said: string, options: SplitterOptions = {}): Record<"reasoning" | "text", string> {
  const splitter = new TranscriptSplitter(options);
  const out = { reasoning: "", text: "" };
  for (const { type, delta } of [...splitter.push(said), ...splitter.end()]) out[type] += delta;
  return out;
}

test("a stream that begins inside a block is read as one that opens it", () => {
  fc.assert(
    fc.property(text, (said) => {
      expect(read(said, { thinking: true })).toEqual(read(tags.thinkOpen + said));
      expect(read(said, { answering: true })).toEqual(read(tags.answerOpen + said));
    }),
  );
});

test("a stream that goes on with a text keeps the white space it begins with, and is otherwise the same", () => {
  fc.assert(
    fc.property(text, (said) => {
      const { text: kept } = read(said, { continues: true });
      expect(kept.trimStart()).toBe(read(said).text.trimStart());
      if (!said.includes("<")) expect(kept).toBe(said);
    }),
  );
});

test("what interrupts a thought ends it, and stays", () => {
  fc.assert(
    fc.property(text.filter((said) => !said.includes(tags.thinkClose)), text, (before, after) => {
      const whole = read(`${before}<call>${after}`, { thinking: true, interrupts: ["<call>"] });
      expect(whole.reasoning.startsWith(read(before, { thinking: true }).reasoning)).toBe(true);
      expect(whole.text.startsWith("<call>")).toBe(true);
    }),
  );
});

test("no tag is shown, wherever it stands and however the stream is cut", () => {
  fc.assert(
    fc.property(text, fc.boolean(), fc.nat(40), (said, answering, at) => {
      const splitter = new TranscriptSplitter({ answering });
      const cut = { reasoning: "", text: "" };
      for (const { type, delta } of [...splitter.push(said.slice(0, at)), ...splitter.push(said.slice(at)), ...splitter.end()]) cut[type] += delta;
      expect(cut).toEqual(read(said, { answering }));
      for (const tag of Object.values(tags)) expect(Object.values(cut).filter((part) => part.includes(tag))).toEqual([]);
    }),
  );
  expect(read("Paris</think><answer>Rain", { answering: true })).toEqual({ reasoning: "", text: "ParisRain" });
  expect(read("It is </answer> here", { strays: [] })).toEqual({ reasoning: "", text: "It is </answer> here" });
});
