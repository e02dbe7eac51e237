import { Environment, Interpreter, Template } from "@huggingface/jinja";
import { LongjingError } from "../errors/index.ts";

/** What we use of the interpreter, whose own types do not resolve under Node's module rules. */
interface RuntimeValue {
  readonly type: string;
  readonly value: unknown;
}
interface Node {
  readonly type: string;
  /** Of a loop; what a loop with a condition goes through is `lhs`. */
  readonly iterable?: Node;
  readonly lhs?: Node;
}
interface Scope {
  set(name: string, value: unknown): void;
}
const NewScope = Environment as unknown as new () => Scope;
const BaseInterpreter = Interpreter as unknown as new (globals: Scope) => {
  evaluate(node: Node | undefined, scope: Scope): RuntimeValue;
  run(program: unknown): RuntimeValue;
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
 * every machine. A value that would be larger than the longest conversation is refused where it comes up.
 * @throws LongjingError `too_large`; whatever the template raises
 */
export function renderBounded(template: Template, scope: Readonly<Record<string, unknown>>): string {
  const environment = new NewScope();
  for (const [name, value] of Object.entries({ ...globals, ...scope })) environment.set(name, value);
  return String(new BoundedInterpreter(environment).run(template.parsed).value);
}

class BoundedInterpreter extends BaseInterpreter {
  #steps = 0;
  readonly #loopedOver = new WeakSet<Node>();
  readonly #sizes = new WeakMap<RuntimeValue, number>();

  override evaluate(node: Node | undefined, scope: Scope): RuntimeValue {
    if (node?.type === "For" && node.iterable !== undefined) this.#loopedOver.add(node.iterable.lhs ?? node.iterable);
    const value = super.evaluate(node, scope);
    const { value: held } = value;
    const elements = typeof held === "string" || Array.isArray(held) ? held.length : held instanceof Map ? held.size : 0;
    this.#spend(1 + (node !== undefined && this.#loopedOver.has(node) ? loopSteps * elements : elements / elementsPerStep));
    this.#size(value);
    return value;
  }

  #spend(steps: number): void {
    this.#steps += steps;
    if (this.#steps > mostSteps) throw tooLarge("The chat template takes too long", `more than ${mostSteps} steps`, `${mostSteps} at most`);
  }

  /** Characters and elements within a value, which nothing changes once it is made. Parts that are shared count each time: written out, they are. */
  #size(value: RuntimeValue): number {
    const known = this.#sizes.get(value);
    if (known !== undefined) return known;
    const parts = children(value);
    this.#spend(parts?.length ?? 0);
    const size = parts === null ? 1 + (typeof value.value === "string" ? value.value.length : 0) : parts.reduce((sum, part) => sum + this.#size(part), 1);
    if (size > mostCharacters) throw tooLarge("The chat template makes too much text", `${size} characters`, `${mostCharacters} at most`);
    this.#sizes.set(value, size);
    return size;
  }
}

/** Elements of a list or values of a mapping. A namespace, which can be assigned to, is never written out. */
function children(value: RuntimeValue): RuntimeValue[] | null {
  if (value.type === "ArrayValue" || value.type === "TupleValue") return value.value as RuntimeValue[];
  return value.type === "ObjectValue" ? [...(value.value as Map<string, RuntimeValue>).values()] : null;
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
