import { choice, empty, literal, nothing, optional, repeat, rule, sequence, anyChar, type Expression, type Grammar } from "./expression.ts";
import { formats } from "./formats.ts";
import { asJson, colon, comma, enclosed, json, jsonRules, jsonText } from "./json.ts";
import { numberWithin } from "./number-range.ts";
import { mostCopies, parseRegex } from "./regex.ts";
import { mergeSchemas } from "./schema-merge.ts";
import { checkSchema, count, listOf, recordOf, restrictions, SchemaPlace, textOf, typesOf, unimplied, type JsonType, type Schema, type SchemaObject } from "./schema-node.ts";

const mostDepth = 200;
const mostSchemas = 20_000;

/** The JSON that follows a schema. What of JSON Schema is enforced, and how, stands at `SchemaCompiler`. */
export function jsonSchemaGrammar(schema: unknown, where = "json_schema.schema"): Grammar {
  const rules = new Map(jsonRules);
  rules.set("root", new SchemaCompiler(schema, where, rules, "").compile());
  return { root: "root", rules };
}

/**
 * Schemas to grammars. Everything that is written follows the schema; of what follows it, some is never written:
 * - `properties` come in their order, and others only where `additionalProperties` asks for them; those come last
 * - a schema without `type` that has keywords of one type means that type
 * - numbers with bounds have no exponent, strings with `pattern` or `format` no needless escapes
 * `oneOf` is `anyOf`: that no second alternative matches is not looked at. Keywords that only describe are not read; those that
 * would forbid something and cannot be enforced are refused, as is a `$ref` that leaves the schema.
 */
export class SchemaCompiler {
  readonly #root: unknown;
  readonly #place: SchemaPlace;
  readonly #rules: Map<string, Expression>;
  readonly #prefix: string;
  #schemas = 0;
  #names = 0;

  /**
   * @param where what the schema is, for messages
   * @param rules `jsonRules`, and where the schema's own rules go
   * @param prefix tells the names of its rules from others
   */
  constructor(root: unknown, where: string, rules: Map<string, Expression>, prefix: string) {
    this.#root = root;
    this.#place = new SchemaPlace(where);
    this.#rules = rules;
    this.#prefix = prefix;
  }

  /** @throws LongjingError "bad_argument" when the schema is malformed or too complex, "unsupported" for what cannot be enforced */
  compile(): Expression {
    return this.#reference("#", this.#place);
  }

