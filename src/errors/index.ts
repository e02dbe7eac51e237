/** What every error of ours carries, so that a person and a program can both act on it. */
export interface ErrorFacts {
  /** What was met, in the caller's terms. */
  readonly got?: unknown;
  /** What would have been accepted. */
  readonly expected?: unknown;
  /** File, field, node or route where it was met. */
  readonly where?: string;
  /** What to do about it. */
  readonly hint?: string;
}

export type ErrorCode =
  | "bad_argument" // the caller's value is not acceptable
  | "bad_file" // a file is malformed, truncated or hostile
  | "bad_config" // a configuration is malformed or asks for the impossible
  | "unsupported" // well formed, but not something we do
  | "not_found"
  | "shape_mismatch"
  | "runtime" // the execution provider refused or failed
  | "conflict" // something that exists would be overwritten, a lock is held, a port is in use
  | "disk"
  | "network" // a hub cannot be reached, breaks off or asks to wait
  | "too_large"
  | "busy"; // no room for this now: later there may be

const marker = Symbol.for("longjing.error");

/**
 * The only error class that Longjing throws on purpose. `code` is stable and for programs; the message is for people and
 * says what was got, what was expected, where, and what to do.
 */
export class LongjingError extends Error {
  readonly code: ErrorCode;
  readonly facts: ErrorFacts;
  readonly [marker] = true;

  constructor(code: ErrorCode, message: string, facts: ErrorFacts = {}, options?: ErrorOptions) {
    super(withFacts(message, facts), options);
    this.name = "LongjingError";
    this.code = code;
    this.facts = facts;
  }

  /** Survives duplicated copies of the package, which `instanceof` does not. */
  static is(error: unknown): error is LongjingError {
    return typeof error === "object" && error !== null && marker in error;
  }
}

function withFacts(message: string, facts: ErrorFacts): string {
  const parts = [message];
  if (facts.where !== undefined) parts.push(`where: ${facts.where}`);
  if (facts.got !== undefined) parts.push(`got: ${show(facts.got)}`);
  if (facts.expected !== undefined) parts.push(`expected: ${show(facts.expected)}`);
  if (facts.hint !== undefined) parts.push(facts.hint);
  return parts.join("; ");
}

const longest = 200;

function show(value: unknown): string {
  const text = typeof value === "string" ? value : (JSON.stringify(value) ?? String(value));
  return text.length > longest ? `${text.slice(0, longest)}… (${text.length} characters)` : text;
}
