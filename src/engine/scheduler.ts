import { LongjingError } from "../errors/index.ts";
import type { Chunk } from "./chunk.ts";
import { FairQueue } from "./fair-queue.ts";
import type { ModelParameters } from "./model-parameters.ts";
import type { ModelRunner } from "./model-runner.ts";
import { Pauses } from "./pauses.ts";
import { PrefixCache } from "./prefix-cache.ts";
import { Rows, type RowGroup } from "./rows.ts";
import { samplerScratch, type SamplerScratch } from "./sampler.ts";
import type { Sequence } from "./sequence.ts";
import { checkSpeculative, promptLookup, type SpeculativeConfig } from "./speculation.ts";
import type { EngineStats, FinishReason } from "./types.ts";

/** What the scheduler needs of a ModelRunner. */
export type Runner = Pick<ModelRunner, "config" | "options" | "floatsPerToken" | "forward" | "extend" | "draft" | "copyRow" | "readRow" | "writeRow"> & Partial<Pick<ModelRunner, "rowMath">>;

export interface SchedulerOptions {
  /** Run each step on this thread: fastest, for training loops that have nothing else to serve. Default false. */
  readonly blocking?: boolean;
  /**
   * Tokens that one step computes at most, prompts and completions together; longer prompts take several steps, so that nobody
   * waits long for the next token. Default: 512, or four for each row.
   */
  readonly max_num_batched_tokens?: number;
  /** Memory for prefixes that later requests may share. Default 0: only what runs at the same time is shared. */
  readonly kv_cache_memory_bytes?: number;
  /** Tokens in a block of a kept prefix. Default 16. */
  readonly block_size?: number;
  /**
   * Guess tokens while one sequence decodes alone, when a step that checks several costs little more than one. The draws stay what
   * they would have been; the logits are those of several tokens at a time, in whose last bits kernels that round activations
   * (weights in blocks) may find another token where two are nearly as likely. Default: not.
   */
  readonly speculative?: SpeculativeConfig;
}

/**
 * How many tokens of which sequences a step computes: never one alone of a prompt. The library's kernels have a way of their own for a single token, whose
 * sums end in other bits, and kernels that round activations make much of a bit. So the tokens of a prompt are always computed
 * several at a time, those of a completion one at a time, and what comes out is the same to the bit, however it was divided.
 */
type Chunks = Map<Sequence, number>;

const smallestChunk = 2;

// All logits that a step is asked for lie in memory at once: 64 rows of the largest vocabularies are some 40 MB.
const mostScored = 64;

/** A prefix that a sequence copies from another's row, once that has computed it; the logits too where it is all of both. */
interface Loan {
  readonly from: Sequence;
  readonly to: Sequence;
  readonly tokens: number;
  readonly whole: boolean;
}

type Counts = { -readonly [K in keyof Omit<EngineStats, "num_requests_running" | "num_requests_waiting" | "kv_cache_usage_perc">]: number };

/**
 * Continuous batching. Each step admits waiting sequences in turns, and computes the next token of every sequence whose prompt is complete and
 * what the token budget allows of prompts, in one run where the kernels can. What a sequence says does not depend on what else runs.
 */
export class Scheduler {
  readonly waiting = new FairQueue<Sequence>();
  readonly #runner: Runner;
  readonly #rows: Rows<Sequence>;
  readonly #blocking: boolean;
  readonly #budget: number;
  readonly #block: number;
  readonly #cache: PrefixCache | null;
  #scratchMade: SamplerScratch | undefined;
  readonly #mask: Uint32Array;
  readonly #speculative: SpeculativeConfig | null;
  readonly #counts: Counts = { prompt_tokens: 0, generation_tokens: 0, prefix_cache_queries: 0, prefix_cache_hits: 0, spec_decode_num_drafts: 0, spec_decode_num_draft_tokens: 0, spec_decode_num_accepted_tokens: 0 };
  readonly #pauses: Pauses;
  #leaving: Sequence[] = [];

