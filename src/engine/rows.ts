/** What holds a row of the cache. */
export interface Occupant {
  /** Rows of one adapter stand together, so that a step over them is one run. */
  readonly adapter: string;
  /** Tokens in the cache, which go where the row goes. */
  readonly computed: number;
  row: number;
}

/** Rows [start, end) of one adapter. */
export interface RowGroup {
  readonly adapter: string;
  readonly start: number;
  readonly end: number;
}

/**
 * Which sequence has which row. Taken rows are the first ones, without gaps, in groups by adapter; a change moves at most as
 * many rows as it adds or takes away for each group behind it.
 */
export class Rows<T extends Occupant> {
  /** The occupant of row i is `all[i]`. */
  readonly all: T[] = [];
  readonly #copy: (from: number, to: number, tokens: number) => void;

  /** @param copy moves the first `tokens` tokens of a row to another */
  constructor(copy: (from: number, to: number, tokens: number) => void) {
    this.#copy = copy;
  }

  groups(): RowGroup[] {
    const groups: { adapter: string; start: number; end: number }[] = [];
    for (const [row, { adapter }] of this.all.entries()) {
      const last = groups.at(-1);
      if (last?.adapter === adapter) last.end++;
      else groups.push({ adapter, start: row, end: row + 1 });
    }
    return groups;
  }

  /** Gives rows to newcomers of one adapter, at the end of its group, in their order. */
  insert(adapter: string, newcomers: readonly T[]): void {
    const groups = this.groups();
    const own = groups.findIndex((group) => group.adapter === adapter);
    const behind = own < 0 ? [] : groups.slice(own + 1);
    const count = newcomers.length;
    const at = behind[0]?.start ?? this.all.length;
    for (const { start, end } of behind.toReversed()) {
      const moved = Math.min(count, end - start);
      for (let i = 0; i < moved; i++) this.#move(start + i, end + count - moved + i);
    }
    for (const [i, newcomer] of newcomers.entries()) this.#place(newcomer, at + i);
  }

  remove(leaving: T): void {
    let free = leaving.row;
    for (const { end } of this.groups().filter((group) => group.end > free)) {
      if (end - 1 !== free) this.#move(end - 1, free);
      free = end - 1;
    }
    this.all.pop();
  }

  #move(from: number, to: number): void {
    const occupant = this.all[from]!;
    this.#copy(from, to, occupant.computed);
    this.#place(occupant, to);
  }

  #place(occupant: T, row: number): void {
    this.all[row] = occupant;
    occupant.row = row;
  }
}
