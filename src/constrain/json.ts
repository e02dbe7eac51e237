import { charSet, chars, choice, complement, digit, intersection, literal, optional, range, repeat, rule, sequence, setOf, type CharSet, type Expression } from "./expression.ts";

/** What a string may not hold as it is. */
const escaped: CharSet = charSet([[0, 0x1f], ...setOf('"\\')]);

/**
 * JSON as a model may write it: every value, in a style with little room to loop in. White space is one space or one line
 * break with up to 20 characters of indentation, and only after { [ , : and before ] }.
 */
export const jsonRules: ReadonlyMap<string, Expression> = new Map<string, Expression>(
  Object.entries({
    space: optional(choice(literal(" "), sequence(literal("\n"), repeat(chars(setOf(" \t")), 0, 20)))),
    char: jsonChar(),
    string: sequence(literal('"'), repeat(rule("char"), 0), literal('"')),
    number: jsonNumber(),
    integer: sequence(optional(literal("-")), wholeNumber(18)),
    boolean: choice(literal("true"), literal("false")),
    null: literal("null"),
    object: braces("{", "}", sequence(rule("string"), colon(), rule("value"))),
    array: braces("[", "]", rule("value")),
    value: choice(...["object", "array", "string", "number", "boolean", "null"].map(rule)),
  }),
);

/** The rules that `jsonRules` has, by their names. */
export const json = { value: rule("value"), object: rule("object"), array: rule("array"), string: rule("string"), char: rule("char"), number: rule("number"), integer: rule("integer"), boolean: rule("boolean"), null: rule("null"), space: rule("space") };

/** Between a name and its value. */
export function colon(): Expression {
  return sequence(literal(":"), optional(literal(" ")));
}

export function comma(): Expression {
  return sequence(literal(","), rule("space"));
}

/** Any number of items between braces or brackets. */
function braces(open: string, close: string, item: Expression): Expression {
  return enclosed(open, close, optional(sequence(item, repeat(sequence(comma(), item), 0))));
}

export function enclosed(open: string, close: string, items: Expression): Expression {
  return sequence(literal(open), rule("space"), items, rule("space"), literal(close));
}

/** A whole number without its sign and without leading zeros. */
export function wholeNumber(mostDigits: number): Expression {
  return choice(literal("0"), sequence(range("1", "9"), repeat(digit, 0, mostDigits - 1)));
}

/** As long as the longest that JavaScript writes, and never so large that it is read as infinite: up to 1e280 in the usual form. */
function jsonNumber(): Expression {
  const exponent = (hundreds: Expression): Expression => choice(repeat(digit, 1, 2), hundreds);
  const large = choice(sequence(literal("1"), digit, digit), sequence(literal("2"), range("0", "7"), digit));
  const small = choice(sequence(range("1", "2"), digit, digit), sequence(literal("3"), range("0", "2"), digit));
  return sequence(
    optional(literal("-")),
    wholeNumber(21),
    optional(sequence(literal("."), repeat(digit, 1, 25))),
    optional(sequence(chars(setOf("eE")), choice(sequence(optional(literal("+")), exponent(large)), sequence(literal("-"), exponent(small))))),
  );
}


/** One character of a string, however it is escaped. Escaped surrogates come in pairs. */
function jsonChar(): Expression {
  const hex = chars(charSet([...setOf("abcdefABCDEF"), [0x30, 0x39]]));
  const rest = (count: number): Expression => repeat(hex, count, count);
  const pair = sequence(chars(setOf("dD")), chars(setOf("89abAB")), rest(2), literal("\\u"), chars(setOf("dD")), chars(setOf("cdefCDEF")), rest(2));
  const single = choice(sequence(chars(charSet([...setOf("abcefABCEF"), [0x30, 0x39]])), rest(3)), sequence(chars(setOf("dD")), range("0", "7"), rest(2)));
  return choice(chars(complement(escaped)), sequence(literal("\\"), choice(chars(setOf('"\\/bfnrt')), sequence(literal("u"), choice(single, pair)))));
}

/** A text in quotes, spelled as `JSON.stringify` spells it. */
export function jsonText(text: string): Expression {
  return literal(JSON.stringify(text));
}

/** What an expression says, as `JSON.stringify` spells it between quotes. The expression may name no rules. */
export function asJson(expression: Expression): Expression {
  switch (expression.type) {
    case "chars":
      return asJsonChars(expression.set);
    case "sequence":
    case "choice":
      return { type: expression.type, items: expression.items.map(asJson) };
    case "repeat":
      return { ...expression, item: asJson(expression.item) };
    case "and":
    case "and not":
      return { type: expression.type, item: asJson(expression.item), other: asJson(expression.other) };
    case "multiple":
    case "rule":
      return expression;
  }
}

function asJsonChars(set: CharSet): Expression {
  const alternatives: Expression[] = [chars(intersection(set, complement(escaped)))];
  for (const [low, high] of intersection(set, escaped)) {
    for (let code = low; code <= high; code++) alternatives.push(literal(JSON.stringify(String.fromCodePoint(code)).slice(1, -1)));
  }
  return choice(...alternatives);
}
