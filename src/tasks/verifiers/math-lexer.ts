import { rational, type Rational } from "../rational.ts";
import { MathFault } from "./algebra.ts";
import { multipleAt } from "./math-numerals.ts";

export type MathToken =
  /** `digits` where it is written with digits alone. */
  | { readonly kind: "number"; readonly value: Rational; readonly digits: string | null }
  /** A variable or a constant. */
  | { readonly kind: "name"; readonly text: string }
  | { readonly kind: "function"; readonly text: string }
  /** Words: a unit where one can stand. */
  | { readonly kind: "words"; readonly text: string }
  /** An operator or bracket. Braces that group are "{" and "}", those of a set "⦃" and "⦄". */
  | { readonly kind: "mark"; readonly text: string };

/** Commands that change how something looks, and nothing else. */
const silent = new Set("left right big Big bigg Bigg bigl bigr Bigl Bigr displaystyle textstyle quad qquad limits rm bf it".split(" "));
const silentMarks = new Set(",;:! ");
const marks = new Map(Object.entries({
  cdot: "*", times: "*", ast: "*", div: "/", le: "≤", leq: "≤", leqslant: "≤", ge: "≥", geq: "≥", geqslant: "≥", lt: "<", gt: ">", ne: "≠", neq: "≠",
  cup: "∪", infty: "∞", in: "∈", lbrace: "⦃", rbrace: "⦄", emptyset: "∅", varnothing: "∅", lvert: "|", rvert: "|", vert: "|", mid: "|", circ: "°", degree: "°",
  frac: "frac", dfrac: "frac", tfrac: "frac", cfrac: "frac", sqrt: "sqrt", binom: "binom", dbinom: "binom", tbinom: "binom", lor: ",", land: ",",
}));
const characters = new Map(Object.entries({ "·": "*", "×": "*", "⋅": "*", "÷": "/", "−": "-", "–": "-", "√": "sqrt", "⁄": "/", "{": "{", "}": "}", "，": ",", "；": ";", "（": "(", "）": ")" }));
const functions = new Set("sin cos tan cot sec csc arcsin arccos arctan sinh cosh tanh ln log lg exp".split(" "));
const greek = new Set("alpha beta gamma delta epsilon varepsilon zeta eta theta vartheta iota kappa lambda mu nu xi rho sigma tau upsilon phi varphi chi psi omega Gamma Delta Theta Lambda Xi Pi Sigma Phi Psi Omega ell".split(" "));
const textual = new Set("text textrm textbf textit mathrm mathbf mathit mbox operatorname mathsf".split(" "));
const superscripts = "⁰¹²³⁴⁵⁶⁷⁸⁹";
const shortUnits = new Set("mm cm dm km kg mg mL ml kL min sec hr hrs ft yd mi lb oz mph kph km² Hz kW MB GB".split(" "));

/** @throws MathFault */
export function mathTokens(written: string): MathToken[] {
  // "3½" is "3 1⁄2".
  const text = written.replace(/[¼-¾⅐-⅞]/g, (fraction) => ` ${fraction.normalize("NFKC")}`);
  const tokens: MathToken[] = [];
  let depth = 0;
  const mark = (text: string): void => {
    if ("([⦃".includes(text)) depth++;
    else if (")]⦄".includes(text)) depth--;
    tokens.push({ kind: "mark", text });
  };
  for (let at = 0; at < text.length; ) {
    const rest = text.slice(at);
    const number = numberAt(rest, depth === 0);
    const command = /^\\([A-Za-z]+|.)/.exec(rest);
    const word = /^\p{L}+/u.exec(rest)?.[0];
    if (/^[\s$~€£¥]/.test(rest)) at++;
    else if (number !== null) {
      tokens.push(number.token);
      at += number.length;
    } else if (command !== null) {
      at += commandAt(rest, command[1]!, tokens, mark);
    } else if (word === "x" && tokens.at(-1)?.kind === "number" && /^x\s*10\s*(?:\^|\*\*|[⁰¹²³⁴-⁹])/.test(rest)) {
      mark("*");
      at++;
    } else if (word !== undefined) {
      tokens.push(...wordTokens(word, tokens.at(-1)));
      at += word.length;
    } else {
      const char = String.fromCodePoint(rest.codePointAt(0)!);
      at += char.length;
      const raised = superscripts.indexOf(char);
      if (raised !== -1) {
        mark("^");
        tokens.push({ kind: "number", value: rational(BigInt(raised)), digits: `${raised}` });
      } else if (rest.startsWith("**")) {
        mark("^");
        at++;
      } else if (rest.startsWith("<=") || rest.startsWith(">=")) {
        mark(char === "<" ? "≤" : "≥");
        at++;
      } else if (characters.has(char) || "+-*/^_()[]=<>≤≥≠|,;!%°∞∪∈∅&".includes(char)) mark(characters.get(char) ?? char);
      else throw new MathFault("unknown character");
    }
  }
  return tokens;
}