  constructor(runner: Runner, options: SchedulerOptions) {
    const { max_num_seqs } = runner.options;
    const { blocking = false, max_num_batched_tokens = Math.max(512, 4 * max_num_seqs), kv_cache_memory_bytes = 0, block_size = 16, speculative = null } = options;
    if (speculative) checkSpeculative(speculative, runner.options.mtp ?? false);
    // All rows but one may decode, and three tokens of a prompt can always be divided so that none is left alone.
    const least = max_num_seqs - 1 + smallestChunk + 1;
    if (max_num_batched_tokens < least) throw new LongjingError("bad_argument", "A step has no room for prompts", { where: "max_num_batched_tokens", got: max_num_batched_tokens, expected: `at least ${least}, for max_num_seqs ${max_num_seqs}` });
    this.#runner = runner;
    this.#rows = new Rows((from, to, tokens) => runner.copyRow(from, to, tokens));
    this.#pauses = new Pauses({ max_model_len: runner.options.max_model_len, holds: (sequence) => this.#rows.all[sequence.row] === sequence, leave: (sequence, reason) => this.#leave(sequence, reason) });
    this.#blocking = blocking;
    this.#budget = max_num_batched_tokens;
    this.#block = block_size;
    this.#speculative = speculative;
    this.#cache = kv_cache_memory_bytes > 0 ? new PrefixCache({ block_size, floatsPerToken: runner.floatsPerToken, bytes: kv_cache_memory_bytes }) : null;
    this.#mask = new Uint32Array(Math.ceil(runner.config.vocab_size / 32));
  }

  /** Made when a step has run: by then the runner knows its kernels. */
  get #scratch(): SamplerScratch {
    return (this.#scratchMade ??= samplerScratch(this.#runner.config.vocab_size, this.#runner.rowMath?.()));
  }