  #any(value: unknown, at: SchemaPlace): Expression {
    if (++this.#schemas > mostSchemas || at.depth > mostDepth) throw at.error("too many schemas, or too deep");
    const schema = checkSchema(value, at);
    if (schema === true) return json.value;
    if (schema === false) return nothing;
    const { $ref } = schema;
    if (typeof $ref === "string" && restrictions(schema).length === 1) return this.#reference($ref, at);
    if ($ref !== undefined || schema["allOf"] !== undefined) return this.#any(this.#flatten(schema, at), at);
    const alternatives = ["anyOf", "oneOf"].find((keyword) => schema[keyword] !== undefined);
    if (alternatives !== undefined) return this.#alternatives(schema, alternatives, at);
    if (schema["enum"] !== undefined || schema["const"] !== undefined) return this.#constants(schema, at);
    const types = typesOf(schema, at);
    return types === null ? json.value : choice(...types.map((type) => this.#typed(type, schema, at)));
  }

  /** The rule of what a reference names. */
  #reference(ref: string, at: SchemaPlace): Expression {
    const name = `${this.#prefix}${ref}`;
    if (!this.#rules.has(name)) {
      this.#rules.set(name, nothing); // it may refer to itself
      const { value, place } = this.#resolve(ref, at);
      this.#rules.set(name, this.#any(value, place));
    }
    return rule(name);
  }

  #resolve(ref: string, at: SchemaPlace): { readonly value: unknown; readonly place: SchemaPlace } {
    if (ref !== "#" && !ref.startsWith("#/")) throw at.unsupported("$ref", "Only references within the schema, as #/$defs/name, are followed");
    const keys = ref === "#" ? [] : decodePointer(ref.slice(2), at);
    let value = this.#root;
    for (const key of keys) {
      if (typeof value !== "object" || value === null || !Object.hasOwn(value, key)) throw at.in("$ref").error("the reference leads nowhere", ref);
      value = (value as SchemaObject)[key];
    }
    return { value, place: this.#place.in(...keys) };
  }

  /** `$ref` and `allOf` merged into what stands beside them. */
  #flatten({ $ref, allOf, ...own }: SchemaObject, at: SchemaPlace, seen: readonly unknown[] = []): Schema {
    const parts: { readonly value: unknown; readonly place: SchemaPlace }[] = [];
    if ($ref !== undefined) {
      if (typeof $ref !== "string") throw at.in("$ref").error("not a reference", $ref);
      if (seen.includes($ref) || seen.length > mostDepth) throw at.in("$ref").error("the reference leads back to itself", $ref);
      parts.push(this.#resolve($ref, at));
    }
    for (const [i, value] of (listOf({ allOf }, "allOf", at) ?? []).entries()) parts.push({ value, place: at.in("allOf", i) });
    let merged: Schema = own;
    for (const { value, place } of parts) {
      if (++this.#schemas > mostSchemas) throw at.error("too many schemas");
      const part = checkSchema(value, place);
      const flat = typeof part === "object" && (part["$ref"] !== undefined || part["allOf"] !== undefined) ? this.#flatten(part, place, [...seen, $ref]) : part;
      merged = mergeSchemas(merged, flat, place);
    }
    return merged;
  }

  /** What stands beside the alternatives holds for each of them. */
  #alternatives(schema: SchemaObject, keyword: string, at: SchemaPlace): Expression {
    const { [keyword]: _, ...own } = schema;
    const list = listOf(schema, keyword, at) ?? [];
    if (list.length === 0) throw at.in(keyword).error("no alternatives");
    const alone = restrictions(own).length === 0;
    return choice(...list.map((value, i) => this.#any(alone ? value : { ...own, allOf: [...(listOf(own, "allOf", at) ?? []), value] }, at.in(keyword, i))));
  }

  #constants(schema: SchemaObject, at: SchemaPlace): Expression {
    const extra = restrictions(schema).find((keyword) => !["enum", "const", "type", "nullable"].includes(keyword));
    if (extra !== undefined) throw at.unsupported(extra, "Beside enum and const only type is looked at");
    const types = typesOf(schema, at);
    const listed = listOf(schema, "enum", at) ?? [schema["const"]];
    const same = (value: unknown): boolean => schema["const"] === undefined || JSON.stringify(value) === JSON.stringify(schema["const"]);
    const allowed = (value: unknown): boolean => types === null || types.some((type) => isOf(type, value));
    return choice(...listed.filter((value) => same(value) && allowed(value)).map(constant));
  }

  #typed(type: JsonType, schema: SchemaObject, at: SchemaPlace): Expression {
    switch (type) {
      case "object":
        return this.#object(schema, at);
      case "array":
        return this.#array(schema, at);
      case "string":
        return string(schema, at);
      case "number":
      case "integer":
        return number(schema, type === "integer", at);
      default:
        return json[type];
    }
  }

  /** A rule of its own, so that what is said twice is compiled once. */
  #named(expression: Expression): Expression {
    if (expression.type === "rule") return expression;
    const name = `${this.#prefix}part ${this.#names++}`;
    this.#rules.set(name, expression);
    return rule(name);
  }

