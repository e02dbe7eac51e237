import { Interpreter, Template } from "@huggingface/jinja";
import { LongjingError } from "../errors/index.ts";
import { filterNamed, testNamed } from "./template-filters.ts";
import { memberOf } from "./template-members.ts";
import { operate } from "./template-operators.ts";
import type { Budget } from "./template-texts.ts";
import { areSame, callableOf, elementsOf, integerOf, isList, isMapping, isMissing, isTrue, mappingOf, missing, nameOf, namespaceOf, none, NewScope, textOf, truthOf, tupleOf, written, type Call, type Scope, type Value } from "./template-values.ts";

/** What we use of the interpreter's syntax tree. */
interface Node {
  readonly type: string;
  readonly value?: unknown;
}
interface Binary extends Node {
  readonly operator: { readonly value: string };
  readonly left: Node;
  readonly right: Node;
}
interface Member extends Node {
  readonly object: Node;
  readonly property: Node;
  readonly computed: boolean;
}
interface Loop extends Node {
  readonly loopvar: Node;
  /** What a loop with a condition goes through is `lhs`. */
  readonly iterable: Node & { readonly lhs?: Node; readonly test?: Node };
  readonly body: readonly Node[];
  readonly defaultBlock: readonly Node[];
}
interface FilterName extends Node {
  readonly callee?: Node;
  readonly args?: readonly Node[];
}
interface Test extends Node {
  readonly operand: Node;
  readonly negate: boolean;
  readonly test: { readonly value: string };
}

/** The interpreter's own methods, whose types are not public. */
const BaseInterpreter = Interpreter as unknown as new (globals: Scope) => {
  evaluate(node: Node | undefined, scope: Scope): Value;
  run(program: unknown): Value;
  evaluateArguments(args: readonly Node[], scope: Scope): [Value[], Map<string, Value>];
  evaluateSliceExpression(object: Value, slice: Node, scope: Scope): Value;
  evaluateBlock(statements: readonly Node[], scope: Scope): Value;
  evaluateBinaryExpression(node: Binary, scope: Scope): Value;
  evaluateMemberExpression(node: Member, scope: Scope): Value;
  evaluateTestExpression(node: Test, scope: Scope): Value;
  evaluateFor(node: Loop, scope: Scope): Value;
  applyFilter(value: Value, filter: FilterName, scope: Scope): Value;
};

/** Of a rendered conversation, and of every value on the way there: a million tokens or so. */
const mostCharacters = 2 ** 22;
/** About a second; a conversation of a thousand messages takes a few hundredths of it. */
const mostSteps = 2 ** 21;
/** What one pass of an empty loop costs, in steps. */
const loopSteps = 8;
/** Elements or characters that a filter or a comparison goes through in one step. */
const elementsPerStep = 32;

/**
 * Runs a parsed template, which may come from anyone, to a deadline that is counted in steps: the same template is refused on
 * every machine. A value that would be larger than the longest conversation is refused where it comes up. Values are written,
 * compared and counted as Jinja under Python does it.
 * @throws LongjingError `too_large`; whatever the template raises
 */
export function renderBounded(template: Template, scope: Readonly<Record<string, unknown>>): string {
  const environment = new NewScope();
  for (const [name, value] of Object.entries({ ...globals, ...scope })) environment.set(name, value);
  environment.setVariable("dict", callableOf(dict));
  return String(new BoundedInterpreter(environment).run(template.parsed).value);
}

/** Ends a loop, or one pass of it. */
class LoopSignal extends Error {
  readonly ends: boolean;
  constructor(ends: boolean) {
    super(ends ? "break outside of a loop" : "continue outside of a loop");
    this.ends = ends;
  }
}

class BoundedInterpreter extends BaseInterpreter {
  #steps = 0;
  readonly #sizes = new WeakMap<Value, number>();
  readonly #budget: Budget = { spend: (steps) => this.#spend(steps), pass: (value) => this.#pass(value), make: checkSize };

