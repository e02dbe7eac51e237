import { compileSpec, type CompiledGrammar, type ConstraintSpec, type Surroundings } from "../constrain/index.ts";
import { LongjingError, type ErrorCode, type ErrorFacts } from "../errors/index.ts";
import { serveThread } from "../threads/index.ts";

/** What the thread is asked. */
export interface CompileTask {
  readonly spec: ConstraintSpec;
  readonly around: Surroundings;
}

export type CompileReply = { readonly type: "grammar"; readonly grammar: CompiledGrammar } | { readonly type: "error"; readonly code: ErrorCode; readonly message: string; readonly facts: ErrorFacts };

serveThread(({ spec, around }: CompileTask): CompileReply => {
  try {
    return { type: "grammar", grammar: compileSpec(spec, around) };
  } catch (error) {
    // Ours are the request's fault and go back to it; anything else is a defect and ends the thread.
    if (!LongjingError.is(error)) throw error;
    return { type: "error", code: error.code, message: error.message, facts: error.facts };
  }
});
