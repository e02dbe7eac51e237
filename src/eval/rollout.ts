import type { Completion, Generator } from "../engine/generator.ts";
import type { Continuation, EngineRequest, Turn } from "../engine/types.ts";
import { LongjingError } from "../errors/index.ts";
import { random } from "../random/index.ts";
import { isReward, type Environment, type Problem, type Reward, type RewardFunction, type RewardSample, type Score, type Task } from "../tasks/index.ts";
import { readTurn, type DocumentEncoder } from "../text/index.ts";

/** One sampled completion of one problem, judged. */
export interface Sample extends Completion {
  /** Of the last turn. */
  readonly text: string;
  /** The model's turns, in order. */
  readonly turns: readonly string[];
  readonly score: Score;
  /** Calls that the model made, and those that could not be done. */
  readonly tool_calls: number;
  readonly tool_failures: number;
  /** What each reward function gave, in their order; null where one has failed, and the failure is to be passed over. */
  readonly rewards: readonly Reward[] | null;
}

/** All samples of one problem. */
export interface Group<G> {
  readonly problem: Problem<G>;
  readonly prompt_ids: readonly number[];
  readonly samples: readonly Sample[];
}

export interface RolloutOptions<G> {
  /** Completions of each problem. */
  readonly num_generations: number;
  /** Of a completion, whatever answers the model's turns included. */
  readonly max_tokens: number;
  /** Of one turn. Default: what is left. */
  readonly max_turn_tokens?: number | undefined;
  /** Turns that are answered at most (TRL's name). Default: any number. */
  readonly max_tool_calling_iterations?: number | undefined;
  /** 0 is greedy. */
  readonly temperature: number;
  /** Names the samples: equal parts give equal samples. */
  readonly stream: readonly (string | number)[];
  /** Ends sequences early; the groups are then not to be used. */
  readonly signal?: AbortSignal;
  /** Called when a completion has ended, and is judged. */
  readonly onFinish?: () => void;
  /** Asked for each completion as soon as it has ended, while others are sampled. */
  readonly rewards?: readonly RewardFunction<G>[];
  /** What a reward that fails does: ends the rollout with its error, or leaves the sample without rewards. Default "raise". */
  readonly reward_failure?: "raise" | "mask";
}

/** Tokens that the model has said. */
export const saidTokens = ({ token_ids, tool_mask }: Completion): number => tool_mask?.reduce<number>((n, own) => n + own, 0) ?? token_ids.length;

/** The prompt as the model sees it: with the tools that its task has. */
export const promptIds = <G>(encoder: DocumentEncoder, task: Task<G>, { prompt }: Problem<G>): number[] => encoder.prompt(prompt, task.environment?.tools);

/**
 * Samples and judges completions; the prompt of a group is computed once by the engine. Where a task has an environment, it answers
 * the model's turns: the tokens that were sampled stay, what answers them is put behind, and nothing is computed twice. One that
 * waits, for an environment or a reward, keeps no other waiting.
 * @throws what an environment or a reward has thrown, once all that runs has ended
 */
export async function rollout<G>(generator: Generator, encoder: DocumentEncoder, task: Task<G>, problems: readonly Problem<G>[], options: RolloutOptions<G>): Promise<Group<G>[]> {
  const { num_generations, max_tokens, temperature, stream, onFinish } = options;
  const seeds = random("rollout", ...stream);
  const failed = new AbortController();
  const signal = options.signal ? AbortSignal.any([options.signal, failed.signal]) : failed.signal;
  const groups = problems.map((problem) => ({ problem, prompt_ids: promptIds(encoder, task, problem) }));
  const sampled = groups.flatMap(({ problem, prompt_ids }) =>
    Array.from({ length: num_generations }, async (): Promise<Sample> => {
      const sampling = { temperature, max_tokens: Math.min(max_tokens, options.max_turn_tokens ?? max_tokens), stop_token_ids: [encoder.eos], seed: seeds.below(2 ** 32) };
      try {
        const said = await converse(generator, encoder, task.environment, problem, { prompt_ids, sampling, signal }, options);
        const sample = { ...said, score: task.score(problem, said.text) };
        const judged = { ...sample, rewards: signal.aborted ? null : await rewardsOf(sample, problem, prompt_ids, encoder, options) };
        onFinish?.();
        return judged;
      } catch (error) {
        failed.abort();
        throw error;
      }
    }),
  );
  const settled = await Promise.allSettled(sampled);
  const failure = settled.find((one) => one.status === "rejected");
  if (failure) throw failure.reason;
  const samples = settled.flatMap((one) => (one.status === "fulfilled" ? [one.value] : []));
  return groups.map((group, i) => ({ ...group, samples: samples.slice(i * num_generations, (i + 1) * num_generations) }));
}

