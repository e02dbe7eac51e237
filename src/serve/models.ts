import type { Context } from "hono";
import { LongjingError } from "../errors/index.ts";
import type { ServedModel } from "./model.ts";

/** A model as `/v1/models` lists it. */
export interface ModelCard {
  readonly id: string;
  /** Unix time in seconds. */
  readonly created: number;
  /** Longest prompt plus completion, in tokens. */
  readonly max_model_len: number;
  /** Prompts that show what the model was trained for. */
  readonly examples: readonly string[];
}

/** Where the routes find their models. */
export interface Models {
  /** Those that may be asked for, loaded or not. */
  list(): readonly ModelCard[];
  /**
   * The model of that name, the first where it is "", for the request in `c` alone: its engine may know whose request it is and count what it says.
   * @throws LongjingError "not_found"
   */
  find(name: string, c: Context): Promise<ServedModel>;
}

/** DeepSeek's names of its two ways to answer; here both mean the first model, thinking or not. */
export const aliases: readonly string[] = ["deepseek-chat", "deepseek-reasoner"];

export function unknownModel(got: string, known: readonly string[]): LongjingError {
  return new LongjingError("not_found", "The model does not exist", { where: "model", got, expected: known.join(", ") });
}
