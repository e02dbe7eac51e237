import { LongjingError } from "../../errors/index.ts";
import { pickWeighted, random } from "../../random/index.ts";
import { renderTranscript } from "../../text/transcript.ts";
import { answerOnly, scoreTranscript, type Task } from "../task.ts";
import type { Entry, Trace } from "./entry.ts";
import { concludes } from "./logic.ts";
import { traceWriters } from "./traces.ts";

/** Where several answers are right, whether one is. Elsewhere it is the generator's own, or the trace's where there is none. */
const judges: Readonly<Record<string, (answer: string, entry: Entry) => boolean>> = {
  n_queens: (answer, { metadata }) => Array.isArray(metadata["valid_answers"]) && metadata["valid_answers"].includes(answer),
  palindrome_generation: (answer, entry) => [...answer].reverse().join("") === answer && sorted(answer) === sorted(traceOf(entry)?.answer ?? ""),
  propositional_logic: (answer, { question }) => concludes(answer, question),
  decimal_chain_sum: (answer, entry) => /^-?\d+(?:\.\d+)?$/.test(answer) && Number(answer) === Number(entry.answer),
};

/**
 * Imported problems as a task that sees nothing but this process: for RL and held-out accuracy while a model trains. What is
 * reported as a score of reasoning-gym comes from its own verifier.
 * @param weights how often each task is drawn, by its name; tasks without one are not
 */
export function gymTask(entries: readonly Entry[], weights: Readonly<Record<string, number>>, name = "reasoning-gym"): Task<Entry> {
  const byTask = new Map<string, Entry[]>();
  for (const entry of entries) {
    if (!((weights[entry.task] ?? 0) > 0) || traceOf(entry) === null) continue;
    const listed = byTask.get(entry.task);
    if (listed) listed.push(entry);
    else byTask.set(entry.task, [entry]);
  }
  const names = [...byTask.keys()];
  if (names.length === 0) throw new LongjingError("bad_argument", "There are no problems", { expected: Object.keys(weights), hint: "longjing tasks import writes them" });
  // The last of each task are held out, as many as one in ten.
  const share = (task: readonly Entry[], split: "train" | "test"): readonly Entry[] => (split === "test" ? task.slice(-Math.ceil(task.length / 10)) : task.slice(0, -Math.ceil(task.length / 10)));
  const render = (trace: Trace | null, entry: Entry): string => {
    if (trace) return renderTranscript(trace.thinking, trace.answer);
    throw new LongjingError("unsupported", "The problem cannot be worked through", { where: entry.task });
  };
  return {
    name,
    levels: 1,
    defaultLevel: 1,
    problem({ split, seed, index, language = "en" }) {
      const stream = random(name, split, seed, index);
      const task = pickWeighted(stream, names, (t) => weights[t]!);
      const gold = stream.pick(share(byTask.get(task)!, split));
      return { prompt: gold.question, language, level: 1, gold };
    },
    solution: ({ gold }) => render(traceOf(gold), gold),
    demonstration: ({ gold }, _random, kind) => (kind === "long" ? render(traceOf(gold), gold) : answerOnly(traceOf(gold)?.answer ?? "")),
    score: ({ gold }, completion) =>
      scoreTranscript(completion, (answer) => {
        const right = gold.answer ?? traceOf(gold)?.answer;
        return { legal: answer !== "", correct: judges[gold.task]?.(answer, gold) ?? answer === right };
      }),
  };
}

const traceOf = (entry: Entry): Trace | null => traceWriters[entry.task]?.(entry) ?? null;
const sorted = (text: string): string => [...text].sort().join("");