  get #vocabulary(): number {
    return this.#runner.config.vocab_size;
  }

  get running(): number {
    return this.#rows.all.length;
  }

  /** Whether a step would do nothing: all that run wait for what follows their turns. */
  get idle(): boolean {
    const admits = this.waiting.size > 0 && this.running < this.#runner.options.max_num_seqs;
    return !admits && !this.#pauses.heard && this.#rows.all.every((s) => s.paused && !s.aborted);
  }

  /** Resolves when a step may have something to do. */
  change(): Promise<void> {
    return this.#pauses.change();
  }

  /** Says that there may be something to do: a new request, the end of the engine. */
  wake(): void {
    this.#pauses.wake();
  }

  /** Whether any sequence, waiting or running, has this adapter. */
  uses(adapter: string): boolean {
    return this.#rows.all.some((s) => s.adapter === adapter) || this.waiting.some((s) => s.adapter === adapter);
  }

  stats(): EngineStats {
    const { max_num_seqs, max_model_len } = this.#runner.options;
    const held = this.#rows.all.reduce((n, { computed }) => n + computed, 0);
    return { num_requests_running: this.running, num_requests_waiting: this.waiting.size, kv_cache_usage_perc: held / (max_num_seqs * max_model_len), ...this.#counts };
  }

  /** Forgets kept prefixes: the parameters have changed. */
  clearCache(): void {
    this.#cache?.clear();
  }

  /** The step failed for all that took part: each learns of it. */
  fail(error: unknown): void {
    for (const sequence of [...this.#rows.all.splice(0), ...this.waiting.take(() => true)]) sequence.fail(error);
    this.#leaving = [];
  }

  /** @param weights of an adapter */
  async step(weights: (adapter: string) => ModelParameters): Promise<void> {
    this.#pauses.hear();
    this.#dropAborted();
    const { chunks, loans } = this.#schedule();
    const guessed = await this.#speculate(weights);
    if (guessed) chunks.delete(guessed);
    for (const group of this.#rows.groups()) await this.#forward(weights(group.adapter), group, chunks, loans.filter((l) => l.whole));
    for (const { from, to, tokens } of loans.filter((l) => !l.whole)) {
      this.#runner.copyRow(from.row, to.row, tokens);
      this.#found(to, tokens);
    }
    this.#removeFinished();
  }

  #dropAborted(): void {
    for (const sequence of this.waiting.take((s) => s.aborted)) sequence.finish("abort");
    for (let row = this.running - 1; row >= 0; row--) {
      const sequence = this.#rows.all[row]!;
      if (sequence.aborted) this.#leave(sequence, "abort");
    }
  }

  /** Divides the step's tokens: one for each that decodes, then prompts under way, then new ones. */
  #schedule(): { chunks: Chunks; loans: Loan[] } {
    const running = this.#rows.all;
    const chunks: Chunks = new Map();
    const loans: Loan[] = [];
    let budget = this.#budget;
    let scorable = mostScored;
    const compute = (sequence: Sequence): void => {
      const most = Math.min(sequence.pending, budget, sequence.scored ? scorable : Infinity);
      const count = sequence.pending - most === 1 ? most - 1 : most;
      if (count < smallestChunk) return;
      budget -= count;
      if (sequence.scored) scorable -= count;
      chunks.set(sequence, count);
    };
    for (const sequence of running) {
      if (sequence.pending !== 1) continue;
      chunks.set(sequence, 1);
      budget--;
    }
    for (const sequence of running) if (sequence.pending > 1) compute(sequence);
    const admitted: Sequence[] = [];
    const kept = new Map<Sequence, readonly Float32Array[]>();
    while (budget > 0 && running.length + admitted.length < this.#runner.options.max_num_seqs) {
      const sequence = this.waiting.shift();
      if (!sequence) break;
      this.#counts.prompt_tokens += sequence.prompt;
      // Of what was computed before there are no logits.
      const blocks = (sequence.scored ? null : this.#cache?.match(sequence.namespace, sequence.tokens.slice(0, -smallestChunk))) ?? [];
      const loan = this.#loan(sequence, [...running, ...admitted], chunks, blocks.length * this.#block);
      admitted.push(sequence);
      if (loan) {
        loans.push(loan);
        continue;
      }
      kept.set(sequence, blocks);
      this.#found(sequence, blocks.length * this.#block);
      compute(sequence);
    }
    this.#seat(admitted, chunks, kept);
    return { chunks, loans };
  }

  /** The longest prefix of `sequence` in another's row, if it beats `least` tokens and is worth the copy. */
  #loan(sequence: Sequence, others: readonly Sequence[], chunks: Chunks, least: number): Loan | null {
    let loan: Loan | null = null;
    for (const from of others) {
      if (from.namespace !== sequence.namespace || sequence.scored) continue;
      const chunk = chunks.get(from) ?? 0;
      const limit = from.prompt < smallestChunk ? 0 : Math.min(from.computed + chunk, from.prompt, sequence.prompt);
      if (limit <= (loan?.tokens ?? least)) continue;
      const common = commonPrefix(from.tokens, sequence.tokens, limit);
      // The last tokens are computed, for their logits, unless the very logits are there in this step.
      const whole = from.computed + chunk === from.prompt && chunk > 0 && common === sequence.prompt && from.prompt === common;
      const tokens = whole ? common : Math.min(common, sequence.prompt - smallestChunk);
      if (tokens > (loan?.tokens ?? least) && (tokens >= this.#block || whole)) loan = { from, to: sequence, tokens, whole };
    }
    return loan;
  }

  #found(sequence: Sequence, tokens: number): void {
    sequence.computed = tokens;
    // Of a prompt that was found whole the last token counts as computed, as everywhere.
    sequence.cached = Math.min(tokens, sequence.prompt - 1);
    this.#counts.prefix_cache_queries += sequence.prompt;
    this.#counts.prefix_cache_hits += sequence.cached;
  }

  /** Gives rows to new sequences, fresh prompts of like length side by side, and fills in the prefixes that were kept. */
  #seat(admitted: readonly Sequence[], chunks: Chunks, kept: ReadonlyMap<Sequence, readonly Float32Array[]>): void {
    const fresh = (s: Sequence): number => (s.computed === 0 ? (chunks.get(s) ?? 0) : 0);
    for (const adapter of new Set(admitted.map((s) => s.adapter)))
      this.#rows.insert(adapter, admitted.filter((s) => s.adapter === adapter).toSorted((a, b) => fresh(b) - fresh(a)));
    for (const [{ row }, blocks] of kept) for (const [i, block] of blocks.entries()) this.#runner.writeRow(row, i * this.#block, this.#block, block);
  }

  /**
   * Computes the chunks of a group's rows.
   * @param twins sequences of the very prompts that are finished here
   */
  async #forward(weights: ModelParameters, { start, end }: RowGroup, chunks: Chunks, twins: readonly Loan[]): Promise<void> {
    let [first, last] = [start, end];
    while (first < last && !chunks.has(this.#rows.all[first]!)) first++;
    while (last > first && !chunks.has(this.#rows.all[last - 1]!)) last--;
    if (first === last) return;
    const members = this.#rows.all.slice(first, last);
    const parts = members.map((sequence): Chunk => {
      const { tokens, computed, pending, scored } = sequence;
      const count = chunks.get(sequence) ?? 0;
      return { token_ids: tokens.slice(computed, computed + count), past: computed, wanted: scored && count > 1 ? count : Number(count === pending) };
    });
    const logits = await this.#runner.forward(weights, first, parts, this.#blocking);
    let at = 0;
    for (const [i, sequence] of members.entries()) {
      const { token_ids: { length }, wanted = 1 } = parts[i]!;
      if (length === 0) continue;
      const complete = length === sequence.pending;
      sequence.computed += length;
      if (sequence.scored) sequence.read(logits.subarray(at * this.#vocabulary, (at + wanted) * this.#vocabulary), this.#vocabulary, this.#scratch);
      at += wanted;
      if (complete) this.#complete(sequence, logits, at - 1, twins);
    }
  }

  /** All tokens of a sequence are computed, and of its twins so. */
  #complete(sequence: Sequence, logits: Float32Array, i: number, twins: readonly Loan[]): void {
    for (const { to } of twins.filter((l) => l.from === sequence)) {
      this.#runner.copyRow(sequence.row, to.row, sequence.prompt);
      this.#found(to, sequence.prompt);
      this.#accept(to, logits, i);
    }
    this.#accept(sequence, logits, i);
  }

  /**
   * Checks guessed tokens of the sequence that decodes alone, and gives it; null where there is nothing to check. Speculative sampling
   * (Leviathan et al., arXiv 2211.17192) takes a certain guess with the probability that the model gives it, and otherwise draws
   * from the rest. To draw as ever, and to go on while the draws are the guesses, is that rule, and with the very draws that
   * there would have been without guesses.
   */
  async #speculate(weights: (adapter: string) => ModelParameters): Promise<Sequence | null> {
    const ready = this.#speculative ? this.#rows.all.filter((s) => s.pending === 1) : [];
    const [sequence] = ready;
    if (!sequence || ready.length > 1) return null;
    const guesses = await this.#guesses(sequence, weights(""));
    if (guesses.length === 0) return null;
    const logits = await this.#runner.extend(weights(sequence.adapter), sequence.row, sequence.computed, [sequence.tokens.at(-1)!, ...guesses], guesses.length + 1, this.#blocking);
    this.#counts.spec_decode_num_drafts++;
    this.#counts.spec_decode_num_draft_tokens += guesses.length;
    for (let i = 0; i <= guesses.length; i++) {
      sequence.computed++;
      const token = this.#accept(sequence, logits, i);
      if (token === undefined || token !== guesses[i]) break;
      this.#counts.spec_decode_num_accepted_tokens++;
      if (sequence.finished) break;
    }
    return sequence;
  }

  /** No more than the sequence may still say, but for the token that follows them all. */
  async #guesses(sequence: Sequence, base: ModelParameters): Promise<readonly number[]> {
    const { method, num_speculative_tokens, prompt_lookup_max, prompt_lookup_min } = this.#speculative!;
    const count = Math.min(num_speculative_tokens, sequence.remaining - 1);
    if (count <= 0) return [];
    if (method === "ngram") return promptLookup(sequence.tokens, count, prompt_lookup_max, prompt_lookup_min);
    // The module lags by a token; one that is alone has none before it to see.
    if (sequence.computed === 0) return [];
    const logits = await this.#runner.draft(base, { row: sequence.row, tokens: sequence.tokens, past: sequence.drafted }, this.#blocking);
    sequence.drafted = sequence.computed;
    return [this.#scratch.math.argmax(logits)];
  }

  /** Draws from row `i` of the logits; undefined where that fails. */
  #accept(sequence: Sequence, logits: Float32Array, i: number): number | undefined {
    if (sequence.computed === sequence.prompt && sequence.prompt >= smallestChunk) this.#keep(sequence);
    try {
      if (sequence.scored && sequence.computed === sequence.prompt) sequence.endPrompt();
      if (sequence.remaining === 0) return void this.#leaving.push(sequence);
      const token = sequence.accept(logits.subarray(i * this.#vocabulary, (i + 1) * this.#vocabulary), this.#scratch, this.#mask);
      this.#counts.generation_tokens++;
      if (sequence.finished) this.#leaving.push(sequence);
      return token;
    } catch (error) {
      // A constraint that fails, or leaves nothing to draw, is the fault of its own request.
      sequence.fail(error);
      this.#leaving.push(sequence);
      return undefined;
    }
  }

  /** Keeps a prompt for those that begin alike. What was said is not kept: it was computed one token at a time. */
  #keep({ row, namespace, tokens, computed }: Sequence): void {
    this.#cache?.store(namespace, tokens.slice(0, computed), (start, into) => this.#runner.readRow(row, start, this.#block, into));
  }

  #removeFinished(): void {
    // From the last row on, so that none is moved that leaves too.
    for (const sequence of this.#leaving.splice(0).toSorted((a, b) => b.row - a.row)) {
      const reason = sequence.finished;
      if (reason && sequence.request.next) this.#pauses.ask(sequence, reason);
      else this.#leave(sequence, reason);
    }
  }

  /** @param reason null where the sequence has failed */
  #leave(sequence: Sequence, reason: FinishReason | null): void {
    this.#rows.remove(sequence);
    if (reason) sequence.finish(reason);
  }
}

function commonPrefix(a: readonly number[], b: readonly number[], limit: number): number {
  let n = 0;
  while (n < limit && a[n] === b[n]) n++;
  return n;
}
