const step = (hash: number, byte: number): number => Math.imul(hash ^ byte, 0x01000193);
const hashed = (text: string): number => Array.from(text, (char) => char.charCodeAt(0)).reduce(step, 0x811c9dc5);

/** Texts that a TextTable of them has to put in one place: they end on one of 4,096 slots, for 1,200 texts with room for twice as many. */
export function nearTexts(): string[] {
  const texts: string[] = [];
  for (let i = 0; texts.length < 1200; i++) {
    const hash = hashed(i.toString(36));
    if (((hash ^ (hash >>> 15)) & 4095) === 7) texts.push(i.toString(36));
  }
  return texts;
}
