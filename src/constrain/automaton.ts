import { LongjingError } from "../errors/index.ts";
import { digitSets, type CharSet, type Expression } from "./expression.ts";
import { utf8, type ByteRanges } from "./utf8.ts";

/** Counts work, so that a hostile grammar ends soon and on every machine at the same place. */
export class Fuel {
  #left = 10_000_000;

  burn(amount: number): void {
    this.#left -= amount;
    if (this.#left < 0) throw tooComplex();
  }
}

export function tooComplex(facts: { readonly got?: unknown; readonly expected?: unknown; readonly where?: string } = {}): LongjingError {
  return new LongjingError("bad_argument", "The constraint is too complex", { ...facts, hint: "Fewer or shorter repetitions are the usual remedy" });
}

/** Bytes that no expression tells apart share a class. */
export interface ByteClasses {
  readonly count: number;
  /** [256] */
  readonly of: Uint8Array;
  /** The classes in a set's characters, byte by byte. */
  sequences(set: CharSet): readonly (readonly (readonly number[])[])[];
}

export function byteClasses(sets: ReadonlySet<CharSet>): ByteClasses {
  const encoded = new Map<CharSet, ByteRanges[]>([...sets].map((set) => [set, utf8(set)]));
  const ranges = new Map<string, readonly [number, number]>();
  for (const alternatives of encoded.values()) for (const bytes of alternatives) for (const range of bytes) ranges.set(range.join(), range);
  const of = new Uint8Array(256);
  const bySignature = new Map<string, number>();
  const starts = new Set([0, ...[...ranges.values()].flatMap(([low, high]) => [low, high + 1])]);
  for (let byte = 0; byte < 256; byte++) {
    if (!starts.has(byte)) {
      of[byte] = of[byte - 1] as number;
      continue;
    }
    const signature = [...ranges].flatMap(([key, [low, high]]) => (low <= byte && byte <= high ? [key] : [])).join(" ");
    if (!bySignature.has(signature)) bySignature.set(signature, bySignature.size);
    of[byte] = bySignature.get(signature) as number;
  }
  const classesOf = (range: readonly [number, number]): number[] => [...new Set(of.subarray(range[0], range[1] + 1))];
  const byRange = new Map([...ranges].map(([key, range]) => [key, classesOf(range)]));
  const sequences = new Map([...encoded].map(([set, alternatives]) => [set, alternatives.map((bytes) => bytes.map((range) => byRange.get(range.join()) as number[]))]));
  return { count: bySignature.size, of, sequences: (set) => sequences.get(set) as number[][][] };
}

/** A deterministic automaton whose edges read a byte or call a rule. State 0 is where it starts. */
export interface Dfa {
  /** Next state by state and class, or -1. [states, classes] */
  readonly next: number[];
  readonly accepting: boolean[];
  /** By state: rules that may be called, and where they return to. */
  readonly calls: (readonly [rule: number, to: number])[][];
}

interface NfaState {
  readonly free: number[];
  readonly bytes: ByteEdge[];
  readonly calls: { readonly rule: number; readonly to: number }[];
}

interface ByteEdge {
  readonly classes: readonly number[];
  readonly to: number;
}

/** A small automaton that is put into larger ones many times. */
interface Fragment {
  /** By state, one edge a target. */
  readonly bytes: readonly (readonly ByteEdge[])[];
  readonly dfa: Dfa;
}

/** Characters whose bytes combine in more ways than this are worth a fragment. */
const fewSequences = 4;

/** From expressions to automata, by Thompson's construction and the subset construction. */
export class AutomatonBuilder {
  readonly #classes: ByteClasses;
  readonly #ruleIds: ReadonlyMap<string, number>;
  readonly #fuel: Fuel;
  readonly #fragments = new Map<Expression | CharSet, Fragment>();

  constructor(classes: ByteClasses, ruleIds: ReadonlyMap<string, number>, fuel: Fuel) {
    this.#classes = classes;
    this.#ruleIds = ruleIds;
    this.#fuel = fuel;
  }

  dfa(expression: Expression): Dfa {
    const nfa: NfaState[] = [];
    const start = this.#state(nfa);
    return this.#determinize(nfa, start, this.#add(nfa, expression, start));
  }

  #state(nfa: NfaState[]): number {
    this.#fuel.burn(8);
    return nfa.push({ free: [], bytes: [], calls: [] }) - 1;
  }

