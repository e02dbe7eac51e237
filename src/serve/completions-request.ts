import { z } from "zod";
import { LongjingError } from "../errors/index.ts";
import { beforeMiddle, middleMarks, middleTokens } from "../text/index.ts";
import { answerFormatOf, formatFields, type AnswerFormat } from "./answer-format.ts";
import type { ServedModel } from "./model.ts";
import { encodePrompt } from "./prompt-tokens.ts";
import { modelName, parseBody, samplingFields, settingsOf, unknownFields, whole, type CompletionSettings } from "./request-fields.ts";

/** A request to go on with texts. */
export interface CompletionRequest extends CompletionSettings {
  readonly model: string;
  /** Texts or token ids. */
  readonly prompts: readonly (string | readonly number[])[];
  /** What comes behind the completion: the model fills in the middle. */
  readonly suffix: string | undefined;
  readonly echo: boolean;
  readonly logprobs: boolean;
  readonly max_tokens: number;
  readonly format: AnswerFormat;
  readonly ignored: readonly string[];
}

const ids = z.array(z.int().nonnegative()).min(1);

const known = z.object({
  model: modelName,
  prompt: z
    .union([z.string().transform((text) => [text]), ids.transform((list) => [list]), z.array(z.string()).min(1).max(128), z.array(ids).min(1).max(128)], {
      error: "must be a text, a list of token ids, or up to 128 of either",
    })
    .nullish(),
  suffix: z.string().nullish(),
  echo: z.boolean().nullish(),
  best_of: whole(1, 16),
  logprobs: whole(0, 20),
  ...samplingFields,
  max_tokens: whole(0, 2 ** 31),
  ...formatFields,
});

/** Throws `bad_argument` that names the field. */
export function parseCompletionRequest(body: unknown): CompletionRequest {
  const data = parseBody(known, body);
  const logprobs = data.logprobs ?? undefined;
  if ((data.best_of ?? 1) > (data.n ?? 1)) throw new LongjingError("unsupported", "Completions are not sorted out here", { where: "best_of", got: data.best_of, expected: "n" });
  const scored = data.echo && logprobs !== undefined;
  if (scored && data.suffix) throw new LongjingError("unsupported", "A prompt with a suffix is not echoed with log-probabilities", { where: "echo", got: "suffix" });
  if (data.max_tokens === 0 && !scored) throw new LongjingError("bad_argument", "A completion of no tokens tells nothing", { where: "max_tokens", got: 0, expected: "at least 1, or echo with logprobs" });
  const settings = settingsOf(data, logprobs);
  return {
    ...settings,
    sampling: scored ? { ...settings.sampling, prompt_logprobs: logprobs } : settings.sampling,
    model: data.model,
    prompts: data.prompt ?? [""],
    suffix: data.suffix || undefined,
    echo: data.echo ?? false,
    logprobs: logprobs !== undefined,
    max_tokens: data.max_tokens ?? 16,
    format: answerFormatOf(data),
    ignored: unknownFields(known, body),
  };
}

/** @throws LongjingError "unsupported" when the model cannot fill in a middle */
export function promptIds(model: ServedModel, prompt: string | readonly number[], suffix: string | undefined): readonly number[] {
  const encode = (text: string | readonly number[], addSpecialTokens: boolean): readonly number[] => (typeof text === "string" ? encodePrompt(model, text, { addSpecialTokens }) : text);
  if (suffix === undefined) return encode(prompt, true);
  const marks = middleTokens(model.tokenizer);
  if (marks === null) throw new LongjingError("unsupported", "This model was not trained to fill in a middle", { where: "suffix", expected: `a vocabulary with ${middleMarks.map(([first]) => first).join(" or ")}` });
  return [...encode("", true), ...beforeMiddle(marks, encode(prompt, false), encode(suffix, false))];
}
