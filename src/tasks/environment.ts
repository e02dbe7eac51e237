import { LongjingError } from "../errors/index.ts";
import type { Random } from "../random/index.ts";
import type { ChatMessage, Exchange, TextDocument, ToolCall } from "../text/index.ts";
import { hermes, type ToolDefinition } from "../text/tool-syntax.ts";
import { readTurn } from "../text/turn.ts";
import type { DemonstrationKind, Environment, Episode, Problem, StepResult } from "./task.ts";
import { verifyJson } from "./verifiers/json-schema.ts";

/** A tool, and what it does. `S` is the state of one episode, which `execute` may change. */
export interface Tool<S> extends ToolDefinition {
  /** What the model is told. A call that cannot be done is answered, not thrown; what is thrown ends the rollout. */
  readonly execute: (args: Readonly<Record<string, unknown>>, state: S) => string | Promise<string>;
}

export interface ToolEnvironmentOptions<G, S> {
  readonly tools: readonly Tool<S>[];
  /** The state of a new episode. */
  readonly begin: (problem: Problem<G>) => S;
  readonly demonstration?: NonNullable<Environment<G>["demonstration"]>;
}

/**
 * The usual tool loop: every call of a turn is done, in order, and answered by a message of role `tool`; a turn without a call is the
 * last. A call of no tool, or with arguments that the tool's schema does not accept, is answered by an error.
 */
export function toolEnvironment<G, S>({ tools, begin, demonstration }: ToolEnvironmentOptions<G, S>): Environment<G> {
  return {
    tools: tools.map(({ execute: _execute, ...definition }) => definition),
    reset: (problem) => {
      const state = begin(problem);
      return { step: ({ calls }) => (calls.length === 0 ? null : answers(calls, tools, state)) };
    },
    ...(demonstration && { demonstration }),
  };
}

function answers<S>(calls: readonly ToolCall[], tools: readonly Tool<S>[], state: S): StepResult | Promise<StepResult> {
  const results = calls.map((call): string | Promise<string> | null => {
    const tool = tools.find(({ name }) => name === call.name);
    const legal = tool && call.arguments && verifyJson(JSON.stringify(call.arguments), tool.parameters).correct;
    return legal ? tool.execute(call.arguments!, state) : null;
  });
  const told = (contents: readonly (string | null)[]): StepResult => ({
    messages: contents.map((content, i) => ({ role: "tool", name: calls[i]!.name, content: content ?? refusal(calls[i]!, tools) })),
    failures: contents.filter((content) => content === null).length,
  });
  const now = results.filter((result): result is string | null => !(result instanceof Promise));
  return now.length === results.length ? told(now) : Promise.all(results).then(told);
}

const refusal = ({ name }: ToolCall, tools: readonly ToolDefinition[]): string => (tools.some((tool) => tool.name === name) ? `error: arguments do not fit ${name}` : `error: there is no ${name}`);

/**
 * A demonstration played in its environment: what answers the turns is what the environment says, as it will be in a rollout.
 * @throws LongjingError "bad_argument" where the environment takes its time, or ends before the last turn, or goes on after it
 */
export function playDemonstration<G>(environment: Environment<G>, problem: Problem<G>, random: Random, kind: DemonstrationKind): TextDocument {
  const refuse = (got: string): never => {
    throw new LongjingError("bad_argument", "The environment has no such demonstration", { got, expected: "an environment that answers at once, each turn but the last" });
  };
  const [first, ...rest] = environment.demonstration?.(problem, random, kind) ?? [];
  const episode = environment.reset(problem);
  if (first === undefined || episode instanceof Promise) return refuse(first === undefined ? "none" : "a promise");
  const exchanges: Exchange[] = [];
  let said = first;
  for (const completion of rest) {
    const { messages } = stepNow(episode, said) ?? refuse("an early end");
    exchanges.push({ messages, completion });
    said = completion;
  }
  if (stepNow(episode, said) !== null) refuse("no end");
  return { prompt: problem.prompt, completion: first, tools: environment.tools, exchanges };
}

/** Demonstrations are written as models without tools of their own write calls. */
function stepNow(episode: Episode, text: string): { readonly messages: readonly ChatMessage[] } | null {
  const result = episode.step(readTurn(text, hermes));
  if (!(result instanceof Promise)) return result;
  throw new LongjingError("bad_argument", "The environment takes its time", { expected: "a demonstration that can be played at once" });
}