  #object(schema: SchemaObject, at: SchemaPlace): Expression {
    const declared = recordOf(schema, "properties", at) ?? {};
    const required = listOf(schema, "required", at) ?? [];
    const stray = required.find((name) => typeof name !== "string");
    if (stray !== undefined) throw at.in("required").error("not a name", stray);
    const rest = schema["additionalProperties"] ?? schema["properties"] === undefined;
    const undeclared = [...new Set(required as readonly string[])].filter((name) => !Object.hasOwn(declared, name));
    for (const keyword of ["minProperties", "maxProperties"]) count(schema, keyword, at, 0);
    for (const keyword of unimplied(schema)) throw at.unsupported(keyword);
    const members = [
      ...Object.entries(declared).map(([name, value]) => ({ name, value: this.#any(value, at.in("properties", name)), optional: !required.includes(name) })),
      ...undeclared.map((name) => ({ name, value: schema["additionalProperties"] === undefined ? json.value : this.#any(rest, at.in("additionalProperties")), optional: false })),
    ].map(({ name, value, ...member }) => ({ ...member, text: sequence(jsonText(name), colon(), value) }));
    const others = rest === false ? nothing : this.#others(rest, [...Object.keys(declared), ...undeclared], at);
    return enclosed("{", "}", this.#members(members, others));
  }

  /** Members whose names are not declared, at least one. */
  #others(rest: unknown, names: readonly string[], at: SchemaPlace): Expression {
    const value = this.#any(rest, at.in("additionalProperties"));
    // A name that is spelled with needless escapes could be one of the declared.
    const name = names.length === 0 ? json.string : except(names);
    const member = this.#named(sequence(name, colon(), value));
    return sequence(member, repeat(sequence(comma(), member), 0));
  }

  /** Members in their order, optional ones left out or not, then others. */
  #members(members: readonly { readonly text: Expression; readonly optional: boolean }[], others: Expression): Expression {
    let from = others; // at least one member from here on
    let mayBeNone = true;
    for (const [i, { text, optional: mayLeave }] of [...members.entries()].reverse()) {
      const more = sequence(comma(), from);
      const here = sequence(text, mayBeNone ? optional(more) : more);
      from = mayLeave ? this.#named(choice(here, from)) : here;
      mayBeNone &&= mayLeave;
      if (i > 0 && members[i - 1]?.optional === true) from = this.#named(from);
    }
    return mayBeNone ? optional(from) : from;
  }

  #array(schema: SchemaObject, at: SchemaPlace): Expression {
    // Before 2020 a list of `items` was what `prefixItems` is now, and `additionalItems` what `items` is.
    const old = Array.isArray(schema["items"]);
    const prefix = listOf(schema, old ? "items" : "prefixItems", at) ?? [];
    const rest = schema[old ? "additionalItems" : "items"] ?? true;
    const min = count(schema, "minItems", at, 0);
    const max = Math.min(count(schema, "maxItems", at, Infinity), rest === false ? prefix.length : Infinity);
    if (min > mostCopies || (max !== Infinity && max > mostCopies)) throw at.error("too many items to count", Math.max(min, max), `at most ${mostCopies}`);
    if (max < min) return nothing;
    const first = prefix.slice(0, max).map((value, i) => this.#any(value, at.in(old ? "items" : "prefixItems", i)));
    const item = rest === false || max <= first.length ? nothing : this.#named(this.#any(rest, at.in(old ? "additionalItems" : "items")));
    return enclosed("[", "]", items(first, item, min, max));
  }
}

/** Items, the first of them each of its own kind, `min` to `max` in all. */
function items(first: readonly Expression[], item: Expression, min: number, max: number): Expression {
  const known = first.length;
  const more = (from: number): Expression => repeat(sequence(comma(), item), Math.max(0, min - from), max - from);
  if (known === 0) return max === 0 ? empty : sequenceOrNone(min, sequence(item, more(1)));
  let tail = more(known);
  for (let i = known - 1; i >= 0; i--) tail = sequenceOrNone(min - i, sequence(...(i === 0 ? [] : [comma()]), first[i] as Expression, tail));
  return tail;
}

const sequenceOrNone = (needed: number, expression: Expression): Expression => (needed > 0 ? expression : optional(expression));

function string(schema: SchemaObject, at: SchemaPlace): Expression {
  const [min, max] = [count(schema, "minLength", at, 0), count(schema, "maxLength", at, Infinity)];
  if (min > mostCopies || (max !== Infinity && max > mostCopies)) throw at.error("too many characters to count", Math.max(min, max), `at most ${mostCopies}`);
  if (max < min) return nothing;
  const [pattern, format] = [textOf(schema, "pattern", at), textOf(schema, "format", at)];
  const texts: Expression[] = [];
  if (pattern !== undefined) texts.push(parseRegex(pattern, "somewhere"));
  if (format !== undefined) {
    const regex = Object.hasOwn(formats, format) ? formats[format] : undefined;
    if (regex === undefined) throw at.unsupported("format", `${JSON.stringify(format)} is none of ${Object.keys(formats).join(", ")}`);
    texts.push(parseRegex(regex, "whole"));
  }
  const counted = min > 0 || max !== Infinity;
  if (texts.length === 0) return counted ? sequence(literal('"'), repeat(json.char, min, max), literal('"')) : json.string;
  if (counted) texts.push(repeat(anyChar, min, max));
  return sequence(literal('"'), asJson(texts.reduce((item, other) => ({ type: "and", item, other }))), literal('"'));
}

function number(schema: SchemaObject, integer: boolean, at: SchemaPlace): Expression {
  const bound = (keyword: string): number | undefined => {
    const value = schema[keyword];
    // A bound that JSON's readers round is not the bound that was written.
    if (integer && typeof value === "number" && Math.abs(value) > Number.MAX_SAFE_INTEGER) throw at.in(keyword).error("too large a bound of integers", value, `at most ${Number.MAX_SAFE_INTEGER}`);
    if (value === undefined || (typeof value === "number" && Number.isFinite(value))) return value;
    throw at.in(keyword).error("not a number", value);
  };
  // In draft 4 the exclusive keywords were flags of the others.
  const flag = (keyword: string): boolean => schema[keyword] === true;
  const side = (plain: string, exclusive: string): readonly [number | undefined, number | undefined] =>
    flag(exclusive) ? [undefined, bound(plain)] : [bound(plain), schema[exclusive] === false ? undefined : bound(exclusive)];
  const [minimum, exclusiveMinimum] = side("minimum", "exclusiveMinimum");
  const [maximum, exclusiveMaximum] = side("maximum", "exclusiveMaximum");
  const multipleOf = bound("multipleOf");
  if (multipleOf !== undefined && multipleOf <= 0) throw at.in("multipleOf").error("not a divisor", multipleOf, "a number above 0");
  const given = Object.entries({ minimum, exclusiveMinimum, maximum, exclusiveMaximum, multipleOf }).filter(([, value]) => value !== undefined);
  return numberWithin({ integer, ...Object.fromEntries(given) });
}

/** One value, in any of the layouts that are allowed. */
function constant(value: unknown): Expression {
  if (typeof value !== "object" || value === null) return jsonValue(value);
  const parts = Array.isArray(value) ? value.map(constant) : Object.entries(value).map(([name, member]) => sequence(jsonText(name), colon(), constant(member)));
  const list = parts.flatMap((part, i) => (i === 0 ? [part] : [comma(), part]));
  return Array.isArray(value) ? enclosed("[", "]", sequence(...list)) : enclosed("{", "}", sequence(...list));
}

const jsonValue = (value: unknown): Expression => literal(JSON.stringify(value ?? null));

function isOf(type: JsonType, value: unknown): boolean {
  if (value === null) return type === "null";
  if (Array.isArray(value)) return type === "array";
  if (type === "integer") return Number.isInteger(value);
  return typeof value === type;
}

/** A string that is none of these, spelled as `JSON.stringify` would. */
function except(names: readonly string[]): Expression {
  return sequence(literal('"'), asJson({ type: "and not", item: repeat(anyChar, 0), other: choice(...names.map(literal)) }), literal('"'));
}

function decodePointer(pointer: string, at: SchemaPlace): string[] {
  try {
    return pointer.split("/").map((key) => decodeURIComponent(key).replaceAll("~1", "/").replaceAll("~0", "~"));
  } catch {
    throw at.in("$ref").error("not a pointer", pointer);
  }
}
