import { Environment, Interpreter } from "@huggingface/jinja";

/** A value of a chat template: what we use of the interpreter's classes, whose own types do not resolve under Node's module rules. */
export interface Value {
  readonly type: string;
  readonly value: unknown;
  __bool__(): { readonly value: boolean };
}

export interface Scope {
  set(name: string, value: unknown): Value;
  setVariable(name: string, value: Value): Value;
}

export const NewScope = Environment as unknown as new (parent?: Scope) => Scope;

/** A call's arguments: those by place, and those by name. */
export interface Call {
  readonly args: readonly Value[];
  readonly named: ReadonlyMap<string, Value>;
}

type Made<T> = new (value: T) => Value;
const samples = new NewScope();
const classOf = (name: string, sample: unknown): unknown => samples.set(name, sample).constructor;
const Text = classOf("text", "") as Made<string>;
const Integer = classOf("integer", 0) as Made<number>;
const Float = classOf("float", 0.5) as Made<number>;
const Truth = classOf("truth", true) as Made<boolean>;
const List = classOf("list", []) as Made<readonly Value[]>;
const Mapping = classOf("mapping", {}) as Made<ReadonlyMap<string, Value>>;
const Callable = classOf("callable", () => 0) as Made<(args: readonly Value[]) => Value>;
const Nothing = classOf("nothing", null) as Made<null>;
const Missing = classOf("missing", undefined) as Made<undefined>;
const interpreter = new (Interpreter as unknown as new (scope: Scope) => { evaluate(node: unknown, scope: Scope): Value })(samples);
const Tuple = interpreter.evaluate({ type: "TupleLiteral", value: [] }, samples).constructor as Made<readonly Value[]>;
const Namespace = interpreter.evaluate({ type: "CallExpression", callee: { type: "Identifier", value: "namespace" }, args: [] }, samples).constructor as Made<ReadonlyMap<string, Value>>;

export const textOf = (value: string): Value => new Text(value);
export const integerOf = (value: number): Value => new Integer(value);
export const floatOf = (value: number): Value => new Float(value);
export const truthOf = (value: boolean): Value => new Truth(value);
export const listOf = (values: readonly Value[]): Value => new List(values);
export const tupleOf = (values: readonly Value[]): Value => new Tuple(values);
export const mappingOf = (entries: Iterable<readonly [string, Value]>): Value => new Mapping(new Map(entries));
export const namespaceOf = (entries: Iterable<readonly [string, Value]>): Value => new Namespace(new Map(entries));
export const none = (): Value => new Nothing(null);
export const missing = (): Value => new Missing(undefined);
export const callableOf = (run: (call: Call) => Value): Value =>
  new Callable((given) => {
    const last = given.at(-1);
    const named = last?.type === "KeywordArgumentsValue" ? (last.value as ReadonlyMap<string, Value>) : new Map<string, Value>();
    return run({ args: last?.type === "KeywordArgumentsValue" ? given.slice(0, -1) : given, named });
  });

export const isText = (value: Value): value is Value & { readonly value: string } => value.type === "StringValue";
export const isMissing = (value: Value): boolean => value.type === "UndefinedValue";
export const isNone = (value: Value): boolean => value.type === "NullValue";
export const isTruth = (value: Value): boolean => value.type === "BooleanValue";
export const isInteger = (value: Value): boolean => value.type === "IntegerValue";
export const isFloat = (value: Value): boolean => value.type === "FloatValue";
export const isNumber = (value: Value): boolean => isInteger(value) || isFloat(value) || isTruth(value);
export const isList = (value: Value): value is Value & { readonly value: readonly Value[] } => value.type === "ArrayValue" || value.type === "TupleValue";
export const isMapping = (value: Value): value is Value & { readonly value: ReadonlyMap<string, Value> } => value.type === "ObjectValue" || value.type === "KeywordArgumentsValue";
export const isNamespace = (value: Value): value is Value & { readonly value: ReadonlyMap<string, Value> } => value.type === "NamespaceValue";
export const isTrue = (value: Value): boolean => value.__bool__().value;

/** What a call gives for parameters of these names, in order; null for what it leaves out. @throws Error for other arguments */
export function bound({ args, named }: Call, ...names: readonly string[]): (Value | null)[] {
  if (args.length > names.length || [...named.keys()].some((name) => !names.includes(name))) throw new Error(`takes ${names.length === 0 ? "no arguments" : names.join(", ")}`);
  return names.map((name, at) => args[at] ?? named.get(name) ?? null);
}