  /** Adds what an expression says from a state on; returns where it ends. */
  #add(nfa: NfaState[], expression: Expression, from: number): number {
    switch (expression.type) {
      case "chars":
        return this.#addChars(nfa, expression.set, from);
      case "sequence":
        return expression.items.reduce((at, item) => this.#add(nfa, item, at), from);
      case "choice": {
        const to = this.#state(nfa);
        for (const item of expression.items) {
          const start = this.#state(nfa);
          nfa[from]?.free.push(start);
          nfa[this.#add(nfa, item, start)]?.free.push(to);
        }
        return to;
      }
      case "repeat":
        return this.#addRepeat(nfa, expression.item, expression.min, expression.max, from);
      case "rule": {
        const to = this.#state(nfa);
        nfa[from]?.calls.push({ rule: this.#ruleIds.get(expression.name) as number, to });
        return to;
      }
      case "multiple":
        return this.#addMultiple(nfa, expression.of, from);
      default:
        return this.#addProduct(nfa, this.dfa(expression.item), this.dfa(expression.other), expression.type === "and", from);
    }
  }

  #addChars(nfa: NfaState[], set: CharSet, from: number): number {
    const sequences = this.#classes.sequences(set);
    if (sequences.length <= fewSequences) return this.#addSequences(nfa, sequences, from);
    const fragment = this.#fragment(set, (inner, start) => this.#addSequences(inner, sequences, start));
    return this.#addFragment(nfa, fragment, from);
  }

  #addSequences(nfa: NfaState[], sequences: readonly (readonly (readonly number[])[])[], from: number): number {
    const to = this.#state(nfa);
    for (const bytes of sequences) {
      let at = from;
      for (const [i, classes] of bytes.entries()) {
        const next = i === bytes.length - 1 ? to : this.#state(nfa);
        nfa[at]?.bytes.push({ classes, to: next });
        at = next;
      }
    }
    return to;
  }

  /** A state for each remainder: digits that leave r leave, with one more digit d, what 10r + d leaves. */
  #addMultiple(nfa: NfaState[], of: number, from: number): number {
    const to = this.#state(nfa);
    const remainders = Array.from({ length: of }, () => this.#state(nfa));
    const read = digitSets.map((digit) => this.#classes.sequences(digit).flat(2));
    for (const [remainder, state] of remainders.entries()) {
      for (const [digit, classes] of read.entries()) nfa[state]?.bytes.push({ classes, to: remainders[(10 * remainder + digit) % of] as number });
    }
    nfa[from]?.free.push(remainders[0] as number);
    nfa[remainders[0] as number]?.free.push(to);
    return to;
  }

  #addRepeat(nfa: NfaState[], item: Expression, min: number, max: number, from: number): number {
    // The last copy of what may be repeated for ever leads back to its own beginning.
    const copies = max === Infinity ? Math.max(min, 1) : max;
    const fragment = copies < 2 ? null : this.#fragment(item, (inner, start) => this.#add(inner, item, start));
    const add = (at: number): number => (fragment === null ? this.#add(nfa, item, this.#step(nfa, at)) : this.#addFragment(nfa, fragment, at));
    let at = from;
    const to = this.#state(nfa);
    const alone = max === Infinity ? copies - 1 : min;
    for (let i = 0; i < alone; i++) at = add(at);
    if (max === Infinity) {
      const loop = this.#step(nfa, at);
      const end = this.#step(nfa, add(loop));
      nfa[end]?.free.push(loop, to);
      if (min === 0) nfa[loop]?.free.push(to);
      return to;
    }
    for (let i = min; i < max; i++) {
      nfa[at]?.free.push(to);
      at = add(at);
    }
    nfa[at]?.free.push(to);
    return to;
  }

  #fragment(key: Expression | CharSet, add: (nfa: NfaState[], start: number) => number): Fragment {
    const known = this.#fragments.get(key);
    if (known !== undefined) return known;
    const nfa: NfaState[] = [];
    const start = this.#state(nfa);
    const dfa = minimize(this.#determinize(nfa, start, add(nfa, start)), this.#classes.count, this.#fuel);
    const bytes = dfa.calls.map((_, state) => {
      const byTarget = new Map<number, number[]>();
      for (let c = 0; c < this.#classes.count; c++) {
        const to = dfa.next[state * this.#classes.count + c] as number;
        if (to >= 0) byTarget.set(to, [...(byTarget.get(to) ?? []), c]);
      }
      return [...byTarget].map(([to, classes]) => ({ classes, to }));
    });
    const made = { bytes, dfa };
    this.#fragments.set(key, made);
    return made;
  }

  #addFragment(nfa: NfaState[], { bytes, dfa }: Fragment, from: number): number {
    const base = nfa.length;
    for (const edges of bytes) {
      const state = this.#state(nfa);
      for (const { classes, to } of edges) nfa[state]?.bytes.push({ classes, to: base + to });
      for (const [rule, to] of dfa.calls[state - base] ?? []) nfa[state]?.calls.push({ rule, to: base + to });
      this.#fuel.burn(edges.length);
    }
    nfa[from]?.free.push(base);
    const end = this.#state(nfa);
    for (const [state, accepting] of dfa.accepting.entries()) if (accepting) nfa[base + state]?.free.push(end);
    return end;
  }

  /** A state of its own after `from`, so that no loop comes back into what stands before. */
  #step(nfa: NfaState[], from: number): number {
    const to = this.#state(nfa);
    nfa[from]?.free.push(to);
    return to;
  }

  #addProduct(nfa: NfaState[], a: Dfa, b: Dfa, both: boolean, from: number): number {
    const { count } = this.#classes;
    const to = this.#state(nfa);
    const ids = new Map<string, number>();
    const todo: (readonly [number, number, number])[] = [];
    const visit = (x: number, y: number): number => {
      const key = `${x},${y}`;
      const known = ids.get(key);
      if (known !== undefined) return known;
      const id = this.#state(nfa);
      ids.set(key, id);
      todo.push([x, y, id]);
      if (a.accepting[x] === true && (b.accepting[y] === true) === both) nfa[id]?.free.push(to);
      return id;
    };
    nfa[from]?.free.push(visit(0, 0));
    for (let pair = todo.pop(); pair !== undefined; pair = todo.pop()) {
      const [x, y, id] = pair;
      this.#fuel.burn(count);
      for (let c = 0; c < count; c++) {
        const [nextX, nextY] = [a.next[x * count + c] as number, y < 0 ? -1 : (b.next[y * count + c] as number)];
        if (nextX >= 0 && (nextY >= 0 || !both)) nfa[id]?.bytes.push({ classes: [c], to: visit(nextX, nextY) });
      }
    }
    return to;
  }

