import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { LongjingError } from "../errors/index.ts";

export type TrainerState =
  | { readonly state: "running" | "stopping"; readonly error: null }
  /** In the trainer's last words. */
  | { readonly state: "failed"; readonly error: string };

/** The one process that trains, and what became of those before it. */
export interface Trainer {
  /** Runs that this server has had a hand in and whose folder may not say so. */
  readonly ids: readonly string[];
  stateOf(id: string): TrainerState | undefined;
  /** @throws LongjingError "conflict" when a run is training */
  start(id: string, args: readonly string[]): void;
  /** Asks it to save and end; asked again, it ends at once. @throws LongjingError "conflict" when `id` is not training */
  stop(id: string): void;
  close(): Promise<void>;
}

interface Active {
  readonly id: string;
  readonly child: ChildProcess;
  readonly exited: Promise<void>;
  stopping: boolean;
}

/** `launch` starts `longjing` with these arguments, its stderr a pipe. */
export function openTrainer(launch: (args: readonly string[]) => ChildProcess): Trainer {
  let active: Active | undefined;
  /** Last words by run, until it is resumed. */
  const failures = new Map<string, string>();
  const end = (current: Active): void => {
    current.stopping = true;
    current.child.kill("SIGTERM");
  };
  return {
    get ids() {
      return [...failures.keys(), ...(active === undefined ? [] : [active.id])];
    },
    stateOf(id) {
      if (active?.id === id) return { state: active.stopping ? "stopping" : "running", error: null };
      const error = failures.get(id);
      return error === undefined ? undefined : { state: "failed", error };
    },
    start(id, args) {
      if (active !== undefined) throw new LongjingError("conflict", "A run is training already", { got: active.id, hint: "Stop it first" });
      failures.delete(id);
      const child = launch(args);
      const exited = lastWords(child).then((words) => {
        if (words !== null && !current.stopping) failures.set(id, words);
        active = undefined;
      });
      const current: Active = { id, child, exited, stopping: false };
      active = current;
    },
    stop(id) {
      if (active?.id !== id) throw new LongjingError("conflict", "This server is not training the run", { got: id });
      end(active);
    },
    async close() {
      if (active === undefined) return;
      end(active);
      await active.exited;
    },
  };
}

/** Resolves with null after a clean exit, else with what the process said last. */
async function lastWords(child: ChildProcess): Promise<string | null> {
  let words = "";
  child.stderr?.setEncoding("utf8").on("data", (text: string) => {
    words = (words + text).slice(-4000);
  });
  try {
    const [code, signal] = (await once(child, "close")) as [number | null, string | null];
    return code === 0 ? null : words.trim() || `The trainer ended with ${signal ?? `exit code ${code}`}`;
  } catch (error) {
    return error instanceof Error ? error.message : String(error); // it could not be started
  }
}
