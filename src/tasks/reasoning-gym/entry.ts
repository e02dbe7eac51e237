/** One problem as reasoning-gym makes it. The wording comes from there at run time; nothing of it is kept here. */
export interface Entry {
  readonly task: string;
  readonly question: string;
  /** The generator's own answer; null where only its verifier knows. */
  readonly answer: string | null;
  readonly metadata: Readonly<Record<string, unknown>>;
  /** What makes it again, where it was imported: reasoning-gym's configuration with its seed, and the problem's index in it. */
  readonly config?: Readonly<Record<string, unknown>>;
  readonly index?: number;
}

/** What a model should say: thinking of which each step can be seen from a few tokens before it, then the answer alone. */
export interface Trace {
  readonly thinking: string;
  readonly answer: string;
}

/** Works a problem out in steps; null for one that it does not cover. */
export type TraceWriter = (entry: Entry) => Trace | null;
