import type { WeightDtype } from "../model/config.ts";
import type { GgufFileType } from "../weights/index.ts";
import type { ExportSource } from "./export-source.ts";

/** What the command line says. */
export interface ExportOptions {
  readonly out: string;
  readonly dtype: WeightDtype;
  readonly type: GgufFileType;
  readonly adapter?: string;
  readonly base?: string;
  readonly rank?: number;
  readonly license?: string;
  readonly json?: true;
}

/** What was written, in words and for machines. */
export interface Written {
  readonly tensors: number;
  readonly said: string;
  readonly facts?: Readonly<Record<string, number | string | readonly number[]>>;
}

/** A way of writing a model. */
export type ExportTarget = (source: ExportSource, options: ExportOptions) => Promise<Written>;

/** A line about end tokens that a file has no keys for, or nothing. */
export const endsLeftOut = (ids: readonly number[]): string => (ids.length === 0 ? "" : `\nEnd tokens for which GGUF has no key are left out: ${ids.join(", ")}. llama.cpp will not stop at them.`);
