import { cacheContext, rotaryTables, type CacheValues, type ModelConfig } from "../model/index.ts";
import type { TensorType, Value } from "../tensor/index.ts";

const int = (dtype: "int32" | "int64", ...shape: TensorType["shape"]): TensorType => ({ shape, dtype });

/** Where new tokens stand: inputs of every program that appends to a cache, for any number of rows and of new tokens in each. */
export const placeTypes = {
  positions: int("int64", "batch", "count"),
  last: int("int32", "batch"),
  longest: int("int32"),
  /** Rows of hidden states whose logits are wanted. */
  pick: int("int64", "picks"),
};

/** One number for each new token, in the order of rows. */
export const tokenType = int("int64", "rows");

type Places = { readonly [K in keyof typeof placeTypes]: Value };

/** The model's context of such a program. */
export const stepContext = (config: ModelConfig, max_model_len: number, { positions, last, longest }: Omit<Places, "pick">, cache: CacheValues): ReturnType<typeof cacheContext> =>
  cacheContext({ batch: "batch", count: "count", rows: "rows", positions, last, longest, cache }, rotaryTables(config, max_model_len));
