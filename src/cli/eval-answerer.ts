import { LongjingError } from "../errors/index.ts";
import { endpoint, readCompletion, type Ask, type Question, type QuestionSet, type Suite } from "../eval/index.ts";
import { chatEvents, parseChatRequest, toCompletion, type ServedModel } from "../serve/index.ts";
import { chatRenderer, toolInstructions, toolSyntaxOf, type Tokenizer } from "../text/index.ts";
import { openBackendWith } from "./backend.ts";
import type { EvalOptions } from "./eval.ts";
import { findAdapter } from "./find-adapter.ts";
import { findModel } from "./find-model.ts";
import { exactWhereSmall, loadServedModel, loadTokenizer, shippedModel } from "./load-model.ts";
import { weightFiles } from "./weight-files.ts";

/** Who answers an evaluation's questions. */
export interface Answerer {
  readonly ask: Ask;
  readonly model: string;
  /** Names it for answers that are kept. */
  readonly from: string;
  /** Most tokens of an answer that it has room for. */
  readonly maxTokens: number;
  readonly concurrency: number;
  close(): void;
}

/** @throws LongjingError "bad_argument" without the model's name, or when the variable with the key is empty */
export function endpointAnswerer(url: string, options: EvalOptions): Answerer {
  const { model, apiKeyEnv, concurrency, timeout, retries } = options;
  if (model === undefined) throw new LongjingError("bad_argument", "An endpoint has to be told which model", { expected: "--model NAME" });
  const apiKey = apiKeyEnv === undefined ? undefined : process.env[apiKeyEnv];
  if (apiKeyEnv !== undefined && !apiKey) throw new LongjingError("bad_argument", "The variable with the key is not set", { where: "--api-key-env", got: apiKeyEnv });
  const ask = endpoint({ url, apiKey, concurrency, timeout, retries });
  return { ask, model, from: url.replace(/\/+$/, ""), maxTokens: Number.POSITIVE_INFINITY, concurrency, close: () => {} };
}

// In tokens: what tools answer last stands behind what the conversation's limit has counted.
const roomForResults = 128;
// More than run at once, so that none waits for a question.
const inFlight = 256;

/**
 * The own engine, asked as a server asks it: the same prompt, the same seed and the same reading of what comes, so that a model scores here
 * what it scores over HTTP.
 */
export async function engineAnswerer(sets: readonly QuestionSet[], { sampling, system }: Suite, options: EvalOptions): Promise<Answerer> {
  const name = options.model ?? (await shippedModel());
  const path = await findModel(name);
  const tokenizer = await loadTokenizer(path);
  const longest = longestPrompt(tokenizer, sets, system);
  const dtype = options.dtype ?? (await exactWhereSmall(path));
  const adapter = options.adapter === undefined ? undefined : await findAdapter(options.adapter);
  const model = await loadServedModel(name, { tokenizer, dtype, adapter, backend: await openBackendWith(options), neededModelLen: longest + sampling.max_tokens });
  const maxTokens = model.engine.max_model_len - longest;
  if (maxTokens < 1) throw new LongjingError("too_large", "The model has too few positions for the problems", { got: `${longest} tokens of the longest`, expected: `less than ${model.engine.max_model_len}` });
  let used = process.cpuUsage();
  const ask: Ask = async (body) => {
    const answer = readCompletion(await completionOf(model, body), model.id);
    // What the process has worked since the answer before; of answers that run side by side only the sum has a meaning.
    const { user, system: kernel } = process.cpuUsage(used);
    used = process.cpuUsage();
    return { ...answer, core_seconds: (user + kernel) / 1e6 };
  };
  return { ask, model: model.id, from: [model.id, model.system_fingerprint, dtype, ...(adapter === undefined ? [] : [(await weightFiles(adapter)).fingerprint])].join(" "), maxTokens, concurrency: inFlight, close: () => model.engine.dispose() };
}

async function completionOf(model: ServedModel, body: object): Promise<unknown> {
  const { events } = await chatEvents(model, parseChatRequest(body), new AbortController().signal);
  return toCompletion({ id: "", created: 0, model: model.id, system_fingerprint: model.system_fingerprint }, events);
}

/** In tokens. A model without a template is refused later, by whoever asks it. */
function longestPrompt(tokenizer: Tokenizer, sets: readonly QuestionSet[], system: string | null): number {
  if (tokenizer.chatTemplate === null) return 0;
  const render = chatRenderer(tokenizer.chatTemplate);
  const before = system === null ? [] : [{ role: "system", content: system }];
  const syntax = toolSyntaxOf(tokenizer.chatTemplate);
  const length = ({ prompt, tools = [] }: Question): number => {
    const told = tools.length === 0 ? before : [...before, { role: "system", content: toolInstructions(syntax, tools) }];
    const asked = tokenizer.encode(render([...told, { role: "user", content: prompt }], { ...tokenizer.specialTokens, add_generation_prompt: true })).length;
    return asked + (tools.length === 0 ? 0 : roomForResults);
  };
  return Math.max(...sets.flatMap(({ questions }) => questions.map(length)));
}
