import type { TokenConstraint } from "../engine/types.ts";
import { setAllowed } from "./constraint.ts";

export interface ThinkingBudget {
  /** Most tokens to think; then the thinking is ended. */
  readonly budget: number;
  /** Tokens that end it, in order. */
  readonly end_ids: readonly number[];
  /** Whether the sequence begins inside the thinking; otherwise it thinks once it has written `open`. */
  readonly thinking: boolean;
  /** The tags, as bytes: a model may spell them with other tokens than `end_ids`. */
  readonly open: Uint8Array;
  readonly close: Uint8Array;
  /** Bytes of each token by id, null for one without a text. */
  readonly tokens: readonly (Uint8Array | null)[];
}

/**
 * Lets a model think for as many tokens as it may, and then makes it end its thinking. What else it may say is up to `inner`,
 * or free.
 */
export function withThinkingBudget(inner: TokenConstraint | null, { budget, end_ids, thinking, open, close, tokens }: ThinkingBudget): TokenConstraint {
  const opening = finder(open);
  const closing = finder(close);
  let place: "before" | "thinking" | "after" = thinking ? "thinking" : "before";
  let thought = 0;
  /** How many of `end_ids` have been forced. */
  let forced = 0;
  return {
    mask(into) {
      if (inner === null) into.fill(0xffffffff);
      else inner.mask(into);
      const next = end_ids[forced];
      if (place !== "thinking" || thought < budget || next === undefined) return;
      // In the middle of a character the end has to wait for its last byte.
      if ((((into[next >> 5] as number) >>> (next & 31)) & 1) === 0) return;
      into.fill(0);
      setAllowed(into, next, true);
    },
    accept(token_id) {
      inner?.accept(token_id);
      if (place === "after") return;
      if (place === "thinking") {
        forced = thought++ >= budget && token_id === end_ids[forced] ? forced + 1 : 0;
      }
      for (const byte of tokens[token_id] ?? []) {
        if (place === "before" && opening(byte)) place = "thinking";
        else if (place === "thinking" && closing(byte)) place = "after";
      }
    },
  };
}

/** Reads bytes one by one and says when `pattern` has just been read (Knuth, Morris and Pratt). */
function finder(pattern: Uint8Array): (byte: number) => boolean {
  const fallback = [0];
  for (let i = 1, k = 0; i < pattern.length; i++) {
    while (k > 0 && pattern[i] !== pattern[k]) k = fallback[k - 1] as number;
    if (pattern[i] === pattern[k]) k++;
    fallback.push(k);
  }
  let matched = 0;
  return (byte) => {
    while (matched > 0 && pattern[matched] !== byte) matched = fallback[matched - 1] as number;
    if (pattern[matched] === byte) matched++;
    if (matched < pattern.length) return false;
    matched = fallback[matched - 1] as number;
    return true;
  };
}
