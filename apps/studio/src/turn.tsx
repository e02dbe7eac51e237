import { useState } from "preact/hooks";
import { AgainIcon, CheckIcon, CopyIcon } from "./icons.tsx";
import { renderMarkdown } from "./markdown.ts";

/** One question and what came of it. */
export interface Turn {
  readonly question: string;
  readonly thinking: string;
  readonly answer: string;
  readonly status: "streaming" | "done" | "stopped" | "failed";
  readonly tokens: number;
  readonly thinkingTokens: number;
  /** From the first token to the last one so far. */
  readonly seconds: number;
  /** The answer ran into the token limit. */
  readonly cut: boolean;
  /** What computed it in this browser; null where a server did. */
  readonly provider: string | null;
  readonly error: string | null;
}

export function TurnView({ turn, onAgain }: { readonly turn: Turn; readonly onAgain: (() => void) | undefined }) {
  const { status, answer, thinking, error } = turn;
  const waiting = status === "streaming" && thinking === "" && answer === "";
  return (
    <article class="turn">
      <p class="question">{turn.question}</p>
      {thinking !== "" && <Thinking turn={turn} />}
      {waiting && <p class="waiting" aria-label="Waiting for the first token"><i /><i /><i /></p>}
      {answer !== "" && <div class="answer" dangerouslySetInnerHTML={{ __html: renderMarkdown(answer) }} />}
      {error !== null && <p class="notice bad" role="alert">{error}</p>}
      {status !== "streaming" && <Footer turn={turn} onAgain={onAgain} />}
    </article>
  );
}

/** Open while the model thinks, folded when it answers, and as the reader wants it from the first click on. */
function Thinking({ turn }: { readonly turn: Turn }) {
  const [chosen, setChosen] = useState<boolean | null>(null);
  const active = turn.status === "streaming" && turn.answer === "";
  const open = chosen ?? active;
  return (
    <details class={`thinking${active ? " active" : ""}`} open={open}>
      <summary onClick={(event) => { event.preventDefault(); setChosen(!open); }}>
        {active ? "Thinking…" : `Thought for ${turn.thinkingTokens} tokens`}
      </summary>
      <p>{turn.thinking}</p>
    </details>
  );
}

function Footer({ turn, onAgain }: { readonly turn: Turn; readonly onAgain: (() => void) | undefined }) {
  const rate = turn.seconds > 0 ? `${Math.round(turn.tokens / turn.seconds)} tokens/s` : "";
  const ending = turn.status === "stopped" ? "stopped" : turn.cut ? "cut off at the token limit" : "";
  const provider = { webgpu: "WebGPU", wasm: "WebAssembly" }[turn.provider ?? ""] ?? "";
  const facts = [`${turn.tokens} tokens`, rate, provider, ending].filter((fact) => fact !== "");
  return (
    <footer>
      {turn.tokens > 0 && <span>{facts.join(" · ")}</span>}
      {turn.answer !== "" && <CopyButton text={turn.answer} />}
      {onAgain && <button class="quiet" onClick={onAgain} aria-label="Ask again" title="Ask again"><AgainIcon /></button>}
    </footer>
  );
}

function CopyButton({ text }: { readonly text: string }) {
  const [copied, setCopied] = useState(false);
  const copy = async () => {
    await navigator.clipboard.writeText(text);
    setCopied(true);
    setTimeout(() => setCopied(false), 1500);
  };
  return <button class="quiet" onClick={() => void copy()} aria-label={copied ? "Copied" : "Copy the answer"} title="Copy">{copied ? <CheckIcon /> : <CopyIcon />}</button>;
}
