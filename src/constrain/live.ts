import { LongjingError } from "../errors/index.ts";
import type { CompiledGrammar } from "./compile.ts";

/**
 * The transitions and calls from which the grammar can still be completed with the bytes that there are: whoever follows
 * them never stands before nothing. A class of which no byte is there leads nowhere.
 * @param single 1 for each byte that can be written by itself [256]
 * @throws LongjingError "bad_argument" when no text at all follows the grammar
 */
export function liveGrammar(grammar: CompiledGrammar, single: Uint8Array): CompiledGrammar {
  const { classOf, classes, accepting, callsFrom, callRule, callReturn, starts } = grammar;
  const written = new Uint8Array(classes);
  for (let byte = 0; byte < 256; byte++) if (single[byte] === 1) written[classOf[byte] as number] = 1;
  // What is not there has a class of its own that nothing reads.
  const liveClassOf = classOf.map((c, byte) => (single[byte] === 1 ? c : classes));
  const next = new Int32Array(accepting.length * (classes + 1)).fill(-1);
  const live = liveStates(grammar, written);
  const alive = (state: number): boolean => state >= 0 && live[state] === 1;
  if (!alive(starts[0] as number)) throw new LongjingError("bad_argument", "Nothing satisfies the constraint", { hint: "A contradiction in it, or characters that the model's vocabulary lacks" });
  const from = new Int32Array(accepting.length + 1);
  const rules: number[] = [];
  const returns: number[] = [];
  for (let state = 0; state < accepting.length; state++) {
    for (let c = 0; c < classes; c++) {
      const to = grammar.next[state * classes + c] as number;
      if (written[c] === 1 && alive(to)) next[state * (classes + 1) + c] = to;
    }
    for (let call = callsFrom[state] as number; call < (callsFrom[state + 1] as number); call++) {
      const [rule, to] = [callRule[call] as number, callReturn[call] as number];
      if (!alive(starts[rule] as number) || !alive(to)) continue;
      rules.push(rule);
      returns.push(to);
    }
    from[state + 1] = rules.length;
  }
  return { ...grammar, classOf: liveClassOf, classes: classes + 1, next, callsFrom: from, callRule: Int32Array.from(rules), callReturn: Int32Array.from(returns) };
}

/** 1 for each state from which its rule can be completed; a fixed point, reached backwards. [states] */
function liveStates({ classes, next, accepting, callsFrom, callRule, callReturn, starts }: CompiledGrammar, written: Uint8Array): Uint8Array {
  const live = accepting.slice();
  /** What to look at again once a state is live: who reads into it, who returns to it, and who calls the rule that it starts. */
  const waiting: number[][] = Array.from(accepting, () => []);
  for (let state = 0; state < accepting.length; state++) {
    for (let c = 0; c < classes; c++) {
      const to = next[state * classes + c] as number;
      if (to >= 0 && written[c] === 1) waiting[to]?.push(state);
    }
    for (let call = callsFrom[state] as number; call < (callsFrom[state + 1] as number); call++) {
      waiting[callReturn[call] as number]?.push(state);
      waiting[starts[callRule[call] as number] as number]?.push(state);
    }
  }
  const reaches = (state: number): boolean => {
    for (let c = 0; c < classes; c++) {
      const to = next[state * classes + c] as number;
      if (to >= 0 && written[c] === 1 && live[to] === 1) return true;
    }
    for (let call = callsFrom[state] as number; call < (callsFrom[state + 1] as number); call++)
      if (live[callReturn[call] as number] === 1 && live[starts[callRule[call] as number] as number] === 1) return true;
    return false;
  };
  const todo = [...live.keys()].filter((state) => live[state] === 1);
  for (let state = todo.pop(); state !== undefined; state = todo.pop()) {
    for (const before of waiting[state] ?? []) {
      if (live[before] === 1 || !reaches(before)) continue;
      live[before] = 1;
      todo.push(before);
    }
  }
  return live;
}
