import { LongjingError } from "../../errors/index.ts";
import { saidAnswer } from "../../text/transcript.ts";
import type { RewardFunction } from "../reward.ts";
import type { Problem } from "../task.ts";
import { createJudge, type JudgeOptions } from "./judge.ts";
import { createRewardClient, type RewardClientOptions } from "./reward-client.ts";
import { remembering } from "./remembering.ts";

export interface RemoteRewardOptions<G> extends RewardClientOptions {
  /** Default "remote". */
  readonly name?: string;
  /** What the server needs to know of a problem. Default: its address, which `longjing reward serve TASK` understands. */
  readonly label?: (problem: Problem<G>) => string;
}

/** A reward that a server gives, in OpenRLHF's form: `createRewardClient`, with its timeout, retries, limit of requests and cache, as a reward function. */
export function remoteReward<G>(urls: string | readonly string[], { name = "remote", label = addressOf, ...options }: RemoteRewardOptions<G> = {}): RewardFunction<G> {
  const ask = createRewardClient(urls, options);
  return { name, reward: async ({ prompt, completion, problem }) => (await ask({ prompt, completion, label: label(problem) })).reward };
}

function addressOf({ address, prompt }: Problem<unknown>): string {
  if (address) return JSON.stringify(address);
  throw new LongjingError("bad_argument", "The problem has no address", { got: prompt, expected: "a task that poses its problems by addresses, or `label`" });
}

export interface JudgeRewardOptions<G> extends JudgeOptions {
  /** Default "judge". */
  readonly name?: string;
  /** The reference answer. */
  readonly gold: (problem: Problem<G>) => string;
  /** Verdicts kept, so that equal answers are judged once. Default 4096. */
  readonly cache?: number;
}

/** 1 or 0 by a model that judges (`createJudge`); no reward where it gives no verdict, and 0, unasked, where there is no answer. */
export function judgeReward<G>({ name = "judge", gold, cache = 4096, ...options }: JudgeRewardOptions<G>): RewardFunction<G> {
  const judge = createJudge(options);
  const ask = remembering(cache, ([question, answer, reference]: readonly [string, string, string]) => judge(question, answer, reference));
  return {
    name,
    reward: async ({ problem, turns }) => {
      const answer = saidAnswer(turns.at(-1) ?? "").trim();
      if (answer === "") return 0;
      const { correct } = await ask([problem.prompt, answer, gold(problem)]);
      return correct === null ? null : Number(correct);
    },
  };
}
