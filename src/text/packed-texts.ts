/** A long list of texts as it lies in a file, of which few are made into strings. */
export interface PackedTexts {
  /** UTF-8, which is checked when it is asked for. */
  readonly bytes: Uint8Array;
  /** In `bytes`: where each text begins and ends, in turn. */
  readonly places: Uint32Array;
  /** All of them. */
  strings(): readonly string[];
  /** Those at these places. */
  pick(indices: readonly number[]): readonly string[];
}

export const isPacked = (value: unknown): value is PackedTexts => typeof value === "object" && value !== null && "bytes" in value && "places" in value && value.places instanceof Uint32Array;

/** The same of strings. */
export function packTexts(texts: readonly string[]): PackedTexts {
  const encoded = texts.map((text) => encoder.encode(text));
  const bytes = new Uint8Array(encoded.reduce((size, { length }) => size + length, 0));
  const places = new Uint32Array(2 * texts.length);
  let at = 0;
  for (const [index, text] of encoded.entries()) {
    bytes.set(text, at);
    places[2 * index] = at;
    places[2 * index + 1] = at += text.length;
  }
  return { bytes, places, strings: () => texts, pick: (indices) => indices.map((index) => texts[index]!) };
}

const encoder = new TextEncoder();
