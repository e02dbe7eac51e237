import { toJson } from "./template-json.ts";
import { isIn } from "./template-operators.ts";
import { byMethod, capitalized, formatted, isSet, joined, lengthOf, linesOf, numberIn, replaced, rounded, whole, type Budget } from "./template-texts.ts";
import { areSame, bound, compare, elementsOf, floatOf, integerOf, isFloat, isInteger, isList, isMapping, isMissing, isNamespace, isNone, isNumber, isText, isTrue, isTruth, listOf, missing, nameOf, none, textOf, tupleOf, written, type Call, type Value } from "./template-values.ts";

type Filter = (value: Value, call: Call, budget: Budget) => Value;

/** Jinja's filters, as far as chat templates use them. */
const filters: Readonly<Record<string, Filter>> = {
  safe: (value) => value,
  string: (value) => textOf(written(value)),
  tojson: json,
  default: orDefault,
  d: orDefault,
  length: lengthOf,
  count: lengthOf,
  list: (value) => listOf(elementsOf(value)),
  first: (value) => elementsOf(value).at(0) ?? missing(),
  last: (value) => elementsOf(value).at(-1) ?? missing(),
  reverse: (value) => (isText(value) ? textOf([...value.value].toReversed().join("")) : listOf(elementsOf(value).toReversed())),
  items: (value) => listOf(entriesOf(value)),
  dictsort: (value, call) => {
    const [sensitive, by, reverse] = bound(call, "case_sensitive", "by", "reverse");
    return listOf(ordered(entriesOf(value), integerOf(by && written(by) === "value" ? 1 : 0), isSet(sensitive), isSet(reverse)));
  },
  sort: (value, call) => {
    const [reverse, sensitive, attribute] = bound(call, "reverse", "case_sensitive", "attribute");
    return listOf(ordered(elementsOf(value), attribute ?? null, isSet(sensitive), isSet(reverse)));
  },
  unique: (value, call) => {
    const [sensitive, attribute] = bound(call, "case_sensitive", "attribute");
    const seen = new Set<string>();
    return listOf(elementsOf(value).filter((item) => {
      const key = keyOf(item, attribute ?? null, isSet(sensitive));
      const known = `${isNumber(key) ? Number(key.value) : key.type}:${isNumber(key) ? "" : written(key)}`;
      return !seen.has(known) && seen.add(known);
    }));
  },
  min: (value, call) => extreme(value, call, -1),
  max: (value, call) => extreme(value, call, 1),
  sum: (value, call) => {
    const [attribute, start] = bound(call, "attribute", "start");
    const numbers = [start ?? integerOf(0), ...elementsOf(value).map((item) => attributeOf(item, attribute ?? null))];
    if (!numbers.every(isNumber)) throw new Error("sum takes numbers");
    const total = numbers.reduce((sum, item) => sum + Number(item.value), 0);
    return numbers.some(isFloat) ? floatOf(total) : integerOf(total);
  },
  join: (value, call, budget) => {
    const [separator, attribute] = bound(call, "d", "attribute");
    return joined(elementsOf(value).map((item) => written(attributeOf(item, attribute ?? null))), separator ? written(separator) : "", budget);
  },
  map: (value, call, budget) => {
    const { args: [name, ...args], named } = call;
    if (name !== undefined) return listOf(elementsOf(value).map((item) => filterNamed(written(name))(item, { args, named }, budget)));
    const [attribute, fallback] = bound(call, "attribute", "default");
    if (!attribute) throw new Error("map takes a filter or an attribute");
    return listOf(elementsOf(value).map((item) => orElse(attributeOf(item, attribute), fallback ?? null)));
  },
  select: (value, call, budget) => chosen(value, call, budget, true, false),
  reject: (value, call, budget) => chosen(value, call, budget, false, false),
  selectattr: (value, call, budget) => chosen(value, call, budget, true, true),
  rejectattr: (value, call, budget) => chosen(value, call, budget, false, true),
  upper: byMethod("upper"),
  lower: byMethod("lower"),
  trim: byMethod("strip"),
  capitalize: byMethod("capitalize"),
  title: (value) => textOf(written(value).replace(/[^-\s({[<]+/gu, capitalized)),
  format: (value, { args }, budget) => textOf(formatted(written(value), tupleOf(args), budget)),
  replace: (value, call, budget) => {
    const [old, fresh, count] = bound(call, "old", "new", "count");
    if (!old || !fresh) throw new Error("replace takes old and new");
    return textOf(replaced(written(value), written(old), written(fresh), count ? whole(count) : -1, budget));
  },
  indent: indented,
  int: (value, call) => {
    const [fallback, base] = bound(call, "default", "base");
    if (base && whole(base) !== 10) throw new Error("only base 10 is known");
    return numberIn(value, "int") ?? fallback ?? integerOf(0);
  },
  float: (value, call) => numberIn(value, "float") ?? bound(call, "default")[0] ?? floatOf(0),
  abs: (value) => {
    if (!isNumber(value)) throw new Error(`${nameOf(value)} has no absolute value`);
    return isFloat(value) ? floatOf(Math.abs(Number(value.value))) : integerOf(Math.abs(Number(value.value)));
  },
  round: (value, call) => {
    const [precision, method] = bound(call, "precision", "method");
    const digits = precision ? whole(precision) : 0;
    if (!isNumber(value) || digits < 0 || digits > 15) throw new Error("round takes a number and 0 to 15 digits");
    const number = Number(value.value);
    const name = method ? written(method) : "common";
    if (name === "common") return isFloat(value) ? floatOf(Number(rounded(number, digits))) : integerOf(number);
    if (name !== "ceil" && name !== "floor") throw new Error("method must be common, ceil or floor");
    return floatOf(Math[name](number * 10 ** digits) / 10 ** digits);
  },
};

/** @throws Error for a name that is not known */
export function filterNamed(name: string): Filter {
  if (Object.hasOwn(filters, name)) return filters[name]!;
  throw new Error(`No filter named '${name}'`);
}

type Test = (value: Value, other: Value, budget: Budget) => boolean;
const same: Test = areSame;

const tests: Readonly<Record<string, Test>> = {
  defined: (value) => !isMissing(value),
  undefined: isMissing,
  none: isNone,
  boolean: isTruth,
  true: (value) => isTruth(value) && value.value === true,
  false: (value) => isTruth(value) && value.value === false,
  integer: isInteger,
  float: isFloat,
  number: isNumber,
  string: isText,
  mapping: isMapping,
  iterable: isIterable,
  sequence: isIterable,
  callable: ({ type }) => type === "FunctionValue",
  odd: (value) => Math.abs(whole(value)) % 2 === 1,
  even: (value) => whole(value) % 2 === 0,
  divisibleby: (value, other) => whole(value) % whole(other) === 0,
  lower: (value) => isTrue(byMethod("islower")(value, noArguments, idle)),
  upper: (value) => isTrue(byMethod("isupper")(value, noArguments, idle)),
  sameas: (value, other) => value === other || (!isList(value) && !isMapping(value) && value.type === other.type && areSame(value, other)),
  eq: same,
  equalto: same,
  "==": same,
  ne: (value, other) => !areSame(value, other),
  "!=": (value, other) => !areSame(value, other),
  lt: (value, other) => compare(value, other) < 0,
  le: (value, other) => compare(value, other) <= 0,
  gt: (value, other) => compare(value, other) > 0,
  ge: (value, other) => compare(value, other) >= 0,
  in: (value, other, budget) => isIn(value, other, budget),
};

function isIterable(value: Value): boolean {
  return isText(value) || isList(value) || isMapping(value) || isMissing(value);
}

const noArguments: Call = { args: [], named: new Map() };
const idle: Budget = { spend: () => {}, pass: () => {}, make: () => {} };

/** @throws Error for a name that is not known */
export function testNamed(name: string): Test {
  if (Object.hasOwn(tests, name)) return tests[name]!;
  throw new Error(`No test named '${name}'`);
}

function json(value: Value, call: Call, budget: Budget): Value {
  const [ascii, indent, separators, sorted] = bound(call, "ensure_ascii", "indent", "separators", "sort_keys");
  const wide = indent === null || indent === undefined || isNone(indent) ? null : isText(indent) ? indent.value : " ".repeat(Math.min(2 ** 10, Math.max(0, whole(indent))));
  const given = separators && !isNone(separators) ? elementsOf(separators).map(written) : [wide === null ? ", " : ",", ": "];
  if (given.length !== 2) throw new Error("separators takes two texts");
  return textOf(toJson(value, { indent: wide, ascii: isSet(ascii), separators: [given[0]!, given[1]!], sorted: isSet(sorted) }, budget));
}

function orDefault(value: Value, call: Call): Value {
  const [fallback, anyFalse] = bound(call, "default_value", "boolean");
  return isMissing(value) || (isSet(anyFalse) && !isTrue(value)) ? (fallback ?? textOf("")) : value;
}

const orElse = (value: Value, fallback: Value | null): Value => (isMissing(value) && fallback !== null ? fallback : value);

function entriesOf(value: Value): Value[] {
  if (isMapping(value)) return Array.from(value.value, ([key, item]) => tupleOf([textOf(key), item]));
  if (isMissing(value)) return [];
  throw new Error(`${nameOf(value)} has no items`);
}

/** A path such as `function.name` or `0`; the value itself where none is given. */
function attributeOf(value: Value, path: Value | null): Value {
  if (path === null || isNone(path)) return value;
  return written(path).split(".").reduce((item, part) => {
    if (isMissing(item)) throw new Error(`${part} of what is undefined`);
    if (isMapping(item) || isNamespace(item)) return item.value.get(part) ?? missing();
    return (isList(item) && /^\d+$/.test(part) ? item.value[Number(part)] : undefined) ?? missing();
  }, value);
}

function keyOf(value: Value, attribute: Value | null, sensitive: boolean): Value {
  const key = attributeOf(value, attribute);
  return isText(key) && !sensitive ? textOf(key.value.toLowerCase()) : key;
}

function ordered(values: readonly Value[], attribute: Value | null, sensitive: boolean, reverse: boolean): Value[] {
  const keyed = values.map((value) => ({ value, key: keyOf(value, attribute, sensitive) }));
  return keyed.toSorted((a, b) => (reverse ? compare(b.key, a.key) : compare(a.key, b.key))).map(({ value }) => value);
}

function extreme(value: Value, call: Call, sign: 1 | -1): Value {
  const [sensitive, attribute] = bound(call, "case_sensitive", "attribute");
  const sorted = ordered(elementsOf(value), attribute ?? null, isSet(sensitive), sign === 1);
  return sorted[0] ?? missing();
}

function chosen(value: Value, { args, named }: Call, budget: Budget, select: boolean, byAttribute: boolean): Value {
  if (named.size > 0) throw new Error("takes no named arguments");
  const [attribute, name, given] = byAttribute ? args : [null, ...args];
  const other = given ?? none();
  if (attribute === undefined) throw new Error("Missing parameter for attribute name");
  const test: Test = name === undefined || name === null ? isTrue : testNamed(written(name));
  return listOf(elementsOf(value).filter((item) => {
    budget.pass(other);
    return test(attributeOf(item, attribute), other, budget) === select;
  }));
}

function indented(value: Value, call: Call, budget: Budget): Value {
  const [width, first, blank] = bound(call, "width", "first", "blank");
  const margin = width && isText(width) ? width.value : " ".repeat(Math.min(2 ** 16, width ? whole(width) : 4));
  const lines = linesOf(`${written(value)}\n`);
  budget.make(margin.length * lines.length);
  return textOf(lines.map((line, at) => (at === 0 ? (isSet(first) ? margin + line : line) : line === "" && !isSet(blank) ? line : margin + line)).join("\n"));
}

