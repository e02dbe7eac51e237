import { LongjingError } from "../errors/index.ts";

type Positions = ReadonlySet<number>;

/** Where a part of a pattern may end in a text, from where it may begin. */
type Step = (text: string, from: Positions) => Positions;

const longestPattern = 512;

/**
 * A key of `rank_pattern` or `alpha_pattern`, which PEFT takes as a regular expression for a module's whole name or for its last
 * parts: `(.*\.)?(KEY)$`. All positions are followed at once, so that the time is bounded by the two lengths' product; what
 * would need more than that, such as a group that is repeated, is not taken.
 * @throws LongjingError "unsupported"
 */
export function modulePattern(key: string, where: string): (module: string) => boolean {
  if (key.length > longestPattern) throw refused(key, where);
  const parser = new Parser(key, where);
  const step = parser.alternatives();
  if (parser.rest !== "") throw refused(key, where);
  return (module) => {
    const starts = new Set([0]);
    for (let at = 0; at < module.length; at++) if (module[at] === ".") starts.add(at + 1);
    return step(module, starts).has(module.length);
  };
}

function refused(key: string, where: string): LongjingError {
  return new LongjingError("unsupported", "A pattern of ranks or alphas is beyond what is matched here", { got: key, expected: "characters, . \\d \\w [classes], each also with * + or ?, ^ $ | and groups that are not repeated", where });
}

type Test = (character: string) => boolean;

const isDigit: Test = (character) => character >= "0" && character <= "9";
const isWord: Test = (character) => /\w/.test(character);

/** Recursive descent over one pattern. */
class Parser {
  readonly #key: string;
  readonly #where: string;
  #at = 0;

  constructor(key: string, where: string) {
    this.#key = key;
    this.#where = where;
  }

  get rest(): string {
    return this.#key.slice(this.#at);
  }

  alternatives(): Step {
    const options = [this.#sequence()];
    while (this.#take("|")) options.push(this.#sequence());
    return options.length === 1 ? options[0]! : (text, from) => new Set(options.flatMap((option) => [...option(text, from)]));
  }

  #sequence(): Step {
    const steps: Step[] = [];
    while (this.rest !== "" && !/^[|)]/.test(this.rest)) steps.push(this.#item());
    return (text, from) => steps.reduce((positions, step) => (positions.size === 0 ? positions : step(text, positions)), from);
  }

  #item(): Step {
    if (this.#take("^")) return (_, from) => new Set(from.has(0) ? [0] : []);
    if (this.#take("$")) return (text, from) => new Set(from.has(text.length) ? [text.length] : []);
    if (!this.#take("(")) return this.#repeated(this.#character());
    this.#take("?:");
    const inner = this.alternatives();
    if (!this.#take(")")) throw this.#refused();
    return inner;
  }

  #repeated(test: Test): Step {
    const sign = ["*", "+", "?"].find((each) => this.#take(each));
    // Taking as few as possible finds the same texts.
    if (sign !== undefined) this.#take("?");
    const most = sign === "*" || sign === "+" ? Infinity : 1;
    return (text, from) => {
      const ends = new Set<number>();
      for (const start of from) for (let at = start; at < text.length && at - start < most && test(text[at]!) && !(most > 1 && ends.has(at + 1)); at++) ends.add(at + 1);
      return sign === "*" || sign === "?" ? new Set([...from, ...ends]) : ends;
    };
  }

  #character(): Test {
    if (this.#take(".")) return (character) => character !== "\n";
    if (this.#take("[")) return this.#characterClass();
    if (this.#take("\\")) return this.#escaped();
    const [literal] = /^[^*+?{}[\]()|\\^$]/.exec(this.rest) ?? [];
    if (literal === undefined) throw this.#refused();
    this.#at++;
    return (character) => character === literal;
  }

  #escaped(): Test {
    if (this.#take("d")) return isDigit;
    if (this.#take("w")) return isWord;
    const [literal] = /^[^\w\s]|^_/.exec(this.rest) ?? [];
    if (literal === undefined) throw this.#refused();
    this.#at++;
    return (character) => character === literal;
  }

  #characterClass(): Test {
    const negated = this.#take("^");
    const tests: Test[] = [];
    while (!this.#take("]")) {
      const [, low, high] = /^(\w)-(\w)/.exec(this.rest) ?? [];
      if (low !== undefined && high !== undefined) {
        this.#at += 3;
        tests.push((character) => character >= low && character <= high);
      } else if (this.#take("\\")) tests.push(this.#escaped());
      else if (/^[\w.]|^-\]/.test(this.rest)) {
        const literal = this.#key[this.#at++];
        tests.push((character) => character === literal);
      } else throw this.#refused();
    }
    if (tests.length === 0) throw this.#refused();
    return (character) => tests.some((test) => test(character)) !== negated;
  }

  #take(text: string): boolean {
    if (!this.#key.startsWith(text, this.#at)) return false;
    this.#at += text.length;
    return true;
  }

  #refused(): LongjingError {
    return refused(this.#key, this.#where);
  }
}
