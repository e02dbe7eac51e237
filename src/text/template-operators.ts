import { formatted, searching, type Budget } from "./template-texts.ts";
import { areSame, compare, elementsOf, floatOf, integerOf, isFloat, isList, isMapping, isMissing, isNumber, isText, isTruth, listOf, nameOf, textOf, truthOf, tupleOf, written, type Value } from "./template-values.ts";

/**
 * Python's operators, but for `and` and `or`, which do not evaluate both sides.
 * @throws Error for values that an operator is not for
 */
export function operate(operator: string, left: Value, right: Value, budget: Budget): Value {
  switch (operator) {
    case "==":
      return truthOf(areSame(left, right));
    case "!=":
      return truthOf(!areSame(left, right));
    case "~":
      return textOf(written(left) + written(right));
    case "in":
      return truthOf(isIn(left, right, budget));
    case "not in":
      return truthOf(!isIn(left, right, budget));
    case "<":
      return truthOf(ordered(left, right) < 0);
    case "<=":
      return truthOf(ordered(left, right) <= 0);
    case ">":
      return truthOf(ordered(left, right) > 0);
    case ">=":
      return truthOf(ordered(left, right) >= 0);
    case "+":
      return added(left, right);
    case "*":
      return repeated(left, right, budget) ?? repeated(right, left, budget) ?? arithmetic(operator, left, right);
    case "%":
      return isText(left) ? textOf(formatted(left.value, right, budget)) : arithmetic(operator, left, right);
    default:
      return arithmetic(operator, left, right);
  }
}

/** The parser reads `1 < 2 < 3` as `(1 < 2) < 3`, which Python does not. */
function ordered(left: Value, right: Value): number {
  if (isTruth(left)) throw new Error("a comparison of a comparison");
  return compare(left, right);
}

export function isIn(item: Value, container: Value, budget: Budget): boolean {
  if (isMapping(container) && (isList(item) || isMapping(item))) throw refused("in", item, container);
  if (isMapping(container)) return isText(item) && container.value.has(item.value);
  if (!isText(container)) return elementsOf(container).some((element) => areSame(element, item));
  if (!isText(item)) throw refused("in", item, container);
  searching(budget, item.value, container.value);
  return container.value.includes(item.value);
}

function added(left: Value, right: Value): Value {
  if (isText(left) && isText(right)) return textOf(left.value + right.value);
  if (isList(left) && isList(right) && left.type === right.type) return (left.type === "TupleValue" ? tupleOf : listOf)([...left.value, ...right.value]);
  return arithmetic("+", left, right);
}

function repeated(value: Value, times: Value, budget: Budget): Value | null {
  if (!(isText(value) || isList(value)) || isFloat(times) || !isNumber(times)) return null;
  const count = Math.max(0, Number(times.value));
  budget.make(value.value.length * count);
  if (isText(value)) return textOf(value.value.repeat(count));
  return (value.type === "TupleValue" ? tupleOf : listOf)(Array.from({ length: count }, () => value.value).flat());
}

function arithmetic(operator: string, left: Value, right: Value): Value {
  if (!isNumber(left) || !isNumber(right)) throw refused(operator, left, right);
  const [a, b] = [Number(left.value), Number(right.value)];
  if ((b === 0 && ["/", "//", "%"].includes(operator)) || (operator === "**" && a === 0 && b < 0)) throw new Error("division by zero");
  const result = calculated(operator, a, b);
  if (result === null) throw refused(operator, left, right);
  if (!Number.isFinite(result) && Number.isFinite(a) && Number.isFinite(b)) throw new Error("the result is too large");
  const whole = !isFloat(left) && !isFloat(right) && operator !== "/" && !(operator === "**" && b < 0);
  return whole ? integerOf(result) : floatOf(result);
}

function calculated(operator: string, a: number, b: number): number | null {
  switch (operator) {
    case "+":
      return a + b;
    case "-":
      return a - b;
    case "*":
      return a * b;
    case "/":
      return a / b;
    case "//":
      return Math.floor(a / b);
    case "%":
      return ((a % b) + b) % b;
    case "**":
      return a ** b;
    default:
      return null;
  }
}

function refused(operator: string, left: Value, right: Value): Error {
  const what = isMissing(left) || isMissing(right) ? "what is undefined" : `${nameOf(left)} and ${nameOf(right)}`;
  return new Error(`Cannot perform operation ${operator} on ${what}`);
}

