import type { ModelConfig } from "../model/index.ts";
import type { Backend } from "../runtime/index.ts";
import type { Tokenizer } from "../text/index.ts";
import type { HostTensor, JsonValue } from "./checkpoint.ts";
import type { Spent } from "./ledger.ts";
import type { TrainState } from "./train-state.ts";

/** Where a stage goes on from. */
export interface StageProgress {
  /** Steps of this stage that are done. */
  readonly step: number;
  /** What the stage itself saved: its data cursor. */
  readonly cursor: JsonValue;
  /** What the next step reads beside parameters and moments (a reference policy), under names that the stage chooses. */
  readonly tensors?: Readonly<Record<string, HostTensor>>;
  /** The stage has not been better yet: its checkpoint is made now, and kept. */
  readonly best?: boolean;
}

/** What a stage works with. Everything random in it is named by `seed`, the stage and the step, so there is no other state. */
export interface StageContext {
  readonly backend: Backend;
  readonly config: ModelConfig;
  readonly tokenizer: Tokenizer;
  /** Parameters and moments; a stage starts with fresh moments. */
  readonly state: TrainState;
  readonly seed: number;
  readonly resumed: StageProgress | null;
  /** The stage ends after this many steps, whatever its own number. */
  readonly maxSteps: number;
  /** Aborted when the run shall stop: the stage ends after the step that it is at, and says how far it came. */
  readonly signal: AbortSignal;
  /** The provider can run on this thread, which is fastest. */
  readonly blocking: boolean;
  /** Bytes that the process may have. */
  readonly memory: number;
  /** Appends to the run's log: what is measured by the clock apart. */
  log(step: number, type: LogType, values: Readonly<Record<string, JsonValue>>, measures?: Readonly<Record<string, number>>): void;
  account(spent: Omit<Spent, "cores">): void;
  /** The parameters as an earlier stage has left them. @throws LongjingError "not_found" where there is no such stage */
  parametersAfter(stage: string): Promise<Record<string, Float32Array>>;
  /** Says how far a stage came whose steps leave no log lines. */
  progress(step: number): void;
  /**
   * Ends a step: lets the event loop turn, so that `signal` is heard, and saves a checkpoint if one is due, the best, or the last to
   * be had. `urgent`: the stage is about to fail, and what it has done shall not be lost.
   */
  checkpoint(progress: StageProgress, urgent?: boolean): Promise<void>;
  /** Monotonic seconds. */
  now(): number;
}

export type LogType = "metrics" | "completions" | "evaluation" | "preflight" | "notice";

/** One stage of a recipe. */
export interface Stage {
  /** Names its checkpoints and log lines. */
  readonly name: string;
  /** Steps if nothing ends it early: for progress and ETA. */
  readonly steps: number;
  /** Stages whose ends it asks for (`parametersAfter`): a recipe in which they do not come before it is refused. */
  readonly after?: readonly string[];
  run(context: StageContext): Promise<StageProgress>;
}
