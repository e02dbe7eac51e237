import type { Completion, Generator } from "../engine/generator.ts";
import { random } from "../random/index.ts";
import type { Problem, Score, Task } from "../tasks/index.ts";
import type { DocumentEncoder } from "../text/index.ts";

/** One sampled completion of one problem, judged. */
export interface Sample extends Completion {
  readonly text: string;
  readonly score: Score;
}

/** All samples of one problem. */
export interface Group<G> {
  readonly problem: Problem<G>;
  readonly prompt_ids: readonly number[];
  readonly samples: readonly Sample[];
}

export interface RolloutOptions {
  /** Completions of each problem. */
  readonly num_generations: number;
  readonly max_tokens: number;
  /** 0 is greedy. */
  readonly temperature: number;
  /** Names the samples: equal parts give equal samples. */
  readonly stream: readonly (string | number)[];
  /** Ends sequences early; the groups are then not to be used. */
  readonly signal?: AbortSignal;
  /** Called when a completion has ended. */
  readonly onFinish?: () => void;
}

/** Samples and judges completions; the prompt of a group is computed once by the engine. */
export async function rollout<G>(generator: Generator, encoder: DocumentEncoder, task: Task<G>, problems: readonly Problem<G>[], { num_generations, max_tokens, temperature, stream, signal, onFinish }: RolloutOptions): Promise<Group<G>[]> {
  const seeds = random("rollout", ...stream);
  const prompts = problems.map((p) => encoder.prompt(p.prompt));
  const requests = prompts.flatMap((prompt_ids) =>
    Array.from({ length: num_generations }, () => ({ prompt_ids, sampling: { temperature, max_tokens, stop_token_ids: [encoder.eos], seed: seeds.below(2 ** 32) }, ...(signal && { signal }) })),
  );
  const completions = await generator.generate(requests, onFinish);
  return problems.map((problem, i) => ({
    problem,
    prompt_ids: prompts[i]!,
    samples: completions.slice(i * num_generations, (i + 1) * num_generations).map((completion) => {
      const text = encoder.decode(completion.token_ids);
      return { ...completion, text, score: task.score(problem, text) };
    }),
  }));
}
