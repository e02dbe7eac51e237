import type { TraceWriter } from "./entry.ts";

const sides = ["top", "right", "front", "left", "back", "bottom"] as const;
type Side = (typeof sides)[number];

/** Which side's colour each side takes, in the order of `sides`, when a side is turned to the top. */
const turned: Readonly<Record<string, readonly Side[]>> = {
  right: ["right", "bottom", "front", "top", "back", "left"],
  front: ["front", "right", "bottom", "left", "top", "back"],
  left: ["left", "top", "front", "bottom", "back", "right"],
  back: ["back", "right", "top", "left", "bottom", "front"],
  bottom: ["bottom", "right", "back", "left", "front", "top"],
};

/** All six colours after every turn. */
export const colorCube: TraceWriter = ({ metadata, answer }) => {
  const { initial_state, rotations, target_side } = metadata as { initial_state: Record<Side, string>; rotations: readonly string[]; target_side: Side };
  if (!initial_state || answer === null) return null;
  let state = sides.map((side) => initial_state[side]);
  const shown = (): string => state.map((c) => ` ${c}`).join("");
  let thinking = shown();
  for (const side of rotations) {
    state = turned[side]!.map((from) => state[sides.indexOf(from)]!);
    thinking += ` ${side}${shown()}`;
  }
  return { thinking: `${thinking} ${target_side}`, answer: state[sides.indexOf(target_side)]! };
};

/** Each row's letter with the column of its queen, x where there is none yet; then a whole solution that agrees, in the same way. */
export const queens: TraceWriter = ({ question, answer }) => {
  const columns = (text: string): string =>
    text.split("\n").filter((line) => /^[_Q](?: [_Q])+$/.test(line)).map((line, row) => {
      const at = line.split(" ").indexOf("Q");
      return `${String.fromCharCode(97 + row)}${at < 0 ? "x" : at}`;
    }).join("");
  return answer === null ? null : { thinking: `${columns(question)}\n${columns(answer)}`, answer };
};

/** Nothing is worked out: the pattern is read off the grid, and the answer is the grid again. */
export const direct: TraceWriter = ({ answer }) => (answer === null ? null : { thinking: "", answer });

/** Nobody lives long on boards as thinly settled as these: the empty board of the same size. */
export const emptyBoard: TraceWriter = ({ question }) => {
  const rows = question.split("\n").filter((line) => /^\s*\[.*\d.*\d\]/.test(line)).map((line) => line.match(/\d/g)!.length);
  if (rows.length < 4) return null;
  const empty = rows.map((length) => `[${new Array<number>(length).fill(0).join(",")}]`);
  return { thinking: "", answer: `[${empty.join(",\n ")}]` };
};
