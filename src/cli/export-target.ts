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
  readonly rank: number;
  readonly license?: string;
  readonly json?: true;
}

/** What was written, in words and for machines. */
export interface Written {
  readonly tensors: number;
  readonly said: string;
  readonly facts?: Readonly<Record<string, number | string>>;
}

/** A way of writing a model. */
export type ExportTarget = (source: ExportSource, options: ExportOptions) => Promise<Written>;
