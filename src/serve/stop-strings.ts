/** Cuts a text that arrives in pieces before the first of some strings. */
export interface StopStrings {
  /** The part of the text so far that is certain to stay; `hit` when a stop string has been met. */
  push(text: string): { readonly text: string; readonly hit: boolean };
  /** What was held back in case a stop string had begun. */
  end(): string;
}

export function stopStrings(stops: readonly string[]): StopStrings {
  const longest = Math.max(0, ...stops.map((stop) => stop.length));
  let held = "";
  return {
    push(text) {
      held += text;
      const found = stops.map((stop) => held.indexOf(stop)).filter((at) => at >= 0);
      if (found.length > 0) {
        const kept = held.slice(0, Math.min(...found));
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