type Said = Omit<Sample, "score" | "rewards">;
type Limits = Pick<RolloutOptions<unknown>, "max_tokens" | "max_turn_tokens" | "max_tool_calling_iterations">;

/** Samples one completion, of as many turns as its environment answers. What a limit has cut has the finish reason "length". */
async function converse<G>(generator: Generator, encoder: DocumentEncoder, environment: Environment<G> | undefined, problem: Problem<G>, request: EngineRequest, limits: Limits): Promise<Said> {
  if (!environment) {
    const [completion] = await generator.generate([request]);
    const text = encoder.decode(completion!.token_ids);
    return { ...completion!, text, turns: [text], tool_calls: 0, tool_failures: 0 };
  }
  const { max_tokens, max_turn_tokens = max_tokens, max_tool_calling_iterations = Number.POSITIVE_INFINITY } = limits;
  const episode = await environment.reset(problem);
  const turns: string[] = [];
  const tools = { tool_calls: 0, tool_failures: 0 };
  let left = max_tokens;
  let cut = false as boolean;
  const next = async ({ token_ids, finish_reason }: Turn): Promise<Continuation | null> => {
    const turn = readTurn(encoder.decode(token_ids), encoder.toolSyntax);
    turns.push(turn.text);
    left -= token_ids.length;
    if (finish_reason !== "stop") return null;
    tools.tool_calls += turn.calls.length;
    const step = await episode.step(turn);
    if (!step) return null;
    tools.tool_failures += step.failures ?? 0;
    const answer = encoder.between(step.messages);
    left -= answer.length;
    cut = left < 1 || turns.length > max_tool_calling_iterations;
    return cut ? null : { token_ids: answer, max_tokens: Math.min(left, max_turn_tokens) };
  };
  try {
    const [completion] = await generator.generate([{ ...request, next }]);
    return { ...completion!, ...(cut && { finish_reason: "length" }), text: turns.at(-1) ?? "", turns, ...tools };
  } finally {
    await episode.close?.();
  }
}

async function rewardsOf<G>(sample: Omit<Sample, "rewards">, problem: Problem<G>, prompt_ids: readonly number[], encoder: DocumentEncoder, { rewards = [], reward_failure = "raise" }: RolloutOptions<G>): Promise<readonly Reward[] | null> {
  const { token_ids, turns, score, finish_reason } = sample;
  const seen = { problem, prompt: encoder.decode(prompt_ids), completion: encoder.decode(token_ids), turns, token_ids, terminated: finish_reason === "stop", score };
  const given = await Promise.allSettled(rewards.map((one) => rewarded(one, seen)));
  const failure = given.find((one) => one.status === "rejected");
  if (failure && reward_failure === "raise") throw failure.reason;
  return failure ? null : given.map((one) => (one.status === "fulfilled" ? one.value : null));
}

/** What a function throws is told as its own fault, with where in it. @throws LongjingError "bad_argument", or what the function throws of ours */
async function rewarded<G>({ name, reward }: RewardFunction<G>, seen: RewardSample<G>): Promise<Reward> {
  try {
    return checked(name, await reward(seen));
  } catch (cause) {
    if (LongjingError.is(cause)) throw cause;
    const got = cause instanceof Error ? (cause.stack ?? cause.message).split("\n", 2).map((line) => line.trim()).join(" ") : String(cause);
    throw new LongjingError("bad_argument", "A reward function has failed", { where: `reward function "${name}"`, got, hint: 'Mend it and go on with --resume, or leave such samples out by reward_failure: "mask"' }, { cause });
  }
}

/** A recipe need not be type-checked, and one value that is no number makes all parameters none. @throws LongjingError "bad_argument" */
function checked(name: string, given: unknown): Reward {
  if (isReward(given)) return given;
  throw new LongjingError("bad_argument", "A reward function has given what is no reward", { where: `reward function "${name}"`, got: typeof given === "number" || given === undefined ? String(given) : JSON.stringify(given), expected: "a finite number, or null or NaN where it does not apply" });
}
