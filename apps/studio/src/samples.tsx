import { useState } from "preact/hooks";
import type { Sample, SampleSet } from "./run-log.ts";

/** What the model wrote at a step and what it got for it; the newest step unless another is picked. */
export function Samples({ sets }: { readonly sets: readonly SampleSet[] }) {
  const [picked, setPicked] = useState<number | null>(null);
  const at = picked ?? sets.length - 1;
  const set = sets[at];
  if (set === undefined) return null;
  const parts = [...new Set(set.samples.flatMap(({ rewards }) => Object.keys(rewards)))];
  return (
    <section class="card samples" aria-label="Completions">
      <div class="samples-head">
        <h2>Completions</h2>
        <span class="muted">{set.stage} · step {set.step}</span>
        <span class="spring" />
        {sets.length > 1 && (
          <input type="range" aria-label="Step of the completions" min="0" max={sets.length - 1} value={at} onInput={(event) => {
            const value = event.currentTarget.valueAsNumber;
            setPicked(value === sets.length - 1 ? null : value);
          }} />
        )}
      </div>
      <table>
        <thead><tr><th>Problem</th><th>Completion</th><th class="number">Reward</th>{parts.map((part) => <th key={part} class="number">{part}</th>)}<th class="number">Advantage</th></tr></thead>
        <tbody>
          {set.samples.map((sample, row) => (
            <tr key={row} class={(sample.reward ?? 0) > 0.5 ? "good" : ""}>
              <td data-label="Problem">{sample.prompt}</td>
              <td data-label="Completion"><Completion text={sample.completion} /></td>
              <td data-label="Reward" class="number"><b>{figure(sample.reward)}</b></td>
              {parts.map((part) => <td key={part} data-label={part} class="number">{figure(sample.rewards[part] ?? null)}</td>)}
              <td data-label="Advantage" class="number">{signed(sample)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </section>
  );
}

/** Thinking folded, answer in view; what is in no tag stands as it is. */
function Completion({ text }: { readonly text: string }) {
  const [, thinking, rest] = /^\s*<think>(.*?)(?:<\/think>(.*))?$/s.exec(text) ?? [null, null, text];
  const answer = /<answer>(.*?)<\/answer>/s.exec(rest ?? "")?.[1] ?? rest ?? "";
  return (
    <>
      {thinking && <details class="thinking"><summary>{rest === undefined ? "Thinking, cut off" : "Thinking"}</summary><p>{thinking.trim()}</p></details>}
      <span class="sample-answer">{answer.trim() || (thinking ? "" : "nothing")}</span>
    </>
  );
}

const figure = (value: number | null): string => (value === null ? "–" : Number(value.toFixed(2)).toString());

function signed({ advantage }: Sample): string {
  return advantage === null ? "–" : `${advantage > 0 ? "+" : ""}${advantage.toFixed(2)}`;
}
