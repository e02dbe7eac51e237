import type { Context } from "hono";
import { LongjingError, type ErrorCode } from "../errors/index.ts";
import type { SseMessage } from "./sse.ts";

/** The body of an error in the form that OpenAI's and DeepSeek's clients read. */
export interface ErrorBody {
  readonly error: { readonly message: string; readonly type: string; readonly param: string | null; readonly code: string };
}

/** What went wrong; its body is put in the form of the route before it is sent. */
export interface Failure {
  readonly status: Status;
  readonly body: ErrorBody;
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
export function describeError(error: unknown): Failure {
  if (!LongjingError.is(error)) return { status: 500, body: errorBody("The server failed on this request.", "server_error", "internal_error") };
  const { status, type, code } = wire[error.code];
  return { status, body: errorBody(error.message, type, code, error.facts.where ?? null) };
}

export function errorResponse(c: Context, status: Status, message: string, code: string): Response {
  return failureResponse(c, { status, body: errorBody(message, typeOf(status), code) });
}

export function failureResponse(c: Context, failure: Failure): Response {
  return c.json(errorForm(c.req.path).body(failure), failure.status);
}

/** How the clients of a route read errors: as the body of an answer, and as the last event of a stream. */
interface ErrorForm {
  body(failure: Failure): object;
  event(failure: Failure): SseMessage;
}

const openaiForm: ErrorForm = {
  body: ({ body }) => body,
  event: ({ body }) => ({ data: JSON.stringify(body) }),
};

const responsesForm: ErrorForm = {
  ...openaiForm,
  event: ({ body: { error: { code, message, param } } }) => ({ event: "error", data: JSON.stringify({ type: "error", code, message, param }) }),
};

const anthropicForm: ErrorForm = {
  body: ({ status, body }) => ({ type: "error", error: { type: anthropicTypes[status] ?? (status < 500 ? "invalid_request_error" : "api_error"), message: body.error.message } }),
  event: (failure) => ({ event: "error", data: JSON.stringify(anthropicForm.body(failure)) }),
};

const anthropicTypes: Partial<Record<Status, string>> = {
  401: "authentication_error",
  402: "billing_error",
  403: "permission_error",
  404: "not_found_error",
  413: "request_too_large",
  429: "rate_limit_error",
  503: "overloaded_error",
};

/** The form by the path alone, so that what is refused before a route is reached has it too. */
export function errorForm(path: string): ErrorForm {
  if (/^\/anthropic(\/|$)|^(\/v1|\/beta)?\/messages(\/|$)/.test(path)) return anthropicForm;
  return /^(\/v1|\/beta)?\/responses(\/|$)/.test(path) ? responsesForm : openaiForm;
}

function typeOf(status: Status): string {
  if (status === 401) return "authentication_error";
  if (status === 402) return "insufficient_quota";
  if (status === 429) return "rate_limit_error";
  return status >= 500 ? "server_error" : "invalid_request_error";
}
