import fc from "fast-check";
import { describe, expect, it, test } from "vitest";
import { TranscriptSplitter, type TranscriptDelta } from "./splitter.ts";
import { parseTranscript, renderTranscript, tags } from "./transcript.ts";

/** Text made of tags, halves of tags and anything else. */
const tagged = fc
  .array(fc.oneof(fc.constantFrom(...Object.values(tags), "<", "<thi", "</", "/answer>", " ", "\n"), fc.string()))
  .map((parts) => parts.join(""));
const untagged = fc.string().filter((text) => !Object.values(tags).some((tag) => text.includes(tag)));

describe("parseTranscript", () => {
  it("reads back what renderTranscript writes", () => {
    fc.assert(
      fc.property(untagged, untagged, (thinking, answer) => {
        expect(parseTranscript(renderTranscript(thinking, answer))).toEqual({ thinking, answer, wellFormed: true });
      }),
    );
  });

  it("accepts white space around the blocks and nothing else", () => {
    fc.assert(
      fc.property(untagged, fc.nat(2), (noise, place) => {
        const pieces = ["", "<think>t</think>", "<answer>a</answer>"];
        pieces[place] += noise;
        const { answer, wellFormed } = parseTranscript(pieces.join(""));
        expect(answer).toBe("a");
        expect(wellFormed).toBe(noise.trim() === "");
      }),
    );
  });

  it("has a reading for every string, and well formed ones have both parts", () => {
    fc.assert(
      fc.property(tagged, (text) => {
        const { thinking, answer, wellFormed } = parseTranscript(text);
        if (wellFormed) expect(renderTranscript(thinking ?? "", answer ?? "")).toBe(text.replace(/^\s+|\s+$/g, "").replace(/<\/think>\s*<answer>/, "</think><answer>"));
      }),
    );
  });

  test.each([
    ["<think>t</think><answer>1</answer><answer>2</answer>", "two answers"],
    ["<think><answer>1</answer></think>", "an answer inside the thoughts"],
    ["<think>t</think><answer><answer>1</answer></answer>", "a nested answer"],
    ["<answer>1</answer><think>t</think>", "thoughts after the answer"],
    ["<think>t<answer>1</answer>", "thoughts that never end"],
    ["</answer>1<answer>", "reversed tags"],
    ["<THINK>t</THINK><ANSWER>1</ANSWER>", "other tags"],
    ["<think>t</think>1", "no tags around the answer"],
  ])("finds no answer in %s: %s", (text) => {
    expect(parseTranscript(text).answer).toBeNull();
    expect(parseTranscript(text).wellFormed).toBe(false);
  });
});

describe("TranscriptSplitter", () => {
  it("gives the same text of each type however the stream is cut", () => {
    fc.assert(
      fc.property(tagged, fc.array(fc.nat(12)), fc.boolean(), (text, cuts, thinking) => {
        const chunks: string[] = [];
        let at = 0;
        for (const size of cuts) chunks.push(text.slice(at, (at += size)));
        chunks.push(text.slice(at));
        expect(joined(chunks, thinking)).toEqual(joined([text], thinking));
        expect(joined([...text], thinking)).toEqual(joined([text], thinking));
      }),
    );
  });

  it("shows the parts of a well-formed transcript, without tags", () => {
    fc.assert(
      fc.property(untagged, untagged, fc.constantFrom("", "\n", "\n\n"), (thinking, answer, gap) => {
        const text = renderTranscript(thinking, answer).replace("</think><answer>", () => `</think>${gap}<answer>`);
        const deltas = joined([text + gap]);
        expect(deltas).toEqual(
          [
            { type: "reasoning", delta: thinking },
            { type: "text", delta: answer },
          ].filter(({ delta }) => delta !== ""),
        );
      }),
    );
  });

  it("passes a stream without tags through, and takes thoughts that the prompt has opened", () => {
    expect(joined(["1 < ", "2"])).toEqual([{ type: "text", delta: "1 < 2" }]);
    expect(joined(["hm</th", "ink>\n\n4", "2"], true)).toEqual([
      { type: "reasoning", delta: "hm" },
      { type: "text", delta: "42" },
    ]);
  });

  it("shows a delta as soon as it cannot be part of a tag", () => {
    const splitter = new TranscriptSplitter();
    expect(splitter.push("<think>a<")).toEqual([{ type: "reasoning", delta: "a" }]);
    expect(splitter.push("b")).toEqual([{ type: "reasoning", delta: "<b" }]);
    expect(splitter.push("</thin")).toEqual([]);
    expect(splitter.end()).toEqual([{ type: "reasoning", delta: "</thin" }]);
  });
});

/** All deltas of a stream, neighbours of one type joined. */
function joined(chunks: readonly string[], thinking = false): TranscriptDelta[] {
  const splitter = new TranscriptSplitter({ thinking });
  const deltas = [...chunks.flatMap((chunk) => splitter.push(chunk)), ...splitter.end()];
  const out: TranscriptDelta[] = [];
  for (const { type, delta } of deltas) {
    const last = out.at(-1);
    if (last?.type === type) out[out.length - 1] = { type, delta: last.delta + delta };
    else out.push({ type, delta });
  }
  return out;
}
