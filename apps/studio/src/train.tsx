import { useEffect, useState } from "preact/hooks";
import { get, post, type ListedRun, type Run } from "./api.ts";
import { PlayIcon } from "./icons.tsx";
import { RunView } from "./run-view.tsx";

const everyMs = 4000;

export function Train({ visible }: { readonly visible: boolean }) {
  const [recipes, setRecipes] = useState<readonly string[]>([]);
  const [runs, setRuns] = useState<readonly ListedRun[]>([]);
  const [chosen, setChosen] = useState<string | null>(null);
  const [error, setError] = useState<string | null>(null);

  const attempt = async (action: () => Promise<void>) => {
    try {
      await action();
      setError(null);
    } catch (failure) {
      setError(failure instanceof Error ? failure.message : String(failure));
    }
  };
  const refresh = () => attempt(async () => setRuns(await get("/api/runs")));
  useEffect(() => {
    if (!visible) return undefined;
    void attempt(async () => setRecipes(await get("/api/recipes")));
    void refresh();
    const timer = setInterval(() => void refresh(), everyMs);
    return () => clearInterval(timer);
  }, [visible]);

  const busy = runs.find(({ state }) => state === "running" || state === "stopping");
  const shown = runs.find(({ id }) => id === chosen) ?? runs[0];
  const act = (path: string, body: object = {}) =>
    attempt(async () => {
      const run = await post<Run>(path, body);
      setChosen(run.id);
      setRuns(await get("/api/runs"));
    });

  return (
    <div class="train">
      <aside>
        <StartForm recipes={recipes} busy={busy !== undefined} onStart={(options) => void act("/api/runs", options)} />
        <section aria-label="Runs">
          <h2>Runs</h2>
          {runs.length === 0 && <p class="muted">None yet.</p>}
          <ul class="runs">
            {runs.map((run) => (
              <li key={run.id}>
                <button aria-current={run.id === shown?.id ? "true" : undefined} onClick={() => setChosen(run.id)}>
                  <span class={`dot ${run.state}`} /><span class="run-name">{run.recipe}</span>
                  <span class="muted">{run.state} · {ago(run.updated)}</span>
                </button>
              </li>
            ))}
          </ul>
        </section>
      </aside>
      <section class="run" aria-label="Run">
        {error !== null && <p class="notice bad" role="alert">{error}</p>}
        {shown === undefined
          ? <Introduction />
          : <RunView key={`${shown.id}`} listed={shown} canResume={busy === undefined} onStop={() => void act(`/api/runs/${shown.id}/stop`)} onResume={() => void act(`/api/runs/${shown.id}/resume`)} />}
      </section>
    </div>
  );
}

interface StartProps {
  readonly recipes: readonly string[];
  readonly busy: boolean;
  readonly onStart: (options: { recipe: string; seed?: number; max_steps?: number }) => void;
}

function StartForm({ recipes, busy, onStart }: StartProps) {
  const [picked, setPicked] = useState<string | null>(null);
  const [seed, setSeed] = useState<number | null>(null);
  const [maxSteps, setMaxSteps] = useState<number | null>(null);
  const recipe = picked ?? recipes.find((name) => name === "countdown-zero") ?? recipes[0];
  const start = (event: Event) => {
    event.preventDefault();
    if (recipe !== undefined) onStart({ recipe, ...(seed === null ? {} : { seed }), ...(maxSteps === null ? {} : { max_steps: maxSteps }) });
  };
  return (
    <form class="card start" onSubmit={start}>
      <label>Recipe
        <select value={recipe} disabled={recipes.length === 0} onChange={(event) => setPicked(event.currentTarget.value)}>
          {recipes.length === 0 && <option>none found</option>}
          {recipes.map((name) => <option key={name}>{name}</option>)}
        </select>
      </label>
      <details>
        <summary>Options</summary>
        <label>Seed<input type="number" min="0" placeholder="0" onInput={(event) => setSeed(numberIn(event.currentTarget))} /></label>
        <label>Most steps a stage<input type="number" min="1" placeholder="the recipe's" onInput={(event) => setMaxSteps(numberIn(event.currentTarget))} /></label>
      </details>
      <button class="primary" disabled={busy || recipe === undefined}><PlayIcon />{busy ? "A run is training" : "Start"}</button>
    </form>
  );
}

function numberIn(input: HTMLInputElement): number | null {
  return Number.isNaN(input.valueAsNumber) ? null : input.valueAsNumber;
}

function Introduction() {
  return (
    <div class="welcome">
      <h1>Watch a model learn to reason</h1>
      <p>A recipe starts from random weights, learns to write from generated transcripts, and then improves by trying: groups of answers to one problem, judged by a program, the better ones made more likely. It runs on this machine, and everything is drawn as it happens.</p>
    </div>
  );
}

function ago(time: number): string {
  const seconds = Math.max(0, Date.now() / 1000 - time);
  if (seconds < 60) return "now";
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)} h ago`;
  return new Date(time * 1000).toLocaleDateString();
}
