import { LongjingError } from "../errors/index.ts";
import { Cursor } from "./cursor.ts";
import { anyChar, charSet, chars, choice, complement, literal, repeat, rule, sequence, setOf, type CharSet, type Expression, type Grammar } from "./expression.ts";
import { mostCopies, parseBounds } from "./regex.ts";

const mostDepth = 100;
const mostRules = 2_000;

/**
 * A grammar as llama.cpp writes them (GBNF): `name ::= alternatives`, the first rule `root`; "texts", [classes], . for any
 * character, ( ), *, +, ?, {n}, {n,}, {n,m}, {,m}, and # for comments.
 * @throws LongjingError "bad_argument" when it is malformed or lacks a rule
 */
export function parseGbnf(source: string): Grammar {
  const at = new Cursor(source, "grammar");
  const rules = new Map<string, Expression>();
  for (skipSpace(at, true); !at.over; skipSpace(at, true)) {
    const name = parseName(at);
    skipSpace(at, true);
    at.expect("::=");
    skipSpace(at, true);
    if (rules.has(name)) throw at.error(`the rule ${name} is there twice`);
    if (rules.size === mostRules) throw at.error(`more than ${mostRules} rules`);
    rules.set(name, parseAlternatives(at, 0));
    if (!at.over && !at.skip("\r\n") && !at.skip("\n") && !at.skip("\r")) throw at.error("expected the end of a line");
  }
  if (!rules.has("root")) throw new LongjingError("bad_argument", "The grammar has no rule named root", { where: "grammar" });
  return { root: "root", rules };
}

/** Rules end with their line, save inside of ( ) and after |. */
function skipSpace(at: Cursor, lines: boolean): void {
  for (;;) {
    at.while(lines ? /[ \t\r\n]/ : /[ \t]/);
    if (at.peek() !== "#") return;
    at.while(/[^\r\n]/);
  }
}

function parseName(at: Cursor): string {
  const name = at.while(/[a-zA-Z0-9_-]/);
  if (name === "") throw at.error("expected the name of a rule");
  return name;
}

function parseAlternatives(at: Cursor, depth: number): Expression {
  if (depth > mostDepth) throw at.error(`more than ${mostDepth} groups in one another`);
  const alternatives: Expression[] = [];
  for (;;) {
    alternatives.push(parseSequence(at, depth));
    if (!at.skip("|")) return choice(...alternatives);
    skipSpace(at, true);
  }
}

function parseSequence(at: Cursor, depth: number): Expression {
  const items: Expression[] = [];
  while (!at.over && !"|)\r\n".includes(at.peek())) {
    let item = parseItem(at, depth);
    skipSpace(at, depth > 0);
    for (let bounds = parseQuantifier(at); bounds !== null; bounds = parseQuantifier(at)) {
      item = repeat(item, ...bounds);
      skipSpace(at, depth > 0);
    }
    items.push(item);
  }
  return sequence(...items);
}

function parseQuantifier(at: Cursor): [number, number] | null {
  if (at.skip("*")) return [0, Infinity];
  if (at.skip("+")) return [1, Infinity];
  if (at.skip("?")) return [0, 1];
  if (!at.skip("{")) return null;
  if (!at.skip(",")) return parseBounds(at);
  const most = Number(at.while(/\d/, 10) || Number.NaN);
  if (!(most <= mostCopies)) throw at.error(`expected a number up to ${mostCopies}`);
  at.expect("}");
  return [0, most];
}

function parseItem(at: Cursor, depth: number): Expression {
  if (at.skip('"')) return parseLiteral(at);
  if (at.skip("[")) return chars(parseClass(at));
  if (at.skip(".")) return anyChar;
  if (!at.skip("(")) return rule(parseName(at));
  skipSpace(at, true);
  const inner = parseAlternatives(at, depth + 1);
  at.expect(")");
  return inner;
}

function parseLiteral(at: Cursor): Expression {
  let text = "";
  while (!at.skip('"')) text += String.fromCodePoint(parseChar(at));
  return literal(text);
}

function parseClass(at: Cursor): CharSet {
  const negated = at.skip("^");
  const ranges: (readonly [number, number])[] = [];
  while (!at.skip("]")) {
    const low = parseChar(at);
    const high = at.peek(2) !== "-]" && at.skip("-") ? parseChar(at) : low;
    if (high < low) throw at.error("a range out of order");
    ranges.push([low, high]);
  }
  return negated ? complement(charSet(ranges)) : charSet(ranges);
}

const escapes: Readonly<Record<string, string>> = { n: "\n", r: "\r", t: "\t", '"': '"', "\\": "\\", "[": "[", "]": "]", "-": "-", "^": "^" };

function parseChar(at: Cursor): number {
  const char = at.take();
  if (char !== "\\") return char.codePointAt(0) as number;
  const escaped = at.take();
  if (escaped === "x") return at.hex(2);
  if (escaped === "u") return at.hex(4);
  if (escaped === "U") return at.hex(8);
  const meant = Object.hasOwn(escapes, escaped) ? escapes[escaped] : undefined;
  if (meant === undefined) throw at.error(`\\${escaped} has no meaning`);
  return (setOf(meant)[0] as readonly [number, number])[0];
}
