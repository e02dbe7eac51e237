import type { Accuracy, RunLog } from "./run-log.ts";

const percent = (value: number): string => `${(value * 100).toFixed(1)}%`;

/** Held-out accuracy of each evaluation, one below the other: before and after. */
export function Evaluations({ log: { evaluations, preflight } }: { readonly log: RunLog }) {
  if (evaluations.length === 0 && preflight === null) return null;
  const ks = [...new Set(evaluations.flatMap(({ passAt }) => Object.keys(passAt)))].map(Number).filter((k) => k > 1).toSorted((a, b) => a - b);
  const widest = ks.at(-1);
  return (
    <section class="card" aria-label="Held-out problems">
      <h2>Held-out problems</h2>
      {preflight !== null && <p class="muted">{preflight.verdict && `${preflight.verdict}. `}One try is right in {percent(preflight.values.pass_at_1 ?? 0)}, one of a group in {percent(preflight.values.pass_at_group ?? 0)}.</p>}
      {evaluations.length > 0 && (
        <div class="scroll">
          <table class="figures">
            <thead><tr><th>Stage</th><th>Sampled</th><th>Greedy</th>{widest && <th>pass@{widest}</th>}<th>Mean length</th></tr></thead>
            <tbody>
              {evaluations.map(({ stage, sampled, greedy, passAt, meanLength }) => (
                <tr key={stage}>
                  <th scope="row">{stage}</th>
                  <td><Share of={sampled} /></td>
                  <td><Share of={greedy} /></td>
                  {widest && <td>{passAt[widest] === undefined ? "–" : percent(passAt[widest])}</td>}
                  <td>{meanLength === null ? "–" : `${meanLength.toFixed(1)} tokens`}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
    </section>
  );
}

function Share({ of }: { readonly of: Accuracy | null }) {
  if (of === null) return <>–</>;
  return <><b>{percent(of.accuracy)}</b>{of.interval && <span class="muted interval"> {percent(of.interval[0])} to {percent(of.interval[1])}</span>}</>;
}
