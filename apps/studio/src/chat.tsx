import { useEffect, useRef, useState } from "preact/hooks";
import { chat, type ChatOptions, type Model } from "./api.ts";
import { localChat } from "./browser/local.ts";
import { LeafIcon, PlusIcon, SendIcon, SettingsIcon, StopIcon } from "./icons.tsx";
import { TurnView, type Turn } from "./turn.tsx";

interface Settings {
  readonly model: string | null;
  readonly temperature: number;
  /** null: as many as fit. */
  readonly max_tokens: number | null;
  /** Send the earlier turns along. */
  readonly remember: boolean;
}

export function Chat({ models }: { readonly models: readonly Model[] | null }) {
  const [turns, setTurns] = useState<readonly Turn[]>([]);
  const [draft, setDraft] = useState("");
  const [settings, setSettings] = useState<Settings>({ model: null, temperature: 0.6, max_tokens: null, remember: false });
  const abort = useRef<AbortController | null>(null);
  const box = useRef<HTMLTextAreaElement>(null);
  const model = models?.find(({ id }) => id === settings.model) ?? models?.[0];
  const busy = turns.at(-1)?.status === "streaming";
  useFollowing(turns);

  const ask = async (question: string) => {
    if (model === undefined || busy || question.trim() === "") return;
    setDraft("");
    const history = settings.remember ? turns.filter(({ status }) => status === "done") : [];
    const messages = [...history.flatMap((turn) => [{ role: "user" as const, content: turn.question }, { role: "assistant" as const, content: turn.answer }]), { role: "user" as const, content: question }];
    const options: ChatOptions = { model: model.id, messages, temperature: settings.temperature, ...(settings.max_tokens === null ? {} : { max_tokens: settings.max_tokens }) };
    abort.current = new AbortController();
    for await (const turn of answer(question, model, options, abort.current.signal)) setTurns([...turns, turn]);
    box.current?.focus();
  };

  return (
    <>
      <div class="column talk" role="log" aria-label="Conversation" aria-live="polite" aria-busy={busy}>
        {turns.length === 0 && <Welcome model={model} models={models} onPick={ask} />}
        {turns.map((turn, at) => <TurnView key={at} turn={turn} onAgain={busy ? undefined : () => void ask(turn.question)} />)}
      </div>
      <form class="composer" onSubmit={(event) => { event.preventDefault(); void ask(draft); }}>
        <textarea
          ref={box}
          rows={1}
          value={draft}
          placeholder={model === undefined ? "No model is loaded" : "Ask something to think about"}
          aria-label="Message"
          disabled={model === undefined}
          onInput={(event) => setDraft(event.currentTarget.value)}
          onKeyDown={(event) => {
            if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
            event.preventDefault();
            void ask(draft);
          }}
        />
        <div class="composer-row">
          <SettingsPanel models={models ?? []} settings={settings} model={model} onChange={setSettings} />
          {turns.length > 0 && !busy && <button type="button" class="quiet" aria-label="New chat" onClick={() => setTurns([])}><PlusIcon /><span class="wide">New chat</span></button>}
          <span class="spring" />
          {busy
            ? <button type="button" class="round" aria-label="Stop" title="Stop" onClick={() => abort.current?.abort()}><StopIcon /></button>
            : <button class="round" aria-label="Send" title="Send" disabled={model === undefined || draft.trim() === ""}><SendIcon /></button>}
        </div>
      </form>
    </>
  );
}

