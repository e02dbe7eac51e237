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

/** The column of each row's queen where there is one, then a whole solution that agrees. */
export const queens: TraceWriter = ({ question, answer }) => {
  const columns = (text: string): (number | null)[] =>
    text.split("\n").filter((line) => /^[_Q](?: [_Q])+$/.test(line)).map((line) => {
      const at = line.split(" ").indexOf("Q");
      return at < 0 ? null : at;
    });
  if (answer === null) return null;
  const [given, solved] = [columns(question), columns(answer)];
  return { thinking: ` ${given.map((c) => c ?? "x").join(" ")}\n ${solved.join(" ")}`, answer };
};

/** Nothing is worked out: the pattern is read off the grid, and the answer is the grid again. */
export const direct: TraceWriter = ({ answer }) => (answer === null ? null : { thinking: "", answer });