  #determinize(nfa: readonly NfaState[], start: number, end: number): Dfa {
    const { count } = this.#classes;
    const dfa: Dfa = { next: [], accepting: [], calls: [] };
    const ids = new Map<string, number>();
    const todo: (readonly [number, readonly number[]])[] = [];
    const visit = (states: Iterable<number>): number => {
      const subset = this.#closure(nfa, states);
      const key = subset.join();
      const known = ids.get(key);
      if (known !== undefined) return known;
      this.#fuel.burn(count);
      const id = ids.size;
      ids.set(key, id);
      dfa.accepting.push(subset.includes(end));
      dfa.calls.push([]);
      for (let c = 0; c < count; c++) dfa.next.push(-1);
      todo.push([id, subset]);
      return id;
    };
    visit([start]);
    for (let item = todo.pop(); item !== undefined; item = todo.pop()) {
      const [id, subset] = item;
      const byClass = new Map<number, Set<number>>();
      const byRule = new Map<number, Set<number>>();
      const into = (targets: Map<number, Set<number>>, key: number, to: number): void => {
        this.#fuel.burn(1);
        const known = targets.get(key);
        if (known === undefined) targets.set(key, new Set([to]));
        else known.add(to);
      };
      for (const state of subset) {
        for (const { classes, to } of nfa[state]?.bytes ?? []) for (const c of classes) into(byClass, c, to);
        for (const { rule, to } of nfa[state]?.calls ?? []) into(byRule, rule, to);
      }
      for (const [c, targets] of byClass) dfa.next[id * count + c] = visit(targets);
      for (const [rule, targets] of byRule) dfa.calls[id]?.push([rule, visit(targets)]);
    }
    return dfa;
  }

  /** The states that are reached without reading anything, those that matter alone, ascending. */
  #closure(nfa: readonly NfaState[], states: Iterable<number>): number[] {
    const seen = new Set(states);
    for (const state of seen) {
      this.#fuel.burn(3); // it is also sorted, and written into a key
      for (const to of nfa[state]?.free ?? []) seen.add(to);
    }
    return [...seen].sort((a, b) => a - b);
  }
}

/** The same with the fewest states (Moore): states are told apart by whether they accept, and then by where they lead. */
function minimize(dfa: Dfa, classes: number, fuel: Fuel): Dfa {
  const count = dfa.accepting.length;
  let blocks = dfa.accepting.map(Number);
  let found = new Set(blocks).size;
  for (;;) {
    fuel.burn((count * classes) >> 2);
    const ids = new Map<string, number>();
    const refined = blocks.map((block, state) => {
      const next = dfa.next.slice(state * classes, (state + 1) * classes).map((to) => (to < 0 ? -1 : blocks[to]));
      const calls = (dfa.calls[state] ?? []).map(([rule, to]) => `${rule}:${blocks[to]}`).sort();
      const key = `${block};${next.join()};${calls.join()}`;
      return ids.get(key) ?? (ids.set(key, ids.size), ids.size - 1);
    });
    blocks = refined;
    if (ids.size === found) break;
    found = ids.size;
  }
  // State 0 is the first of its block, so its block is 0.
  const firsts = Array.from({ length: found }, (_, block) => blocks.indexOf(block));
  const blockOf = (to: number): number => (to < 0 ? -1 : (blocks[to] as number));
  return {
    next: firsts.flatMap((state) => dfa.next.slice(state * classes, (state + 1) * classes).map(blockOf)),
    accepting: firsts.map((state) => dfa.accepting[state] === true),
    calls: firsts.map((state) => (dfa.calls[state] ?? []).map(([rule, to]) => [rule, blockOf(to)] as const)),
  };
}
