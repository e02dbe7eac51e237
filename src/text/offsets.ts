import { LongjingError } from "../errors/index.ts";

/** Where a token's text lies: [start, end) in UTF-16 units. */
export type Offset = readonly [start: number, end: number];

/** A character with the marks and jamo that normalisation may join to it. */
const cluster = /[^][\p{M}\u1160-\u11ff]*/gu;
const encoder = new TextEncoder();

/**
 * Where in a text its tokens lie, as `offset_mapping` of transformers has it: a token of some bytes of a character covers the
 * character. The text may have been normalised to NFC on the way to the tokens, and have lost white space beside added tokens.
 * @param pieces the bytes of each token
 * @throws LongjingError "unsupported" when the tokens say something else than the text
 */
export function tokenOffsets(text: string, pieces: readonly Uint8Array[]): Offset[] {
  const places = bytePlaces(text, pieces.flatMap((piece) => [...piece]));
  let at = 0;
  return pieces.map(({ length }) => {
    at += length;
    const [first, last] = [places[at - length], places[at - 1]];
    return first === undefined || last === undefined ? [0, 0] : [first[0], last[1]];
  });
}

/** The character of the text that each byte comes from. */
function bytePlaces(text: string, bytes: readonly number[]): Offset[] {
  const places: Offset[] = [];
  for (const { 0: found, index } of text.matchAll(cluster)) {
    const characters = charactersOf(found, index);
    const said = [found, found.normalize("NFC")].find((form) => startsWith(bytes, encoder.encode(form), places.length));
    if (said === undefined && found.trim() === "") continue;
    if (said === undefined) throw new LongjingError("unsupported", "The tokenizer changes the text, and its tokens cannot be found in it", { got: found, where: `character ${index}` });
    for (const [i, character] of [...said].entries()) {
      const place = characters[Math.min(i, characters.length - 1)] as Offset;
      for (let n = encoder.encode(character).length; n > 0; n--) places.push(place);
    }
  }
  return places;
}

function charactersOf(text: string, start: number): Offset[] {
  let at = start;
  return [...text].map(({ length }) => [at, (at += length)]);
}

const startsWith = (bytes: readonly number[], part: Uint8Array, at: number): boolean => part.every((byte, i) => bytes[at + i] === byte);
