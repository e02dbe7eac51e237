import { LongjingError } from "../errors/index.ts";
import type { CompiledGrammar } from "./compile.ts";

/**
 * What callers wait for: a set of stacks, shared as a graph. Each edge is a state that some caller goes on from, above the
 * stacks of that caller.
 */
export interface Stacks {
  readonly id: number;
  /** One of the stacks is empty: when the rule ends, the text may end. */
  readonly bottom: boolean;
  readonly edges: readonly Place[];
}

/** A state of a rule's automaton, above stacks of callers. */
export interface Place {
  readonly state: number;
  readonly stacks: Stacks;
}

/** Everywhere that the grammar may stand after some text. */
export interface Situation {
  /** Where the last byte led, one place a state. */
  readonly core: readonly Place[];
  /** Places that are reached from the core by calls and returns and that read a byte. */
  readonly readers: readonly Place[];
  /** The text may end here. */
  readonly mayEnd: boolean;
  /** By class: where a byte leads, null where it is not allowed, undefined where nobody has asked. */
  next: (Situation | null | undefined)[];
}

export const bottom: Stacks = { id: 0, bottom: true, edges: [] };

/** Situations and stacks that are remembered; more are found again. */
const mostRemembered = 20_000;
/** Places that one situation may have: beyond, the grammar is ambiguous without bound. */
const mostPlaces = 3_000;
/** Places and edges that may be looked at for one token: beyond, its request would keep all others waiting. */
const mostWork = 100_000;

/**
 * The pushdown automaton of a grammar, run on all its stacks at once. Equal situations are the same object, so that work done
 * for one is done for all sequences that reach it.
 */
export class Machine {
  readonly grammar: CompiledGrammar;
  readonly start: Situation;
  /** 1 for states that read a byte. [states] */
  readonly #reads: Uint8Array;
  readonly #stacks = new Map<string, Stacks>();
  readonly #situations = new Map<string, Situation>();
  #ids = 1;
  #work = 0;

  constructor(grammar: CompiledGrammar) {
    const { accepting, classes, next } = grammar;
    this.grammar = grammar;
    this.#reads = accepting.map((_, state) => Number(next.subarray(state * classes, (state + 1) * classes).some((to) => to >= 0)));
    this.start = this.situation([{ state: grammar.starts[0] as number, stacks: bottom }]);
  }

  /** A new token is looked at: the work for those before does not count against it. */
  begin(): void {
    this.#work = 0;
  }

  /** Places and edges that were looked at since `begin`. */
  get work(): number {
    return this.#work;
  }

  step(from: Situation, byte: number): Situation | null {
    const c = this.grammar.classOf[byte] as number;
    return from.next[c] ?? (from.next[c] === null ? null : this.#advance(from, c));
  }

  /** The situation of standing in all these places. */
  situation(places: readonly Place[]): Situation {
    const core = this.#merge(places);
    const key = this.#keyOfAll(core);
    const known = this.#situations.get(key);
    if (known !== undefined) return known;
    if (this.#situations.size >= mostRemembered || this.#stacks.size >= mostRemembered) this.#forget();
    const made: Situation = { core, ...this.#close(core), next: [] };
    this.#situations.set(key, made);
    return made;
  }

  #advance(from: Situation, c: number): Situation | null {
    const { next, classes } = this.grammar;
    this.#spend(from.readers.length);
    const places: Place[] = [];
    for (const { state, stacks } of from.readers) {
      const to = next[state * classes + c] as number;
      if (to >= 0) places.push({ state: to, stacks });
    }
    return (from.next[c] = places.length === 0 ? null : this.situation(places));
  }

  /** One place a state, by state. */
  #merge(places: readonly Place[]): Place[] {
    if (places.length === 1) return [...places];
    const byState = new Map<number, Place[]>();
    for (const place of places) {
      const same = byState.get(place.state);
      if (same === undefined) byState.set(place.state, [place]);
      else same.push(place);
    }
    return [...byState]
      .map(([state, same]) => ({ state, stacks: same.length === 1 ? (same[0] as Place).stacks : this.#union(same.map(({ stacks }) => stacks)) }))
      .sort((a, b) => a.state - b.state);
  }

  #union(all: readonly Stacks[]): Stacks {
    this.#spend(all.reduce((sum, { edges }) => sum + edges.length, 0));
    return this.#intern(all.some((stacks) => stacks.bottom), all.flatMap(({ edges }) => edges));
  }

  #intern(hasBottom: boolean, edges: readonly Place[]): Stacks {
    const byKey = new Map<number, Place>();
    for (const edge of edges) byKey.set(this.#keyOf(edge), edge);
    if (byKey.size > mostPlaces) throw tooAmbiguous();
    const key = `${hasBottom ? "+" : ""}${(byKey.size === 1 ? [...byKey.keys()] : Float64Array.from(byKey.keys()).sort()).join()}`;
    let stacks = this.#stacks.get(key);
    if (stacks === undefined) {
      stacks = key === "+" ? bottom : { id: this.#ids++, bottom: hasBottom, edges: [...byKey.values()] };
      this.#stacks.set(key, stacks);
    }
    return stacks;
  }

  #keyOfAll(core: readonly Place[]): string {
    return core.map((place) => this.#keyOf(place)).join();
  }

  /** A number of its own for each place. */
  #keyOf({ state, stacks }: Place): number {
    return stacks.id * this.grammar.accepting.length + state;
  }

  #close(core: readonly Place[]): { readonly readers: Place[]; readonly mayEnd: boolean } {
    const { grammar } = this;
    const readers: Place[] = [];
    let mayEnd = false;
    const seen = new Set<number>();
    const todo = [...core];
    for (let place = todo.pop(); place !== undefined; place = todo.pop()) {
      const { state, stacks } = place;
      const key = this.#keyOf(place);
      if (seen.has(key)) continue;
      seen.add(key);
      if (seen.size > mostPlaces) throw tooAmbiguous();
      this.#spend(1);
      if (this.#reads[state] === 1) readers.push(place);
      if (grammar.accepting[state] === 1) {
        mayEnd ||= stacks.bottom;
        this.#spend(stacks.edges.length);
        todo.push(...stacks.edges);
      }
      for (let call = grammar.callsFrom[state] as number; call < (grammar.callsFrom[state + 1] as number); call++) {
        const back = grammar.callReturn[call] as number;
        const callee = grammar.starts[grammar.callRule[call] as number] as number;
        // A call that is the last thing a rule does leaves nothing to come back for: lists grow no stack.
        todo.push({ state: callee, stacks: this.#isOver(back) ? stacks : this.#intern(false, [{ state: back, stacks }]) });
      }
    }
    return { readers, mayEnd };
  }

  #spend(work: number): void {
    this.#work += work;
    if (this.#work > mostWork) throw tooAmbiguous();
  }

  /** The rule ends here, and cannot go on. */
  #isOver(state: number): boolean {
    const { accepting, callsFrom } = this.grammar;
    return accepting[state] === 1 && callsFrom[state] === callsFrom[state + 1] && this.#reads[state] === 0;
  }

  #forget(): void {
    for (const situation of this.#situations.values()) situation.next = [];
    this.#situations.clear();
    this.#stacks.clear();
    this.start.next = [];
    this.#situations.set(this.#keyOfAll(this.start.core), this.start);
  }
}

export function tooAmbiguous(): LongjingError {
  return new LongjingError("bad_argument", "The constraint has too many readings of what was written", { hint: "Let alternatives differ in their first characters" });
}
