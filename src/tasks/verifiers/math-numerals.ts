const multiples = new Map<string, bigint>(Object.entries({ hundred: 10n ** 2n, thousand: 10n ** 3n, million: 10n ** 6n, billion: 10n ** 9n, trillion: 10n ** 12n, dozen: 12n, 百: 10n ** 2n, 千: 10n ** 3n, 万: 10n ** 4n, 亿: 10n ** 8n }));

/** A word at the start of a text that multiplies the number before it: "million", and "万" of "万元"; but "千米" is a unit. */
export function multipleAt(text: string): { readonly value: bigint; readonly length: number } | null {
  const [written, english, chinese] = /^(?:(hundred|thousand|million|billion|trillion|dozen)s?(?!\p{L})|([万亿]|[百千](?![米克瓦卡分])))/iu.exec(text) ?? [];
  return written === undefined ? null : { value: multiples.get(english?.toLowerCase() ?? chinese!)!, length: written.length };
}

/** A word that makes another number of the one before it. */
export const changesNumber = /(?:^|\P{L})(?:squared|cubed|factorial|half|halves|thirds?|quarters?|(?:four|fif|six|seven|eigh|nin|ten|twelf|hundred|thousand|million|billion)ths?)(?:\P{L}|$)/iu;
