import { Hono } from "hono";
import { bodyLimit } from "hono/body-limit";
import { z } from "zod";
import { LongjingError } from "../../errors/index.ts";
import { parseTranscript, saidAnswer } from "../../text/transcript.ts";
import type { Task } from "../task.ts";
import type { Verifier } from "../verifiers/verdict.ts";
import type { RemoteReward, RewardQuery } from "./reward-client.ts";
import { specialTokens, type SpecialTokens } from "./special-tokens.ts";

/** Judges one completion, now or later. @throws LongjingError "bad_argument" for a label that says nothing */
export type Rewarder = (query: RewardQuery) => RemoteReward | Promise<RemoteReward>;

/** Most queries of a request, and its most bytes. */
const mostQueries = 4096;
const mostBytes = 2 ** 25;

const texts = z.array(z.string()).max(mostQueries);
const requestShape = z
  .object({ query: texts, prompts: texts, labels: z.array(z.unknown()).max(mostQueries) })
  .refine(({ query, prompts, labels }) => query.length === prompts.length && query.length === labels.length, "query, prompts and labels must be equally long");

export interface RewardAppOptions {
  /** Special tokens of the trainer's model beside the usual ones, as its tokenizer decodes them. */
  readonly special_tokens?: readonly string[];
}

/**
 * A server of rewards in OpenRLHF's form: `POST /get_reward` takes `{query, prompts, labels}`, lists of equal length, and answers
 * `{rewards, scores, extra_logs}`. So a task or a verifier of ours can judge the rollouts of other trainers. A query is decoded with its
 * special tokens: those before the prompt, behind it and at the end are no part of the completion.
 */
export function rewardApp(rewarder: Rewarder, { special_tokens = [] }: RewardAppOptions = {}): Hono {
  const app = new Hono();
  const special = specialTokens(special_tokens);
  app.onError((error, context) => (LongjingError.is(error) ? context.json({ error: { code: error.code, message: error.message } }, 400) : context.json({ error: { code: "runtime", message: "The reward failed" } }, 500)));
  app.use(bodyLimit({ maxSize: mostBytes, onError: (context) => context.json({ error: { code: "too_large", message: `A request has ${mostBytes} bytes at most` } }, 413) }));
  app.get("/health", (context) => context.json({ status: "ok" }));
  app.post("/get_reward", async (context) => {
    const { success, data, error } = requestShape.safeParse(parsed(await context.req.text()));
    if (!success)
      throw new LongjingError("bad_argument", "The request is not in OpenRLHF's form", { got: z.prettifyError(error), expected: '{"query": […], "prompts": […], "labels": […]}', hint: "prompts say where the completions begin, labels what is right: the trainer's data needs a label for each prompt" });
    const queries = data.query.map((text, i) => {
      const [prompt, label] = [data.prompts[i]!, data.labels[i]];
      return { prompt, completion: completionIn(text, prompt, special), label: typeof label === "string" ? label : JSON.stringify(label ?? null) };
    });
    const rewards = await Promise.all(queries.map((query) => rewarder(query)));
    const names = new Set(rewards.flatMap(({ logs }) => Object.keys(logs)));
    const extra_logs = Object.fromEntries([...names].map((name) => [name, rewards.map(({ logs }) => logs[name] ?? 0)]));
    return context.json({ rewards: rewards.map(({ reward }) => reward), scores: rewards.map(({ score }) => score), extra_logs });
  });
  return app;
}

/** What stands behind the prompt, which the query holds as it is, or without the special tokens at its ends. */
function completionIn(query: string, prompt: string, { afterFirst, beforeLast }: SpecialTokens): string {
  const begun = afterFirst(query);
  for (const wanted of [prompt, beforeLast(afterFirst(prompt))]) {
    const text = [query, begun, begun.trimStart()].find((candidate) => candidate.startsWith(wanted)) ?? query;
    const at = text.indexOf(wanted);
    if (at !== -1) return beforeLast(afterFirst(text.slice(at + wanted.length)));
  }
  throw new LongjingError("bad_argument", "A query does not hold its prompt", { got: query.slice(0, 200), expected: prompt.slice(0, 200), hint: "prompts are the texts that the queries begin with" });
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new LongjingError("bad_argument", "The request is not JSON", {}, { cause });
  }
}

const whole = z.number().int().min(0).max(Number.MAX_SAFE_INTEGER);
const addressShape = z.strictObject({ split: z.enum(["train", "test"]), seed: whole, index: whole, level: whole.optional(), language: z.enum(["en", "zh"]).optional() });

/** Judges by a task. The label is the JSON of the problem's address: `{"split": "train", "seed": 0, "index": 7}`, with or without level and language. */
export function taskRewarder<G>(task: Task<G>): Rewarder {
  return ({ completion, label }) => {
    const { success, data, error } = addressShape.safeParse(parsed(label));
    if (!success) throw new LongjingError("bad_argument", "The label is not the address of a problem", { got: z.prettifyError(error), expected: '{"split": "train", "seed": 0, "index": 7}' });
    const { level, language, ...where } = data;
    const { reward, parts } = task.score(task.problem({ ...where, ...(level !== undefined && { level }), ...(language !== undefined && { language }) }), completion);
    return { reward, score: parts.correct, logs: { correct: parts.correct, format: parts.format } };
  };
}

/** Judges by a verifier. The label is the gold answer; the answer is that of the transcript, or what follows the thinking where no tag marks it. */
export function verifierRewarder(verify: Verifier<string>): Rewarder {
  return ({ completion, label }) => {
    const correct = Number(verify(saidAnswer(completion), label).correct);
    return { reward: correct, score: correct, logs: { correct, format: Number(parseTranscript(completion).wellFormed) } };
  };
}
