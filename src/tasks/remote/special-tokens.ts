/** Longest special token, in UTF-16 units. */
const longest = 128;

const known = String.raw`</?s>|<\|[^<>|\n]{1,100}\|>|<｜[^<>｜\n]{1,100}｜>|<(?:eos|bos|pad|start_of_turn|end_of_turn)>`;

/** Takes special tokens from the ends of decoded text. */
export interface SpecialTokens {
  /** Without those at its beginning, and the role that opens the model's turn. */
  afterFirst(text: string): string;
  /** Without those at its end, and the white space around them. */
  beforeLast(text: string): string;
}

/** The usual special tokens, and others as they are written. */
export function specialTokens(more: readonly string[] = []): SpecialTokens {
  const any = [...more.filter((token) => token !== "").map((token) => token.replace(/[.*+?^${}()|[\]\\/]/g, "\\$&")), known].join("|");
  const reach = Math.max(longest, ...more.map((token) => token.length));
  const first = new RegExp(`^\\s{0,8}(?:${any})(?:(?:assistant|model)(?=\\n))?\\n*`, "u");
  const last = new RegExp(`(?:${any})$`, "u");
  return {
    afterFirst: (text) => {
      let rest = text;
      for (let match = first.exec(rest.slice(0, reach * 2)); match !== null; match = first.exec(rest.slice(0, reach * 2))) rest = rest.slice(match[0].length);
      return rest;
    },
    beforeLast: (text) => {
      let rest = text;
      for (;;) {
        const bare = rest.trimEnd();
        const match = last.exec(bare.slice(-reach));
        if (match === null) return rest;
        rest = bare.slice(0, bare.length - match[0].length);
      }
    },
  };
}
