/** What `/api/models` says. */
export interface Model {
  readonly id: string;
  readonly examples: readonly string[];
  readonly max_model_len: number;
  /** Where its files lie beside the page, for a model that runs in this browser. */
  readonly path?: string;
}

/** What `/api/runs` says of each run. */
export interface Run {
  readonly id: string;
  readonly recipe: string;
  readonly state: "running" | "stopping" | "finished" | "stopped" | "failed";
  readonly error: string | null;
}

export interface ListedRun extends Run {
  /** As the recipe plans them. */
  readonly stages: readonly { readonly name: string; readonly steps: number }[];
  readonly updated: number;
}

export interface Usage {
  readonly prompt_tokens: number;
  readonly completion_tokens: number;
  readonly completion_tokens_details: { readonly reasoning_tokens: number };
}

export interface ChatChunk {
  readonly choices: readonly [{ readonly delta: { readonly content: string | null; readonly reasoning_content: string | null }; readonly finish_reason: string | null }];
  readonly usage: Usage | null;
  /** Of the weights; of an answer that was computed in this browser, what computed it. */
  readonly system_fingerprint: string;
}

/** An answer of the server that is not a success, in its own words. */
export class ApiError extends Error {
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

const keyName = "longjing.key";

/** The key that a server beyond this machine asks for. It lives as long as the tab. */
export function saveKey(key: string): void {
  sessionStorage.setItem(keyName, key);
}

async function request(path: string, init: RequestInit = {}): Promise<Response> {
  const key = sessionStorage.getItem(keyName);
  const headers = { ...(init.body ? { "content-type": "application/json" } : {}), ...(key ? { authorization: `Bearer ${key}` } : {}), ...init.headers };
  const response = await fetch(path, { ...init, headers });
  if (response.ok) return response;
  const body = (await response.json().catch(() => ({}))) as { error?: { message?: string } };
  throw new ApiError(response.status, body.error?.message ?? `The server answered ${response.status}`);
}

export async function get<T>(path: string): Promise<T> {
  return (await (await request(path)).json()) as T;
}

export async function post<T>(path: string, body: object = {}): Promise<T> {
  return (await (await request(path, { method: "POST", body: JSON.stringify(body) })).json()) as T;
}

export interface ChatOptions {
  readonly model: string;
  readonly messages: readonly { readonly role: "user" | "assistant"; readonly content: string }[];
  readonly temperature: number;
  readonly max_tokens?: number;
}

/** The chunks of one answer. Throws what the server reports in the middle of a stream. */
export async function* chat(options: ChatOptions, signal: AbortSignal): AsyncGenerator<ChatChunk, void> {
  const response = await request("/v1/chat/completions", { method: "POST", body: JSON.stringify({ ...options, stream: true }), signal });
  for await (const { data } of serverSentEvents(response)) {
    if (data === "[DONE]") return;
    const chunk = JSON.parse(data) as ChatChunk & { error?: { message: string } };
    if (chunk.error) throw new ApiError(500, chunk.error.message);
    yield chunk;
  }
  throw new ApiError(500, "The connection was lost in the middle of the answer");
}

export interface ServerEvent {
  readonly event: string;
  readonly data: string;
  readonly id: string | null;
}

/** The events of a run from its beginning, for as long as `signal` allows; a lost connection continues where it broke. */
export async function* runEvents(id: string, signal: AbortSignal): AsyncGenerator<ServerEvent, void> {
  let last = "0";
  while (!signal.aborted) {
    try {
      const response = await request(`/api/runs/${encodeURIComponent(id)}/events`, { headers: { "last-event-id": last }, signal });
      for await (const event of serverSentEvents(response)) {
        last = event.id ?? last;
        yield event;
      }
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof ApiError) throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, 1000));
  }
}

/** Reads a `text/event-stream` body. EventSource cannot send a key or a body. */
async function* serverSentEvents(response: Response): AsyncGenerator<ServerEvent, void> {
  const reader = (response.body as ReadableStream<Uint8Array<ArrayBuffer>>).pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      text += value;
      const blocks = text.split("\n\n");
      text = blocks.pop() ?? "";
      for (const block of blocks) {
        const event = parseEvent(block);
        if (event.data !== "") yield event;
      }
    }
  } finally {
    await reader.cancel();
  }
}

function parseEvent(block: string): ServerEvent {
  const field = (name: string): string[] => block.split("\n").flatMap((line) => (line.startsWith(`${name}: `) ? [line.slice(name.length + 2)] : []));
  return { event: field("event")[0] ?? "message", data: field("data").join("\n"), id: field("id")[0] ?? null };
}
