import type { Context } from "hono";
import { LongjingError, type ErrorCode } from "../errors/index.ts";

/** The body of every error, in the form that OpenAI's and DeepSeek's clients read. */
export interface ErrorBody {
  readonly error: { readonly message: string; readonly type: string; readonly param: string | null; readonly code: string };
}

export type Status = 400 | 401 | 402 | 403 | 404 | 409 | 413 | 429 | 500 | 501 | 503 | 507;

const wire: Record<ErrorCode, { readonly status: Status; readonly type: string; readonly code: string }> = {
  bad_argument: { status: 400, type: "invalid_request_error", code: "invalid_request_error" },
  unsupported: { status: 400, type: "invalid_request_error", code: "unsupported" },
  not_found: { status: 404, type: "invalid_request_error", code: "not_found" },
  conflict: { status: 409, type: "invalid_request_error", code: "conflict" },
  too_large: { status: 413, type: "invalid_request_error", code: "request_too_large" },
  busy: { status: 503, type: "server_error", code: "busy" },
  network: { status: 500, type: "server_error", code: "internal_error" },
  disk: { status: 507, type: "server_error", code: "disk" },
  bad_file: { status: 500, type: "server_error", code: "bad_file" },
  bad_config: { status: 500, type: "server_error", code: "bad_config" },
  shape_mismatch: { status: 500, type: "server_error", code: "internal_error" },
  runtime: { status: 500, type: "server_error", code: "internal_error" },
};

export function errorBody(message: string, type: string, code: string, param: string | null = null): ErrorBody {
  return { error: { message, type, param, code } };
}

/** Ours explain themselves; anything else is a defect, and its message stays inside. */
export function describeError(error: unknown): { readonly status: Status; readonly body: ErrorBody } {
  if (!LongjingError.is(error)) return { status: 500, body: errorBody("The server failed on this request.", "server_error", "internal_error") };
  const { status, type, code } = wire[error.code];
  return { status, body: errorBody(error.message, type, code, error.facts.where ?? null) };
}

export function errorResponse(c: Context, status: Status, message: string, code: string): Response {
  return c.json(errorBody(message, typeOf(status), code), status);
}

function typeOf(status: Status): string {
  if (status === 401) return "authentication_error";
  if (status === 402) return "insufficient_quota";
  if (status === 429) return "rate_limit_error";
  return status >= 500 ? "server_error" : "invalid_request_error";
}
