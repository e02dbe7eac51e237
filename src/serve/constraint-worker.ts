import { parentPort } from "node:worker_threads";
import { compileSpec, type CompiledGrammar, type ConstraintSpec, type Surroundings } from "../constrain/index.ts";
import { LongjingError, type ErrorCode, type ErrorFacts } from "../errors/index.ts";

/** What the thread is asked. */
export interface CompileTask {
  readonly spec: ConstraintSpec;
  readonly around: Surroundings;
}

/** What it says: that it has started, then one answer a task. */
export type CompileReply =
  | { readonly type: "ready" }
  | { readonly type: "grammar"; readonly grammar: CompiledGrammar }
  | { readonly type: "error"; readonly code: ErrorCode; readonly message: string; readonly facts: ErrorFacts };

const reply = (message: CompileReply): void => parentPort?.postMessage(message);

parentPort?.on("message", ({ spec, around }: CompileTask) => reply(compiled(spec, around)));
reply({ type: "ready" });

function compiled(spec: ConstraintSpec, around: Surroundings): CompileReply {
  try {
    return { type: "grammar", grammar: compileSpec(spec, around) };
  } catch (error) {
    // Ours are the request's fault and go back to it; anything else is a defect and ends the thread.
    if (!LongjingError.is(error)) throw error;
    return { type: "error", code: error.code, message: error.message, facts: error.facts };
  }
}
