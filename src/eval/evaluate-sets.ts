import { random } from "../random/index.ts";
import { answerIn } from "./answer-text.ts";
import type { AnswerRecord, AnswerStore } from "./answer-file.ts";
import { chatBody, type Ask, type ChatAnswer, type ChatSampling } from "./chat-answers.ts";
import { measureSamples, type GradedSample, type Measurement } from "./measure.ts";
import { conversation } from "./chat-conversation.ts";
import type { Question, QuestionSet, SetFacts } from "./questions.ts";

/** What the work of an answer costs. Prices are in USD. */
export interface Prices {
  readonly core_hour: number;
  /** Each of a million tokens; null where nobody said. */
  readonly input: number | null;
  /** Of prompts that came from a cache. Null: as others. */
  readonly cached_input: number | null;
  readonly output: number | null;
}

export interface EvaluateSetsOptions {
  readonly ask: Ask;
  /** Names who answers, for answers that are kept. */
  readonly from: string;
  readonly model: string;
  readonly system: string | null;
  readonly sampling: ChatSampling;
  /** Answers to each question. */
  readonly samples: number;
  /** Draws the answers; each has a seed of its own by set, question and sample. */
  readonly seed: number;
  /** Requests in flight at once. */
  readonly concurrency: number;
  readonly extra: Readonly<Record<string, unknown>>;
  readonly prices: Prices;
  readonly store: AnswerStore;
  /** Called when an answer has come; not for those that were there. */
  readonly onAnswer?: () => void;
}

export interface SetMeasurement extends SetFacts, Measurement {}

type Asked = Omit<AnswerRecord, "answer">;

/** The requests of a set, question by question. */
export function requestsOf({ questions }: QuestionSet, { from, samples, seed, model, system, sampling, extra }: Omit<EvaluateSetsOptions, "ask" | "store">): Asked[] {
  return questions.flatMap(({ id, prompt, tools }) =>
    Array.from({ length: samples }, (_, sample) => {
      const own = random("eval", id, seed, sample).below(2 ** 31);
      return { from, id, sample, request: chatBody({ model, system, prompt, tools, seed: own, extra, ...sampling }) };
    }),
  );
}

/**
 * Asks what has not been answered yet, judges, and measures each set. An answer depends on its question, its number and the seed alone, so an
 * evaluation that was broken off and goes on measures what one that was not would have measured.
 * Rejects with the first failure, after the answers under way have been kept.
 */
export async function evaluateSets(sets: readonly QuestionSet[], options: EvaluateSetsOptions): Promise<SetMeasurement[]> {
  const asked = sets.map((set) => requestsOf(set, options));
  const questions = sets.flatMap((set) => set.questions.flatMap((question) => Array.from({ length: options.samples }, () => question)));
  const answers = await answersTo(asked.flat(), questions, options);
  let start = 0;
  const results: SetMeasurement[] = [];
  for (const [i, set] of sets.entries()) {
    const own = answers.slice(start, (start += asked[i]!.length));
    const graded = await gradedSamples(set, own, options);
    const { task, config, seed, source } = set;
    results.push({ task, config, seed, source, ...measureSamples(graded, { same: set.same, questions: set.questions.map(({ content, prompt }) => content ?? prompt) }) });
  }
  return results;
}

async function answersTo(asked: readonly Asked[], questions: readonly Question[], { ask, store, concurrency, onAnswer }: EvaluateSetsOptions): Promise<ChatAnswer[]> {
  const answers = asked.map((one) => store.find(one));
  const missing = asked.flatMap((one, i) => (answers[i] === undefined ? [{ one, i }] : []));
  let failed: { readonly error: unknown } | undefined;
  const worker = async (): Promise<void> => {
    for (let next = missing.shift(); next !== undefined && failed === undefined; next = missing.shift()) {
      const { one, i } = next;
      try {
        const episode = await questions[i]!.begin?.();
        const answer = episode ? await conversation(ask, one.request, episode) : await ask(one.request);
        store.add({ ...one, answer });
        answers[i] = answer;
        onAnswer?.();
      } catch (error) {
        failed ??= { error };
      }
    }
  };
  await Promise.all(Array.from({ length: Math.min(concurrency, missing.length) }, worker));
  if (failed !== undefined) throw failed.error;
  return answers as ChatAnswer[];
}

async function gradedSamples({ questions }: QuestionSet, answers: readonly ChatAnswer[], { samples, prices }: EvaluateSetsOptions): Promise<GradedSample[][]> {
  const all: GradedSample[][] = [];
  for (const [i, question] of questions.entries()) {
    const own: GradedSample[] = [];
    for (const { content, finish_reason, usage, core_seconds } of answers.slice(i * samples, (i + 1) * samples)) {
      const truncated = finish_reason === "length";
      const answer = answerIn(content, truncated);
      const score = answer === null ? 0 : await question.judge(answer);
      own.push({ answer, score, truncated, tokens: usage?.completion_tokens ?? null, usd: priceOf({ usage, core_seconds }, prices) });
    }
    all.push(own);
  }
  return all;
}

/** Of one answer in USD: the own engine's core-seconds, or an endpoint's tokens. Null where the price or the usage is not known. */
export function priceOf({ usage, core_seconds }: Pick<ChatAnswer, "usage" | "core_seconds">, { core_hour, input, cached_input, output }: Prices): number | null {
  if (core_seconds !== null) return (core_seconds / 3600) * core_hour;
  if (usage === null || input === null || output === null) return null;
  const { prompt_tokens, cached_tokens, completion_tokens } = usage;
  return ((prompt_tokens - cached_tokens) * input + cached_tokens * (cached_input ?? input) + completion_tokens * output) / 1e6;
}
