import { Ajv2020, type ValidateFunction } from "ajv/dist/2020.js";
import addFormats from "ajv-formats";
import { LongjingError } from "../../errors/index.ts";
import { wrong, type Verdict } from "./verdict.ts";

/** Longest and deepest JSON read. */
export const longestJson = 2 ** 18;
export const deepestJson = 64;

const known = new WeakMap<object, ValidateFunction>();
const [everything, nothing] = [{}, { not: {} }];

/**
 * Whether an answer is one JSON value, alone or in one fenced block, that a schema (draft 2020-12) accepts. An object that says a key
 * twice is no JSON here: two readers may read two things.
 * @throws LongjingError "bad_argument" when the schema is malformed
 */
export function verifyJson(answer: string, schema: object | boolean): Verdict {
  const validate = validator(schema);
  const text = fenced(answer);
  if (text.length > longestJson || tooDeep(text)) return wrong(null);
  const value = parsedOnce(text);
  return value === undefined ? wrong(null) : { correct: validate(value.json) === true, legal: true, parsed: text };
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

/** Brackets outside strings. */
function tooDeep(text: string): boolean {
  let depth = 0;
  for (const [token] of text.matchAll(/"(?:[^"\\]|\\.)*"|[[\]{}]/gs)) {
    if (token === "[" || token === "{") depth++;
    else if (token === "]" || token === "}") depth--;
    if (depth > deepestJson) return true;
  }
  return false;
}

function parsedOnce(text: string): { readonly json: unknown } | undefined {
  try {
    const json: unknown = JSON.parse(text);
    return keysWritten(text) === keysRead(json) ? { json } : undefined;
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}

const keysWritten = (text: string): number => [...text.matchAll(/"(?:[^"\\]|\\.)*"(\s*:)?/gs)].filter(([, colon]) => colon !== undefined).length;

function keysRead(json: unknown): number {
  if (typeof json !== "object" || json === null) return 0;
  const values: unknown[] = Object.values(json);
  return (Array.isArray(json) ? 0 : values.length) + values.reduce<number>((sum, value) => sum + keysRead(value), 0);
}
