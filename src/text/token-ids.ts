import type { PackedTexts } from "./packed-texts.ts";
import type { TextTable } from "./text-table.ts";

/** The tokens of a vocabulary by text and by id. */
export interface TokenIds {
  /** Tokens in all. */
  readonly size: number;
  get(token: string): number | undefined;
  has(token: string): boolean;
  spelling(id: number): string | undefined;
  /** By id, as far as the last of them. */
  spellings(): readonly (string | undefined)[];
}

export function mappedIds(ids: ReadonlyMap<string, number>): TokenIds {
  let all: string[] | undefined;
  const spellings = (): readonly (string | undefined)[] => {
    if (all !== undefined) return all;
    all = [];
    for (const [token, id] of ids) all[id] = token;
    return all;
  };
  return { size: ids.size, get: (token) => ids.get(token), has: (token) => ids.has(token), spelling: (id) => spellings()[id], spellings };
}

/** @param unused whether an id has no token: the table does not find its text */
export function packedIds(texts: PackedTexts, table: TextTable, unused: (id: number) => boolean = () => false): TokenIds {
  let rows = texts.places.length / 2;
  while (rows > 0 && unused(rows - 1)) rows--;
  return {
    size: table.size,
    get: (token) => table.get(token),
    has: (token) => table.has(token),
    spelling: (id) => (Number.isInteger(id) && id >= 0 && id < rows && !unused(id) ? texts.pick([id])[0] : undefined),
    spellings: () => texts.strings().slice(0, rows).map((token, id) => (unused(id) ? undefined : token)),
  };
}