/** The elements of a list, keys of a mapping or characters of a text; of what is undefined, none, as in Jinja. */
export function elementsOf(value: Value): readonly Value[] {
  if (isList(value)) return value.value;
  if (isMapping(value)) return Array.from(value.value.keys(), textOf);
  if (isText(value)) return Array.from(value.value, textOf);
  if (isMissing(value)) return [];
  throw new Error(`${nameOf(value)} is not iterable`);
}

/** The name of a value's type in Python. */
export function nameOf({ type }: Value): string {
  const names: Readonly<Record<string, string>> = { StringValue: "str", IntegerValue: "int", FloatValue: "float", BooleanValue: "bool", ArrayValue: "list", TupleValue: "tuple", ObjectValue: "dict", NullValue: "None", UndefinedValue: "Undefined" };
  return names[type] ?? type;
}

/** Python's `==`: by value; a number and a truth value compare as numbers. */
export function areSame(a: Value, b: Value): boolean {
  if (isNumber(a) && isNumber(b)) return Number(a.value) === Number(b.value);
  if (isMapping(a) && isMapping(b)) return a.value.size === b.value.size && [...a.value].every(([key, value]) => b.value.has(key) && areSame(value, b.value.get(key)!));
  if (a.type !== b.type) return false;
  if (isList(a) && isList(b)) return a.value.length === b.value.length && a.value.every((value, at) => areSame(value, b.value[at]!));
  return isText(a) || isNone(a) || isMissing(a) ? a.value === b.value : a === b;
}

/** Python's `<`, as a number below, at or above zero. @throws Error for what has no order */
export function compare(a: Value, b: Value): number {
  if (isNumber(a) && isNumber(b)) return Number(a.value) - Number(b.value);
  if (isText(a) && isText(b)) return a.value < b.value ? -1 : a.value > b.value ? 1 : 0;
  if (isList(a) && isList(b)) {
    const at = a.value.findIndex((value, i) => b.value[i] === undefined || !areSame(value, b.value[i]));
    if (at === -1) return a.value.length - b.value.length;
    return b.value[at] === undefined ? 1 : compare(a.value[at]!, b.value[at]);
  }
  throw new Error(`${nameOf(a)} and ${nameOf(b)} have no order`);
}

/** Python's `str(value)`: what a template writes. Nothing for what is undefined. */
export function written(value: Value): string {
  if (isText(value)) return value.value;
  return isMissing(value) ? "" : represented(value);
}

/** Python's `repr(value)`. @throws Error for a function or a namespace */
export function represented(value: Value): string {
  if (isText(value)) return quoted(value.value);
  if (isNone(value)) return "None";
  if (isMissing(value)) return "Undefined";
  if (isTruth(value)) return value.value === true ? "True" : "False";
  if (isNumber(value)) return writtenNumber(value);
  if (isMapping(value)) return `{${Array.from(value.value, ([key, item]) => `${quoted(key)}: ${represented(item)}`).join(", ")}}`;
  if (!isList(value)) throw new Error(`${nameOf(value)} cannot be written`);
  const parts = value.value.map(represented);
  if (value.type === "ArrayValue") return `[${parts.join(", ")}]`;
  return parts.length === 1 ? `(${parts[0]},)` : `(${parts.join(", ")})`;
}

export function writtenNumber(number: Value): string {
  const value = Number(number.value);
  if (isInteger(number)) return Number.isFinite(value) ? BigInt(value).toString() : String(value);
  if (!Number.isFinite(value)) return Number.isNaN(value) ? "nan" : value > 0 ? "inf" : "-inf";
  const [digits, exponent] = value.toExponential().split("e") as [string, string];
  const power = Number(exponent);
  if (power < -4 || power >= 16) return `${digits}e${power < 0 ? "-" : "+"}${String(Math.abs(power)).padStart(2, "0")}`;
  const plain = Object.is(value, -0) ? "-0" : String(value);
  return plain.includes(".") ? plain : `${plain}.0`;
}

const short: Readonly<Record<string, string>> = { "\n": "\\n", "\r": "\\r", "\t": "\\t", "\\": "\\\\" };
const unprinted = /[\\\p{C}\p{Zl}\p{Zp}]|(?! )\p{Zs}/gu;

function quoted(text: string): string {
  const mark = text.includes("'") && !text.includes('"') ? '"' : "'";
  const escaped = text.replace(unprinted, (character) => {
    const code = character.codePointAt(0)!;
    const [letter, width] = code < 0x100 ? ["x", 2] : code < 0x10000 ? ["u", 4] : ["U", 8];
    return short[character] ?? `\\${letter}${code.toString(16).padStart(width as number, "0")}`;
  });
  return mark + (mark === "'" ? escaped.replaceAll("'", "\\'") : escaped) + mark;
}
