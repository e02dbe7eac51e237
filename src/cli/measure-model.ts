import { LongjingError } from "../errors/index.ts";
import type { Perplexity } from "../engine/index.ts";
import type { Evaluation } from "../eval/index.ts";
import type { Backend } from "../runtime/index.ts";
import { tasks, type Task, type TaskName } from "../tasks/index.ts";
import { weightFiles } from "./weight-files.ts";

export interface Measures {
  /** What it is measured on; what is absent is not measured. */
  readonly text?: string | undefined;
  readonly task?: TaskName | undefined;
  /** Held-out problems of the task. */
  readonly problems: number;
}

/** A model by the figures that quantising changes, as the engine runs its files. */
export interface Measured {
  /** Of its weights' files. */
  readonly bytes: number;
  readonly perplexity?: Perplexity;
  /** Greedy, with its 95 % interval. */
  readonly accuracy?: Evaluation["greedy"];
  /** One sequence. */
  readonly decode_tokens_per_second: number;
  readonly prefill_tokens_per_second: number;
}

const most = { context: 128, answer: 160, sequences: 64 };

export async function measureModel(backend: Backend, path: string, { text, task, problems }: Measures): Promise<Measured> {
  const { disposeParameters, loadFrozenModel, perplexity } = await import("../engine/index.ts");
  const { benchSpeed } = await import("../engine/bench-decode.ts");
  const { loadTokenizer } = await import("./load-model.ts");
  const model = await loadFrozenModel(backend, path);
  // Half of a short context is left for the steps that are timed.
  const context = Math.max(1, Math.min(most.context, Math.floor(model.config.max_position_embeddings / 2) - 1));
  const speed = async (kind: "pp" | "tg"): Promise<number> => (await benchSpeed(backend, model, kind === "pp" ? { kind, tokens: context } : { kind, batch: 1, context }, { repetitions: 3, now: () => performance.now() / 1000 })).tokens_per_second[0];
  const measured: Measured = {
    bytes: (await weightFiles(path)).bytes,
    ...(text !== undefined && { perplexity: await perplexity(backend, model, (await loadTokenizer(path)).encode(text)) }),
    ...(task !== undefined && { accuracy: await accuracyOf(backend, path, model, tasks[task], problems) }),
    decode_tokens_per_second: await speed("tg"),
    prefill_tokens_per_second: await speed("pp"),
  };
  disposeParameters(model.parameters);
  return measured;
}

async function accuracyOf(backend: Backend, path: string, { config, parameters }: Awaited<ReturnType<typeof import("../engine/index.ts").loadFrozenModel>>, task: Task<unknown>, count: number): Promise<Evaluation["greedy"]> {
  const { Generator, ModelRunner } = await import("../engine/index.ts");
  const { evaluate, evaluationProblems } = await import("../eval/index.ts");
  const { documentEncoder } = await import("../text/index.ts");
  const { loadTokenizer } = await import("./load-model.ts");
  const encoder = documentEncoder(await loadTokenizer(path));
  const asked = { split: "test", seed: 0, count, samples: 1, max_tokens: most.answer } as const;
  const longest = Math.max(...evaluationProblems(task, asked).map(({ prompt }) => encoder.prompt(prompt).length));
  if (longest + most.answer > config.max_position_embeddings) throw new LongjingError("too_large", "The model has too few positions for such answers", { where: "--task", got: longest + most.answer, expected: `${config.max_position_embeddings} at most` });
  const runner = new ModelRunner(backend, config, { max_num_seqs: Math.min(most.sequences, count), max_model_len: longest + most.answer, frozen: parameters });
  try {
    return (await evaluate(new Generator(runner, {}), encoder, task, asked)).greedy;
  } finally {
    await runner.dispose();
  }
}