/** Digits, with commas at every third where a comma separates nothing else; a decimal part, whose end may repeat; an exponent of ten. */
function numberAt(text: string, commas: boolean): { readonly token: MathToken; readonly length: number } | null {
  const grouped = commas ? /^\d{1,3}(?:(?:,|\{,\}|\\,)\d{3})+(?!\d|,\d)/.exec(text)?.[0] : undefined;
  const whole = grouped ?? /^\d+/.exec(text)?.[0] ?? "";
  const repeating = /^\.(\d*)\\(?:overline|bar|dot)\{(\d+)\}/.exec(text.slice(whole.length));
  if (repeating !== null) return { token: { kind: "number", value: repeated(whole.replace(/\D/g, ""), repeating[1]!, repeating[2]!), digits: null }, length: whole.length + repeating[0].length };
  const tail = /^(?:\.(\d+))?(?:[eE]([+-]?\d{1,3})(?![\d\p{L}]))?/u.exec(text.slice(whole.length))!;
  const digits = whole.replace(/\D/g, "");
  const [written, decimals = "", exponent = "0"] = tail;
  if (digits === "" && decimals === "") return null;
  if (digits.length + decimals.length > 400) throw new MathFault("number too long");
  // A point that ends a sentence is no part of the number; one that ends the digits changes nothing.
  const length = whole.length + written.length + (written === "" && /^\.(?!\d)/.test(text.slice(whole.length)) ? 1 : 0);
  const scale = Number(exponent) - decimals.length;
  const shifted = 10n ** BigInt(Math.abs(scale));
  const value = scale < 0 ? rational(BigInt(digits + decimals), shifted) : rational(BigInt(digits + decimals) * shifted);
  return { token: { kind: "number", value, digits: written === "" ? digits : null }, length };
}

/** "0.1\overline{6}" is 1/6. */
function repeated(whole: string, decimals: string, period: string): Rational {
  if (whole.length + decimals.length + period.length > 400) throw new MathFault("number too long");
  const nines = 10n ** BigInt(period.length) - 1n;
  return rational(BigInt(whole + decimals) * nines + BigInt(period), nines * 10n ** BigInt(decimals.length));
}

/** Reads one command; gives how far it reaches. */
function commandAt(text: string, command: string, tokens: MathToken[], mark: (text: string) => void): number {
  const length = command.length + 1;
  if (silent.has(command) || silentMarks.has(command) || command === "$") return length;
  if (command === "{" || command === "}") mark(command === "{" ? "⦃" : "⦄");
  else if (command === "%" || command === "|" || command === "\\") mark(command);
  else if (command === "pi") tokens.push({ kind: "name", text: "π" });
  else if (functions.has(command)) tokens.push({ kind: "function", text: command });
  else if (greek.has(command)) tokens.push({ kind: "name", text: command });
  else if (marks.has(command)) mark(marks.get(command)!);
  else if (textual.has(command) || command === "begin" || command === "end") {
    const argument = /^\s*\{([^{}]*)\}/.exec(text.slice(length));
    if (argument === null) throw new MathFault(`\\${command} without its text`);
    const content = argument[1]!.trim();
    if (command === "begin" || command === "end") {
      if (!/^[pbvBV]?matrix$/.test(content)) throw new MathFault("unknown environment");
      mark(command);
    } else if (/^(?:and|or|,)$/.test(content)) mark(",");
    else if (/^[A-Za-z]$/.test(content) && tokens.length === 0) tokens.push({ kind: "name", text: content });
    else if (content !== "") tokens.push(...unitTokens(content));
    return length + argument[0].length;
  } else throw new MathFault("unknown command");
  return length;
}

/** Words in a row: what multiplies a number first. */
function unitTokens(text: string): MathToken[] {
  const multiple = multipleAt(text);
  if (multiple === null) return text === "" ? [] : [/^percent$/i.test(text) ? { kind: "mark", text: "%" } : { kind: "words", text }];
  return [{ kind: "mark", text: "*" }, { kind: "number", value: rational(multiple.value), digits: null }, ...unitTokens(text.slice(multiple.length).trim())];
}

/** Whether a run of letters has a meaning of its own: a function, a constant or a letter of the Greek alphabet. */
export const knownWord = (word: string): boolean => ["pi", "π", "sqrt", "inf", "infinity"].includes(word.toLowerCase()) || functions.has(word.toLowerCase()) || greek.has(word);

/** What a run of letters is: a function, a constant, a unit after a number, a product of variables when it is short, else words. */
function wordTokens(word: string, before: MathToken | undefined): MathToken[] {
  const lower = word.toLowerCase();
  if (lower === "pi" || word === "π") return [{ kind: "name", text: "π" }];
  if (lower === "sqrt") return [{ kind: "mark", text: "sqrt" }];
  if (lower === "inf" || lower === "infinity") return [{ kind: "mark", text: "∞" }];
  if (lower === "and" || lower === "or" || word === "或" || word === "和") return [{ kind: "mark", text: "," }];
  if (functions.has(lower)) return [{ kind: "function", text: lower }];
  if (greek.has(word)) return [{ kind: "name", text: word }];
  if ((before?.kind === "number" && shortUnits.has(word)) || word.length > 3 || /\p{Script=Han}/u.test(word)) return unitTokens(word);
  return [...word].map((text) => ({ kind: "name", text }));
}
