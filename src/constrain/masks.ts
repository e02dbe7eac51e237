import { bottom, Machine, tooAmbiguous, type Place, type Situation } from "./machine.ts";
import type { CompiledGrammar } from "./compile.ts";
import { liveGrammar } from "./live.ts";
import type { Vocabulary } from "./vocabulary.ts";

/** What a state allows whoever its callers are. */
interface Local {
  /** Tokens that end before its rule does, as bits or, where they are few, as ids. */
  readonly bits: Uint32Array | null;
  readonly ids: Int32Array;
  /** Nodes of the trie at which its rule may end: from there on the callers say. */
  readonly ends: Int32Array;
}

/** Words of masks that one grammar may remember. */
const mostWords = 4_000_000;
/** Nodes of the trie that may be looked at for one token. */
const mostNodes = 5_000_000;

/**
 * The tokens that a grammar allows in each situation. What does not depend on the callers of a rule is found once a state of
 * its automaton, by one walk over the vocabulary; only tokens that run past the end of the rule are looked at again for every
 * situation. Shared by all sequences of one grammar and one vocabulary.
 */
export class TokenMasks {
  readonly machine: Machine;
  readonly vocabulary: Vocabulary;
  readonly #words: number;
  readonly #locals = new Map<number, Local>();
  readonly #masks = new Map<Situation, Uint32Array>();
  #wordsHeld = 0;
  #nodes = 0;
  readonly #path: Situation[];
  readonly #scratch: Uint32Array;

  /** @throws LongjingError "bad_argument" when the vocabulary can write nothing that follows the grammar */
  constructor(grammar: CompiledGrammar, vocabulary: Vocabulary) {
    this.machine = new Machine(liveGrammar(grammar, vocabulary.single));
    this.vocabulary = vocabulary;
    this.#words = Math.ceil(vocabulary.size / 32);
    this.#path = new Array<Situation>(vocabulary.maxDepth + 1);
    this.#scratch = new Uint32Array(this.#words);
  }

  /** Bit i % 32 of word i >> 5 for every token i that may come next. The same array for the same situation: not to be changed. */
  mask(situation: Situation): Uint32Array {
    this.machine.begin();
    const known = this.#masks.get(situation);
    if (known !== undefined) return known;
    const made = new Uint32Array(this.#words);
    this.#nodes = 0;
    this.#fill(situation, made);
    this.#hold(made.length);
    this.#masks.set(situation, made);
    return made;
  }

  /** Where a token leads, or null where it is not allowed. */
  step(from: Situation, tokenId: number): Situation | null {
    const bytes = this.vocabulary.tokens[tokenId];
    if (bytes === null || bytes === undefined || bytes.length === 0) return null;
    this.machine.begin();
    let at: Situation | null = from;
    for (let i = 0; at !== null && i < bytes.length; i++) at = this.machine.step(at, bytes[i] as number);
    return at;
  }

  #fill(situation: Situation, into: Uint32Array): void {
    const seen = new Set<string>();
    const todo = [...situation.core];
    for (let place = todo.pop(); place !== undefined; place = todo.pop()) {
      const key = `${place.state}:${place.stacks.id}`;
      if (seen.has(key)) continue;
      seen.add(key);
      const { bits, ids, ends } = this.#local(place.state);
      if (bits !== null) for (let w = 0; w < into.length; w++) into[w] = (into[w] as number) | (bits[w] as number);
      for (const id of ids) setBit(into, id);
      this.#goOn(place, ends, into, todo);
    }
  }

  /** Tokens that run past the end of a place's rule. */
  #goOn({ stacks }: Place, ends: Int32Array, into: Uint32Array, todo: Place[]): void {
    if (ends.length === 0 || stacks.edges.length === 0) return;
    let first = 0;
    if (ends[0] === 0) {
      todo.push(...stacks.edges);
      first = 1;
    }
    if (first === ends.length) return;
    const callers = this.machine.situation(stacks.edges);
    for (let i = first; i < ends.length; i++) this.#walk(callers, ends[i] as number, into);
  }

  #local(state: number): Local {
    const known = this.#locals.get(state);
    if (known !== undefined) return known;
    const bits = this.#scratch.fill(0);
    const ends: number[] = [];
    const alone = this.machine.situation([{ state, stacks: bottom }]);
    if (alone.mayEnd) ends.push(0);
    const count = this.#walk(alone, 0, bits, ends);
    const few = count < this.#words;
    const made: Local = { bits: few ? null : bits.slice(), ids: few ? idsOf(bits) : new Int32Array(), ends: Int32Array.from(ends) };
    this.#hold((made.bits ?? made.ids).length + made.ends.length);
    this.#locals.set(state, made);
    return made;
  }

  /** Sets the tokens below a node that a situation allows, and notes the nodes at which it may end. Returns how many it set. */
  #walk(from: Situation, node: number, into: Uint32Array, ends?: number[]): number {
    const { machine } = this;
    const { classOf } = machine.grammar;
    const { byte, depth, after, tokensFrom, tokenIds } = this.vocabulary;
    const path = this.#path;
    const end = after[node] as number;
    const base = depth[node] as number;
    let count = 0;
    let nodes = 0;
    path[0] = from;
    for (let n = node + 1; n < end; nodes++) {
      const level = (depth[n] as number) - base;
      const above = path[level - 1] as Situation;
      const b = byte[n] as number;
      let to = above.next[classOf[b] as number];
      if (to === undefined) to = machine.step(above, b);
      if (to === null) {
        n = after[n] as number;
        continue;
      }
      path[level] = to;
      for (let t = tokensFrom[n] as number; t < (tokensFrom[n + 1] as number); t++) {
        setBit(into, tokenIds[t] as number);
        count++;
      }
      if (to.mayEnd) ends?.push(n);
      n++;
    }
    if ((this.#nodes += nodes) > mostNodes) throw tooAmbiguous();
    return count;
  }

  #hold(words: number): void {
    this.#wordsHeld += words;
    if (this.#wordsHeld < mostWords) return;
    this.#masks.clear();
    this.#locals.clear();
    this.#wordsHeld = words;
  }
}

function setBit(words: Uint32Array, bit: number): void {
  words[bit >> 5] = (words[bit >> 5] as number) | (1 << (bit & 31));
}

function idsOf(words: Uint32Array): Int32Array {
  const ids: number[] = [];
  for (const [w, word] of words.entries()) for (let rest = word; rest !== 0; rest &= rest - 1) ids.push(w * 32 + 31 - Math.clz32(rest & -rest));
  return Int32Array.from(ids);
}
