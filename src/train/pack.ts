import { LongjingError } from "../errors/index.ts";
import type { TokenDocument } from "../text/index.ts";

/** Rows for next-token prediction, all of `time` tokens, as plain arrays. */
export interface PackedRows {
  readonly ids: readonly (readonly number[])[];
  readonly targets: readonly (readonly number[])[];
  /** 1 where the target is said by the model. */
  readonly counts: readonly (readonly number[])[];
  /** Documents that were used. */
  readonly documents: number;
}

/**
 * Fills `batch` rows of `time` tokens with whole documents, one after another; what is left of a row is padding. Later documents
 * of a row can see earlier ones, as in DeepSeek-V3's pretraining (section 4.1).
 * @throws LongjingError "too_large" for a document that no row can hold
 */
export function packRows(documents: Iterator<TokenDocument>, batch: number, time: number, pad: number): PackedRows {
  const rows: { tokens: number[]; counts: number[] }[] = [];
  let used = 0;
  let waiting = take(documents, time);
  for (let b = 0; b < batch; b++) {
    const row = { tokens: [] as number[], counts: [] as number[] };
    // A row reads `time` tokens and predicts `time`, so it holds one more.
    while (row.tokens.length + waiting.prompt.length + waiting.completion.length <= time + 1) {
      row.tokens.push(...waiting.prompt, ...waiting.completion);
      row.counts.push(...waiting.prompt.map(() => 0), ...said(waiting));
      used++;
      waiting = take(documents, time);
    }
    while (row.tokens.length < time + 1) {
      row.tokens.push(pad);
      row.counts.push(0);
    }
    rows.push(row);
  }
  return { ids: rows.map((r) => r.tokens.slice(0, -1)), targets: rows.map((r) => r.tokens.slice(1)), counts: rows.map((r) => r.counts.slice(1)), documents: used };
}

/** 1 for each token of a completion that the model says. */
const said = ({ completion, mask }: TokenDocument): readonly number[] => mask ?? completion.map(() => 1);

function take(documents: Iterator<TokenDocument>, time: number): TokenDocument {
  const next = documents.next();
  if (next.done) throw new LongjingError("bad_argument", "The documents ended before the batch was full");
  const length = next.value.prompt.length + next.value.completion.length;
  if (length > time + 1) throw new LongjingError("too_large", "A document does not fit a row", { got: `${length} tokens`, expected: `at most ${time + 1}`, hint: "Train with longer rows." });
  return next.value;
}

/** One document as a row of its own. `promptWeight` is what a prompt's token counts beside a completion's. */
export function rowOf(document: TokenDocument, time: number, pad: number, promptWeight: number): { readonly ids: readonly number[]; readonly targets: readonly number[]; readonly counts: readonly number[] } {
  const { prompt, completion } = document;
  const tokens = [...prompt, ...completion];
  const counts = [...prompt.map(() => promptWeight), ...said(document)];
  while (tokens.length < time + 1) {
    tokens.push(pad);
    counts.push(0);
  }
  return { ids: tokens.slice(0, -1), targets: tokens.slice(1), counts: counts.slice(1) };
}
