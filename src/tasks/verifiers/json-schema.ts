import { Ajv2020, type ValidateFunction } from "ajv/dist/2020.js";
import addFormats from "ajv-formats";
import { LongjingError } from "../../errors/index.ts";
import { jsonShape } from "../../text/json-shape.ts";
import { withinDeadline } from "../../threads/index.ts";
import { longestMatching } from "./pattern.ts";
import { wrong, type Verdict } from "./verdict.ts";

/** Longest JSON read, in UTF-16 units, and the deepest. */
export const longestJson = 2 ** 16;
export const deepestJson = 64;

const known = new WeakMap<object, ValidateFunction>();
const [everything, nothing] = [{}, { not: {} }];

/**
 * Whether an answer is one JSON value, alone or in one fenced block, that a schema (draft 2020-12) accepts. An object that says a key
 * twice is no JSON here: two readers may read two things. What the schema's patterns do not accept in a quarter of a second they do not.
 * @throws LongjingError "bad_argument" when the schema is malformed
 */
export function verifyJson(answer: string, schema: object | boolean): Verdict {
  const validate = validator(schema);
  const text = fenced(answer);
  const value = text.length > longestJson ? undefined : parsedOnce(text);
  if (value === undefined) return wrong(null);
  return { correct: withinDeadline(longestMatching, () => accepts(validate, value.json))?.value === true, legal: true, parsed: text };
}

/** Ajv compares objects by their own `toString` and `valueOf` where they have such: an answer with a key of that name is none of a list. */
function accepts(validate: ValidateFunction, json: unknown): boolean {
  try {
    return validate(json) === true;
  } catch (error) {
    if (error instanceof TypeError) return false;
    throw error;
  }
}

function validator(given: object | boolean): ValidateFunction {
  const schema = given === true ? everything : given === false ? nothing : given;
  const found = known.get(schema);
  if (found !== undefined) return found;
  try {
    const ajv = new Ajv2020({ strict: false, ownProperties: true });
    addFormats.default(ajv);
    const made = ajv.compile(schema);
    known.set(schema, made);
    return made;
  } catch (cause) {
    throw new LongjingError("bad_argument", "The schema is no JSON Schema", { got: schema, expected: "draft 2020-12" }, { cause });
  }
}

function fenced(text: string): string {
  const trimmed = text.trim();
  return /^```(?:json)?[ \t]*\r?\n([^]*?)\r?\n```$/.exec(trimmed)?.[1]?.trim() ?? trimmed;
}

/** Undefined for what is no JSON, too deep, or says a key twice. */
function parsedOnce(text: string): { readonly json: unknown } | undefined {
  try {
    const json: unknown = JSON.parse(text);
    const { depth, keys } = jsonShape(text);
    return depth <= deepestJson && keys === keysRead(json) ? { json } : undefined;
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}

function keysRead(json: unknown): number {
  if (typeof json !== "object" || json === null) return 0;
  const values: unknown[] = Object.values(json);
  return (Array.isArray(json) ? 0 : values.length) + values.reduce<number>((sum, value) => sum + keysRead(value), 0);
}
