import type { TokenConstraint } from "../engine/types.ts";
import { LongjingError } from "../errors/index.ts";
import { tooAmbiguous, type Machine, type Situation } from "./machine.ts";
import type { TokenMasks } from "./masks.ts";

/** Places and edges that a mask or a step may look at as of right: a grammar without ambiguity needs some for each new state, and has many. */
const usualWork = 5_000;
/** What masks and steps of one sequence may look at beyond that. */
const mostWork = 1_000_000;

/** Counts what `machine` has done since it began its last token against a sequence's share. @throws LongjingError "bad_argument" beyond it */
export function workCounter(machine: Machine): () => void {
  let left = mostWork;
  return () => {
    left -= Math.max(0, machine.work - usualWork);
    if (left < 0) throw tooAmbiguous();
  };
}

/**
 * What follows a grammar, token by token, and then one of `end_ids`: they are allowed exactly where the text may end, and
 * nothing is after them.
 * @param from where the text begins, as the machine of `masks` has it
 */
export function grammarConstraint(masks: TokenMasks, end_ids: readonly number[], from: Situation = masks.machine.start): TokenConstraint {
  const ends = new Set(end_ids);
  let at = from;
  let over = false;
  const spend = workCounter(masks.machine);
  return {
    mask(into) {
      into.fill(0);
      if (!over) {
        const allowed = masks.mask(at);
        spend();
        into.set(allowed.length <= into.length ? allowed : allowed.subarray(0, into.length));
      }
      // A stop token may be spelled like text: it ends, and says nothing.
      for (const id of ends) setAllowed(into, id, over || at.mayEnd);
    },
    accept(token_id) {
      if (ends.has(token_id)) {
        if (!over && !at.mayEnd) throw notAllowed(token_id);
        over = true;
        return;
      }
      const next = over ? null : masks.step(at, token_id);
      if (next === null) throw notAllowed(token_id);
      spend();
      at = next;
    },
  };
}

export function setAllowed(mask: Uint32Array, token_id: number, allowed: boolean): void {
  const [word, bit] = [mask[token_id >> 5] as number, 1 << (token_id & 31)];
  mask[token_id >> 5] = allowed ? word | bit : word & ~bit;
}

function notAllowed(token_id: number): LongjingError {
  return new LongjingError("bad_argument", "The constraint does not allow this token", { got: token_id });
}
