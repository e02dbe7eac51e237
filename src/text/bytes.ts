/**
 * GPT-2's alphabet of bytes: each byte as one printable character, so that a vocabulary can be written as text. Printable
 * Latin-1 stands for itself; the 68 other bytes take the characters from U+0100 on, in order.
 */
export const byteToChar: readonly string[] = alphabet();

const charToByte = new Map(byteToChar.map((char, byte) => [char, byte]));

const encoder = new TextEncoder();

/** The UTF-8 bytes of a text, each as its character. */
export function toByteChars(text: string): string {
  let out = "";
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i);
    // Most words are short and plain; calling the encoder costs more than reading them.
    if (unit >= 0x80) return out + toChars(encoder.encode(text.slice(i)));
    out += byteToChar[unit];
  }
  return out;
}

function toChars(bytes: Uint8Array): string {
  let out = "";
  for (const byte of bytes) out += byteToChar[byte];
  return out;
}

/** The bytes that a token stands for. A token with a character outside of the alphabet stands for its own UTF-8 bytes. */
export function tokenBytes(token: string): Uint8Array {
  const bytes = new Uint8Array(token.length);
  for (let i = 0; i < token.length; i++) {
    const byte = charToByte.get(token[i] as string);
    if (byte === undefined) return encoder.encode(token);
    bytes[i] = byte;
  }
  return bytes;
}

function alphabet(): string[] {
  const printable = (byte: number): boolean =>
    (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || (byte >= 0xae && byte <= 0xff);
  let next = 0x100;
  return Array.from({ length: 256 }, (_, byte) => String.fromCharCode(printable(byte) ? byte : next++));
}