  override evaluate(node: Node | undefined, scope: Scope): Value {
    if (node?.type === "Break" || node?.type === "Continue") throw new LoopSignal(node.type === "Break");
    const value = super.evaluate(node, scope);
    const { value: held } = value;
    const elements = typeof held === "string" || Array.isArray(held) ? held.length : held instanceof Map ? held.size : 0;
    this.#spend(1 + elements / elementsPerStep);
    this.#size(value);
    return value;
  }

  override evaluateBlock(statements: readonly Node[], scope: Scope): Value {
    let text = "";
    for (const statement of statements) {
      const value = this.evaluate(statement, scope);
      if (silent.has(statement.type)) continue;
      this.#pass(value);
      text += written(value);
      checkSize(text.length);
    }
    return textOf(text);
  }

  override evaluateBinaryExpression(node: Binary, scope: Scope): Value {
    const left = this.evaluate(node.left, scope);
    const operator = node.operator.value;
    if (operator === "and") return isTrue(left) ? this.evaluate(node.right, scope) : left;
    if (operator === "or") return isTrue(left) ? left : this.evaluate(node.right, scope);
    const right = this.evaluate(node.right, scope);
    this.#pass(left);
    this.#pass(right);
    return operate(operator, left, right, this.#budget);
  }

  override evaluateMemberExpression(node: Member, scope: Scope): Value {
    const object = this.evaluate(node.object, scope);
    if (isMissing(object)) throw new Error("a member of what is undefined");
    if (node.property.type === "SliceExpression") return this.#slice(object, node.property, scope);
    const byIndex = node.computed || node.property.type === "IntegerLiteral";
    const property = byIndex ? this.evaluate(node.property, scope) : textOf(String(node.property.value));
    return memberOf(object, property, byIndex, this.#budget) ?? missing();
  }

  override applyFilter(value: Value, filter: FilterName, scope: Scope): Value {
    const name = String((filter.callee ?? filter).value);
    const [args, named] = this.evaluateArguments(filter.args ?? [], scope);
    this.#pass(value);
    return filterNamed(name)(value, { args, named }, this.#budget);
  }

  override evaluateTestExpression(node: Test, scope: Scope): Value {
    return truthOf(testNamed(node.test.value)(this.evaluate(node.operand, scope), none(), this.#budget) !== node.negate);
  }

  override evaluateFor({ loopvar, iterable, body, defaultBlock }: Loop, scope: Scope): Value {
    const all = elementsOf(this.evaluate(iterable.lhs ?? iterable, scope));
    this.#spend(loopSteps * all.length);
    const inner = (item: Value): Scope => assigned(new NewScope(scope), loopvar, item);
    const items = iterable.lhs === undefined ? all : all.filter((item) => isTrue(this.evaluate(iterable.test, inner(item))));
    const changed = { last: missing() };
    let text = "";
    let whole = false;
    for (let at = 0; at < items.length; at++) {
      const pass = inner(items[at]!);
      pass.setVariable("loop", loopAt(items, at, changed));
      try {
        text += String(this.evaluateBlock(body, pass).value);
        whole = true;
      } catch (signal) {
        if (!(signal instanceof LoopSignal)) throw signal;
        if (signal.ends) break;
      }
      checkSize(text.length);
    }
    // As in Jinja: where no pass went to its end.
    return whole ? textOf(text) : textOf(text + String(this.evaluateBlock(defaultBlock, scope).value));
  }

  #spend(steps: number): void {
    this.#steps += steps;
    if (this.#steps > mostSteps) throw tooLarge("The chat template takes too long", `more than ${mostSteps} steps`, `${mostSteps} at most`);
  }

  #slice(object: Value, slice: Node, scope: Scope): Value {
    const part = this.evaluateSliceExpression(object, slice, scope);
    return object.type === "TupleValue" ? tupleOf(elementsOf(part)) : part;
  }

  #pass(value: Value): void {
    this.#spend(this.#size(value) / elementsPerStep);
  }

  /** Characters and elements within a value, which nothing changes once it is made. Parts that are shared count each time: written out, they are. */
  #size(value: Value): number {
    const known = this.#sizes.get(value);
    if (known !== undefined) return known;
    const parts = isList(value) ? value.value : isMapping(value) ? [...value.value.values()] : null;
    this.#spend(parts?.length ?? 0);
    const size = parts === null ? 1 + (typeof value.value === "string" ? value.value.length : 0) : parts.reduce((sum, part) => sum + this.#size(part), 1);
    checkSize(size);
    this.#sizes.set(value, size);
    return size;
  }
}

/** Statements that write nothing. */
const silent: ReadonlySet<string> = new Set(["Set", "Macro", "Comment"]);

function checkSize(characters: number): void {
  if (characters > mostCharacters) throw tooLarge("The chat template makes too much text", `${characters} characters`, `${mostCharacters} at most`);
}

function assigned(scope: Scope, target: Node, value: Value): Scope {
  if (target.type === "Identifier") scope.setVariable(String(target.value), value);
  else {
    const names = target.value as readonly Node[];
    const parts = elementsOf(value);
    if (target.type !== "TupleLiteral" || parts.length !== names.length) throw new Error(`cannot unpack ${nameOf(value)}`);
    names.forEach((name, at) => assigned(scope, name, parts[at]!));
  }
  return scope;
}

function loopAt(items: readonly Value[], at: number, changed: { last: Value }): Value {
  const cycle = ({ args }: Call): Value => args[at % args.length] ?? missing();
  const change = ({ args }: Call): Value => {
    const next = tupleOf(args);
    const differs = !areSame(changed.last, next);
    changed.last = next;
    return truthOf(differs);
  };
  return namespaceOf([
    ["index", integerOf(at + 1)],
    ["index0", integerOf(at)],
    ["revindex", integerOf(items.length - at)],
    ["revindex0", integerOf(items.length - at - 1)],
    ["first", truthOf(at === 0)],
    ["last", truthOf(at === items.length - 1)],
    ["length", integerOf(items.length)],
    ["depth", integerOf(1)],
    ["depth0", integerOf(0)],
    ["previtem", items[at - 1] ?? missing()],
    ["nextitem", items[at + 1] ?? missing()],
    ["cycle", callableOf(cycle)],
    ["changed", callableOf(change)],
  ]);
}

function dict({ args, named }: Call): Value {
  const [source] = args;
  if (args.length > 1) throw new Error("dict takes one mapping");
  const entries = source === undefined ? [] : isMapping(source) ? [...source.value] : elementsOf(source).map((pair) => elementsOf(pair)).map(([key, value]) => [written(key ?? missing()), value ?? missing()] as const);
  return mappingOf([...entries, ...named]);
}

const tooLarge = (message: string, got: string, expected: string): LongjingError => new LongjingError("too_large", message, { got, expected, where: "chat_template" });

/** Jinja's, as the interpreter's own `Template.render` has them, but for a range of any length. */
const globals: Readonly<Record<string, unknown>> = {
  true: true,
  false: false,
  none: null,
  True: true,
  False: false,
  None: null,
  range,
  raise_exception: (message: unknown) => {
    throw new Error(String(message));
  },
  strftime_now: (format: string) => strftime.render({ format }),
};

const strftime = new Template("{{ strftime_now(format) }}");

function range(first: number, second?: number, step = 1): number[] {
  const [start, stop] = second === undefined ? [0, first] : [first, second];
  const length = Math.max(0, Math.ceil((stop - start) / step));
  if (!Number.isSafeInteger(length) || length > mostSteps / loopSteps) throw tooLarge("The chat template takes too long", `range(${start}, ${stop}, ${step})`, `${mostSteps / loopSteps} elements at most`);
  return Array.from({ length }, (_, i) => start + i * step);
}