/** The states of one turn, from the question to the last token. Never throws: what went wrong is in the turn. */
async function* answer(question: string, { path }: Model, options: ChatOptions, signal: AbortSignal): AsyncGenerator<Turn, void> {
  let turn: Turn = { question, thinking: "", answer: "", status: "streaming", tokens: 0, thinkingTokens: 0, seconds: 0, cut: false, provider: null, error: null };
  yield turn;
  let started = 0;
  try {
    for await (const { choices: [{ delta, finish_reason }], usage, system_fingerprint } of path === undefined ? chat(options, signal) : localChat(path, options, signal)) {
      const said = (delta.content ?? "") + (delta.reasoning_content ?? "");
      if (said !== "") started ||= performance.now();
      turn = {
        ...turn,
        thinking: turn.thinking + (delta.reasoning_content ?? ""),
        answer: turn.answer + (delta.content ?? ""),
        // A delta is about a token; the usage at the end is exact.
        tokens: usage?.completion_tokens ?? turn.tokens + Number(said !== ""),
        thinkingTokens: usage?.completion_tokens_details.reasoning_tokens ?? turn.thinkingTokens + Number(!!delta.reasoning_content),
        seconds: started === 0 ? 0 : (performance.now() - started) / 1000,
        cut: finish_reason === "length",
        provider: path === undefined ? null : system_fingerprint,
      };
      yield turn;
    }
    yield { ...turn, status: "done" };
  } catch (error) {
    yield signal.aborted ? { ...turn, status: "stopped" } : { ...turn, status: "failed", error: error instanceof Error ? error.message : String(error) };
  }
}

/** Keeps the end in view while it grows, unless the reader has scrolled away from it. */
function useFollowing(turns: readonly Turn[]): void {
  const near = useRef(true);
  const count = useRef(0);
  useEffect(() => {
    const look = () => {
      near.current = innerHeight + scrollY > document.documentElement.scrollHeight - 120;
    };
    addEventListener("scroll", look, { passive: true });
    return () => removeEventListener("scroll", look);
  }, []);
  useEffect(() => {
    if (turns.length !== count.current) near.current = true;
    count.current = turns.length;
    if (near.current && turns.length > 0) scrollTo({ top: document.documentElement.scrollHeight });
  }, [turns]);
}

function Welcome({ model, models, onPick }: { readonly model: Model | undefined; readonly models: readonly Model[] | null; readonly onPick: (prompt: string) => void }) {
  return (
    <div class="welcome">
      <LeafIcon />
      <h1>A small model that thinks</h1>
      {models !== null && model === undefined
        ? <p>No model is loaded yet. <a href="#train">Train one</a>, or start with <code>longjing serve FOLDER</code>.</p>
        : <p>It was taught to reason by reinforcement learning, and shows its thinking before it answers.</p>}
      <ul class="examples" aria-label="Examples">
        {model?.examples.map((prompt) => <li key={prompt}><button onClick={() => onPick(prompt)}>{prompt}</button></li>)}
      </ul>
    </div>
  );
}

interface SettingsProps {
  readonly models: readonly Model[];
  readonly model: Model | undefined;
  readonly settings: Settings;
  readonly onChange: (settings: Settings) => void;
}

function SettingsPanel({ models, model, settings, onChange }: SettingsProps) {
  return (
    <details class="settings">
      <summary class="quiet" aria-label="Settings"><SettingsIcon />{model?.id ?? "Settings"}</summary>
      <div class="panel">
        <label>Model
          <select value={model?.id} onChange={(event) => onChange({ ...settings, model: event.currentTarget.value })}>
            {models.map(({ id, path }) => <option key={id} value={id}>{path === undefined ? id : `${id}, in this browser`}</option>)}
          </select>
        </label>
        <label>Temperature <output>{settings.temperature.toFixed(1)}</output>
          <input type="range" min="0" max="1.5" step="0.1" value={settings.temperature} onInput={(event) => onChange({ ...settings, temperature: event.currentTarget.valueAsNumber })} />
        </label>
        <label>Most tokens
          <input type="number" min="1" max={model?.max_model_len} placeholder="as many as fit" value={settings.max_tokens ?? ""} onInput={(event) => onChange({ ...settings, max_tokens: event.currentTarget.valueAsNumber || null })} />
        </label>
        <label class="check"><input type="checkbox" checked={settings.remember} onChange={(event) => onChange({ ...settings, remember: event.currentTarget.checked })} />Remember the conversation</label>
      </div>
    </details>
  );
}
