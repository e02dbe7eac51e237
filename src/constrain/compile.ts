import { LongjingError } from "../errors/index.ts";
import { AutomatonBuilder, byteClasses, Fuel, tooComplex, type Dfa } from "./automaton.ts";
import { digitSets, type CharSet, type Expression, type Grammar } from "./expression.ts";

/**
 * A grammar as one automaton a rule, over bytes. Plain arrays: it can be handed from one thread to another. States of all
 * rules are numbered together.
 */
export interface CompiledGrammar {
  /** Class of each byte. [256] */
  readonly classOf: Uint8Array;
  readonly classes: number;
  /** Next state by state and class, or -1. [states, classes] */
  readonly next: Int32Array;
  /** 1 where a rule may end. [states] */
  readonly accepting: Uint8Array;
  /** Calls of state s are entries callsFrom[s] to callsFrom[s + 1] of the next two. [states + 1] */
  readonly callsFrom: Int32Array;
  readonly callRule: Int32Array;
  readonly callReturn: Int32Array;
  /** First state of each rule; the grammar begins with rule 0. [rules] */
  readonly starts: Int32Array;
}

/** Entries of `next` that we are willing to hold. */
const mostEntries = 4_000_000;

/**
 * @throws LongjingError "bad_argument" for a rule that is missing, for left recursion, and for a grammar that is too complex
 */
export function compileGrammar(grammar: Grammar): CompiledGrammar {
  const fuel = new Fuel();
  const { rules, sets } = reachable(grammar);
  const ids = new Map([...rules.keys()].map((name, id) => [name, id]));
  const classes = byteClasses(sets);
  const builder = new AutomatonBuilder(classes, ids, fuel);
  const dfas: Dfa[] = [];
  let entries = 0;
  for (const expression of rules.values()) {
    const dfa = builder.dfa(expression);
    entries += dfa.next.length;
    if (entries > mostEntries) throw tooComplex({ got: `more than ${Math.floor(mostEntries / classes.count)} states` });
    dfas.push(dfa);
  }
  forbidLeftRecursion(dfas, [...rules.keys()]);
  return link(dfas, classes.of, classes.count);
}

/** The rules that the root needs, the root first, and the sets of characters in them. */
function reachable({ root, rules }: Grammar): { rules: Map<string, Expression>; sets: Set<CharSet> } {
  const found = new Map<string, Expression>();
  const sets = new Set<CharSet>();
  const names = new Set([root]);
  const visit = (expression: Expression): void => {
    if (expression.type === "chars") sets.add(expression.set);
    else if (expression.type === "rule") names.add(expression.name);
    else if (expression.type === "multiple") digitSets.forEach((digit) => sets.add(digit));
    else if (expression.type === "sequence" || expression.type === "choice") expression.items.forEach(visit);
    else {
      visit(expression.item);
      if (expression.type !== "repeat") visit(expression.other);
    }
  };
  for (const name of names) {
    const expression = rules.get(name);
    if (expression === undefined) throw new LongjingError("bad_argument", "The grammar has no such rule", { got: name });
    found.set(name, expression);
    visit(expression);
  }
  return { rules: found, sets };
}

/** A rule that can call itself before anything is read would call itself for ever. */
function forbidLeftRecursion(dfas: readonly Dfa[], names: readonly string[]): void {
  const empty = emptiable(dfas);
  const left = dfas.map((dfa) => {
    const called = new Set<number>();
    for (const state of freeStates(dfa, empty)) for (const [rule] of dfa.calls[state] ?? []) called.add(rule);
    return called;
  });
  const state = new Uint8Array(dfas.length); // 1 on the path, 2 done
  for (const root of dfas.keys()) {
    const path: { readonly rule: number; readonly rest: Iterator<number> }[] = [];
    const enter = (rule: number): void => {
      if (state[rule] === 1) throw new LongjingError("bad_argument", "A rule begins with itself", { got: names[rule], hint: "Write left recursion as a repetition" });
      if (state[rule] === 2) return;
      state[rule] = 1;
      path.push({ rule, rest: (left[rule] as Set<number>).values() });
    };
    enter(root);
    for (let top = path.at(-1); top !== undefined; top = path.at(-1)) {
      const next = top.rest.next();
      if (next.done !== true) enter(next.value);
      else {
        state[top.rule] = 2;
        path.pop();
      }
    }
  }
}

/** Which rules the empty text follows. */
function emptiable(dfas: readonly Dfa[]): boolean[] {
  const empty = dfas.map(() => false);
  for (let changed = true; changed; ) {
    changed = false;
    for (const [rule, dfa] of dfas.entries()) {
      if (empty[rule] === true || ![...freeStates(dfa, empty)].some((state) => dfa.accepting[state])) continue;
      empty[rule] = changed = true;
    }
  }
  return empty;
}

/** States of a rule that are reached before anything is read. */
function freeStates(dfa: Dfa, empty: readonly boolean[]): Set<number> {
  const states = new Set([0]);
  for (const state of states) for (const [rule, to] of dfa.calls[state] ?? []) if (empty[rule] === true) states.add(to);
  return states;
}

function link(dfas: readonly Dfa[], classOf: Uint8Array, classes: number): CompiledGrammar {
  const starts = new Int32Array(dfas.length);
  let states = 0;
  for (const [rule, { accepting }] of dfas.entries()) {
    starts[rule] = states;
    states += accepting.length;
  }
  const next = new Int32Array(states * classes);
  const accepting = new Uint8Array(states);
  const callsFrom = new Int32Array(states + 1);
  const callRule: number[] = [];
  const callReturn: number[] = [];
  for (const [rule, dfa] of dfas.entries()) {
    const start = starts[rule] as number;
    dfa.next.forEach((to, i) => (next[start * classes + i] = to < 0 ? -1 : start + to));
    for (const [state, calls] of dfa.calls.entries()) {
      accepting[start + state] = Number(dfa.accepting[state]);
      for (const [called, to] of calls) {
        callRule.push(called);
        callReturn.push(start + to);
      }
      callsFrom[start + state + 1] = callRule.length;
    }
  }
  return { classOf, classes, next, accepting, callsFrom, callRule: Int32Array.from(callRule), callReturn: Int32Array.from(callReturn), starts };
}
