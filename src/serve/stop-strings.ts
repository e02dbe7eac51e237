/** Cuts a text that arrives in pieces before the first of some strings. */
export interface StopStrings {
  /** The part of the text so far that is certain to stay; `hit` when a stop string has been met. */
  push(text: string): { readonly text: string; readonly hit: boolean };
  /** What was held back in case a stop string had begun. */
  end(): string;
  /** The stop string that has been met. */
  readonly hit: string | null;
}

export function stopStrings(stops: readonly string[]): StopStrings {
  const longest = Math.max(0, ...stops.map((stop) => stop.length));
  let held = "";
  let met: string | null = null;
  return {
    push(text) {
      held += text;
      const found = stops.map((stop) => ({ stop, at: held.indexOf(stop) })).filter(({ at }) => at >= 0);
      const [first] = found.toSorted((a, b) => a.at - b.at);
      if (first !== undefined) {
        const kept = held.slice(0, first.at);
        met = first.stop;
        held = "";
        return { text: kept, hit: true };
      }
      const keep = heldBack(held, stops, longest);
      const out = held.slice(0, held.length - keep);
      held = held.slice(held.length - keep);
      return { text: out, hit: false };
    },
    end() {
      const rest = held;
      held = "";
      return rest;
    },
    get hit() {
      return met;
    },
  };
}

/** Length of the longest ending of `text` that begins a stop string. */
function heldBack(text: string, stops: readonly string[], longest: number): number {
  for (let length = Math.min(longest - 1, text.length); length > 0; length--) {
    const ending = text.slice(text.length - length);
    if (stops.some((stop) => stop.startsWith(ending))) return length;
  }
  return 0;
}
