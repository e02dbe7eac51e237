import { useEffect, useMemo, useState } from "preact/hooks";
import { runEvents, type ListedRun, type Run } from "./api.ts";
import { Chart, hasData } from "./chart.tsx";
import { charts } from "./charts.ts";
import { Evaluations } from "./evaluations.tsx";
import { PlayIcon, StopIcon } from "./icons.tsx";
import { addLines, emptyLog, remaining, type RunLog, type StageLog } from "./run-log.ts";
import { Samples } from "./samples.tsx";

interface RunViewProps {
  readonly listed: ListedRun;
  readonly canResume: boolean;
  readonly onStop: () => void;
  readonly onResume: () => void;
}

/** Everything about one run, as its log grows. */
export function RunView({ listed, canResume, onStop, onResume }: RunViewProps) {
  const { log, state, lost } = useRun(listed);
  const [picked, setPicked] = useState<string | null>(null);
  const drawable = log.stages.filter(({ points }) => points.length > 0);
  const stage = drawable.find(({ name }) => name === picked) ?? drawable.at(-1);
  const live = state.state === "running" || state.state === "stopping";
  return (
    <>
      <header class="run-head">
        <div>
          <h1>{listed.recipe}</h1>
          <p class="muted"><span class={`dot ${state.state}`} />{state.state} · {listed.id}</p>
        </div>
        {live && <button class="primary" onClick={onStop}><StopIcon />{state.state === "stopping" ? "Stop at once" : "Stop"}</button>}
        {(state.state === "stopped" || state.state === "failed") && <button class="primary" disabled={!canResume} onClick={onResume}><PlayIcon />Resume</button>}
      </header>
      {state.error !== null && <pre class="notice bad" role="alert">{state.error}</pre>}
      {lost !== null && <p class="notice bad" role="alert">{lost}</p>}
      {log.notices.map((notice) => <p key={notice} class="notice">{notice}</p>)}
      <Stages log={log} planned={listed.stages} live={live} shown={stage?.name} onPick={setPicked} />
      {log.stages.length === 0 && live && <p class="muted waiting-text">Getting ready: the first step comes when the graph is compiled.</p>}
      <Evaluations log={log} />
      {stage && (
        <div class="charts">
          {charts.filter((spec) => hasData(stage.points, spec)).map((spec) => <Chart key={`${stage.name} ${spec.title}`} spec={spec} points={stage.points} />)}
        </div>
      )}
      <Samples sets={log.samples} />
    </>
  );
}

/** Follows a run's events; lines that come together are taken in together, once a frame. */
function useRun(listed: ListedRun): { readonly log: RunLog; readonly state: Run; readonly lost: string | null } {
  const [log, setLog] = useState(emptyLog);
  const [state, setState] = useState<Run>(listed);
  const [lost, setLost] = useState<string | null>(null);
  useEffect(() => {
    const abort = new AbortController();
    let lines: string[] = [];
    let fresh = false;
    const flush = () => {
      if (abort.signal.aborted) return;
      const [more, from] = [lines, fresh];
      lines = [];
      fresh = false;
      setLog((before) => addLines(from ? emptyLog : before, more));
    };
    const follow = async () => {
      for await (const { event, data } of runEvents(listed.id, abort.signal)) {
        if (event === "run") setState(JSON.parse(data) as Run);
        if (event === "log" && lines.push(data) === 1) setTimeout(flush, 50);
        if (event !== "reset") continue;
        lines = [];
        fresh = true;
        setTimeout(flush, 50);
      }
    };
    follow().catch((error: unknown) => setLost(error instanceof Error ? error.message : String(error)));
    return () => abort.abort();
  }, [listed.id]);
  return { log, state, lost };
}

interface StagesProps {
  readonly log: RunLog;
  readonly planned: ListedRun["stages"];
  readonly live: boolean;
  readonly shown: string | undefined;
  readonly onPick: (stage: string) => void;
}

/** The stages in order: what is done, what is under way with its ETA, what is to come. */
function Stages({ log, planned, live, shown, onPick }: StagesProps) {
  const all = useMemo(() => {
    const begun = new Map(log.stages.map((stage) => [stage.name, stage]));
    const names = new Set([...planned.map(({ name }) => name), ...begun.keys()]);
    return [...names].map((name) => ({ name, steps: begun.get(name)?.steps ?? planned.find((stage) => stage.name === name)?.steps ?? 0, begun: begun.get(name) }));
  }, [log.stages, planned]);
  const current = log.stages.at(-1)?.name;
  return (
    <ol class="stages" aria-label="Stages">
      {all.map(({ name, steps, begun }) => (
        <li key={name} class={begun === undefined ? "" : "begun"}>
          <button disabled={!begun?.points.length} aria-pressed={name === shown} onClick={() => onPick(name)}>
            <span class="stage-name">{name}</span>
            <span class="muted">{stageText(begun, steps, live && name === current)}</span>
            <progress max={steps || 1} value={begun?.step ?? 0} aria-label={`${name}: ${begun?.step ?? 0} of ${steps} steps`} />
          </button>
        </li>
      ))}
    </ol>
  );
}

function stageText(stage: StageLog | undefined, steps: number, live: boolean): string {
  if (stage === undefined) return steps > 1 ? `${steps} steps` : "";
  if (stage.step >= steps) return steps > 1 ? `${steps} steps · done` : "done";
  const left = live ? remaining(stage) : null;
  return `${stage.step} of ${steps}${left === null ? "" : ` · ${duration(left)} left`}`;
}

function duration(seconds: number): string {
  if (seconds < 60) return `${Math.round(seconds)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${String(Math.round(seconds % 60)).padStart(2, "0")} s`;
  return `${Math.floor(seconds / 3600)} h ${String(Math.floor((seconds % 3600) / 60)).padStart(2, "0")} min`;
}
