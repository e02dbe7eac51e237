/** One server-sent event. */
export interface SseMessage {
  readonly data: string;
  readonly event?: string;
  readonly id?: string;
}

const encoder = new TextEncoder();

/** Silent milliseconds after which a sign of life is sent, where nobody says otherwise. */
export const defaultKeepAliveMs = 10_000;

/** A comment, which clients pass over. */
export const keepAlive = ": keep-alive\n\n";

/** A message as it is sent. */
export function sseText({ data, event, id }: SseMessage): string {
  const head = `${id === undefined ? "" : `id: ${id}\n`}${event === undefined ? "" : `event: ${event}\n`}`;
  return `${head}data: ${data.replaceAll("\n", "\ndata: ")}\n\n`;
}

/** Messages to be sent. An error of theirs must already be one, since the status has been sent. */
export interface EventStream {
  readonly messages: AsyncIterable<SseMessage>;
  /** Called when the client has gone, so that work in progress can end. */
  readonly onCancel: () => void;
  /** A comment goes out after so many silent milliseconds: clients and proxies give up on quiet connections. */
  readonly keepAliveMs: number;
}

export const sseHeaders = { "content-type": "text/event-stream; charset=utf-8", "cache-control": "no-cache", "x-accel-buffering": "no" } as const;

const streams = new WeakMap<ReadableStream, EventStream>();

/** What a body made by `sseBody` sends. Whoever sends it by other means does not read the body. */
export const eventsOf = (body: ReadableStream): EventStream | undefined => streams.get(body);

/** The response body that sends events. It is pulled: a slow reader slows the source, and nothing piles up here. */
export function sseBody(events: EventStream): ReadableStream<Uint8Array<ArrayBuffer>> {
  const body = new ReadableStream(pulledFrom(events), { highWaterMark: 0 });
  streams.set(body, events);
  return body;
}

function pulledFrom({ messages, onCancel, keepAliveMs }: EventStream): UnderlyingDefaultSource<Uint8Array<ArrayBuffer>> {
  const iterator = messages[Symbol.asyncIterator]();
  let next: Promise<IteratorResult<SseMessage>> | undefined;
  return {
    async pull(controller) {
      const arrived = await orSilence((next ??= iterator.next()), keepAliveMs);
      if (arrived === "silence") return controller.enqueue(encoder.encode(keepAlive));
      next = undefined;
      if (arrived.done === true) controller.close();
      else controller.enqueue(encoder.encode(sseText(arrived.value)));
    },
    async cancel() {
      onCancel();
      await iterator.return?.();
    },
  };
}

export async function orSilence<T>(promise: Promise<T>, ms: number): Promise<T | "silence"> {
  let timer: NodeJS.Timeout | undefined;
  const silence = new Promise<"silence">((resolve) => {
    timer = setTimeout(resolve, ms, "silence");
  });
  return await Promise.race([promise, silence]).finally(() => clearTimeout(timer));
}
