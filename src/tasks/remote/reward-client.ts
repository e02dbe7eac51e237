import { z } from "zod";
import { LongjingError } from "../../errors/index.ts";
import { createPost, type PostOptions } from "./post.ts";
import { remembering } from "./remembering.ts";

/** One completion to be judged. */
export interface RewardQuery {
  /** As the model saw it. */
  readonly prompt: string;
  readonly completion: string;
  /** What the server needs to know of the problem: a gold answer, or an address. */
  readonly label: string;
}

export interface RemoteReward {
  readonly reward: number;
  /** In [0, 1] where the server keeps to the form; equal to the reward where it says none. */
  readonly score: number;
  /** What else it says, by name. */
  readonly logs: Readonly<Record<string, number>>;
}

export interface RewardClientOptions extends PostOptions {
  /** Answers kept, so that equal queries are asked once. Default 4096; 0 for a server whose answers differ. */
  readonly cache?: number;
}

const numbers = z.array(z.number()).length(1);
const answerShape = z.object({ rewards: numbers, scores: numbers.nullish(), extra_logs: z.record(z.string(), z.array(z.unknown())).nullish() });

/**
 * A reward that a server gives, in OpenRLHF's form (`--reward.remote_url`): each query alone, as `{query, prompts, labels}` with lists of
 * one, answered by `{rewards, scores, extra_logs}`. Queries go to the addresses in turn. The promise rejects with a LongjingError of
 * "network" when no try succeeds, and of "bad_file" when the answer has another form: a reward is never made up.
 */
export function createRewardClient(urls: string | readonly string[], { cache = 4096, ...options }: RewardClientOptions = {}): (query: RewardQuery) => Promise<RemoteReward> {
  const addresses = [urls].flat();
  if (addresses.length === 0) throw new LongjingError("bad_argument", "A reward needs the address of a server");
  const post = createPost(options);
  let turn = 0;
  return remembering(cache, ({ prompt, completion, label }: RewardQuery) => {
    const url = addresses[turn++ % addresses.length] as string;
    return post(url, { query: [prompt + completion], prompts: [prompt], labels: [label] }).then((answer) => readReward(answer, url));
  });
}

function readReward(answer: unknown, url: string): RemoteReward {
  const { success, data } = answerShape.safeParse(answer);
  if (!success) throw new LongjingError("bad_file", "The server's answer is no reward", { where: url, got: answer, expected: '{"rewards": [number], "scores": [number], "extra_logs": {name: [number]}}' });
  const reward = data.rewards[0] as number;
  const logs = Object.entries(data.extra_logs ?? {}).flatMap(([name, [value]]) => (typeof value === "number" ? [[name, value] as const] : []));
  return { reward, score: data.scores?.[0] ?? reward, logs: Object.fromEntries(logs) };
}
