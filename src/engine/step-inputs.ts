import { cacheContext, rotaryTables, type CacheValues, type ModelConfig } from "../model/index.ts";
import type { TensorType, Value } from "../tensor/index.ts";

const int = (dtype: "int32" | "int64", ...shape: TensorType["shape"]): TensorType => ({ shape, dtype });

const common = {
  last: int("int32", "batch"),
  longest: int("int32"),
  /** Rows of hidden states whose logits are wanted. */
  pick: int("int64", "picks"),
};

/** Where new tokens stand: inputs of every program that appends to a cache, for any number of rows and of new tokens in each. */
export const placeTypes = { positions: int("int64", "batch", "count"), ...common };

/** The same where each row has a number of new tokens of its own, one row's behind another's, without padding. */
export const raggedPlaceTypes = { positions: int("int64", "rows", 1), cumulativeLengths: int("int32", "ends"), ...common };

/** One number for each new token, in the order of rows. */
export const tokenType = int("int64", "rows");

type Places = Readonly<Record<Exclude<keyof typeof placeTypes, "pick">, Value>>;

/** The model's context of such a program. */
export const stepContext = (config: ModelConfig, max_model_len: number, places: Places & { readonly cumulativeLengths?: Value }, cache: CacheValues): ReturnType<typeof cacheContext> => {
  const { positions, cumulativeLengths, last, longest } = places;
  const sizes = cumulativeLengths ? { batch: "rows", count: 1 } : { batch: "batch", count: "count" };
  return cacheContext({ ...sizes, rows: "rows", positions, cumulativeLengths, last, longest, cache }, rotaryTables(config, max_model_len));
};
