/** One server-sent event. */
export interface SseMessage {
  readonly data: string;
  readonly event?: string;
  readonly id?: string;
}

const encoder = new TextEncoder();

const comment = encoder.encode(": keep-alive\n\n");

/** A message as it is sent. */
export function sseText({ data, event, id }: SseMessage): string {
  const head = `${id === undefined ? "" : `id: ${id}\n`}${event === undefined ? "" : `event: ${event}\n`}`;
  return `${head}${data.split("\n").map((line) => `data: ${line}\n`).join("")}\n`;
}

export interface SseOptions {
  /** Called when the client has gone, so that work in progress can end. */
  readonly onCancel: () => void;
  /** A comment goes out after this many silent milliseconds: clients and proxies give up on quiet connections. */
  readonly keepAliveMs?: number;
}

export const sseHeaders = { "content-type": "text/event-stream; charset=utf-8", "cache-control": "no-cache", "x-accel-buffering": "no" } as const;

/**
 * The response body that sends `messages`. It pulls: a slow reader slows its source and nothing piles up here. An error of the
 * source must already be a message, since the status has been sent.
 */
export function sseBody(messages: AsyncIterable<SseMessage>, { onCancel, keepAliveMs = 10_000 }: SseOptions): ReadableStream<Uint8Array<ArrayBuffer>> {
  const iterator = messages[Symbol.asyncIterator]();
  let waiting = false;
  let silence: NodeJS.Timeout | undefined;
  return new ReadableStream({
    start(controller) {
      const keepAlive = (): void => {
        // An errored stream has no size.
        if (controller.desiredSize === null) return;
        if (waiting && controller.desiredSize > 0) controller.enqueue(comment);
        silence?.refresh();
      };
      silence = setTimeout(keepAlive, keepAliveMs);
    },
    async pull(controller) {
      waiting = true;
      const next = await iterator.next();
      waiting = false;
      if (next.done === true) {
        clearTimeout(silence);
        return controller.close();
      }
      silence?.refresh();
      controller.enqueue(encoder.encode(sseText(next.value)));
    },
    async cancel() {
      clearTimeout(silence);
      onCancel();
      await iterator.return?.();
    },
  });
}

export async function orSilence<T>(promise: Promise<T>, ms: number): Promise<T | "silence"> {
  let timer: NodeJS.Timeout | undefined;
  const silence = new Promise<"silence">((resolve) => {
    timer = setTimeout(resolve, ms, "silence");
  });
  return await Promise.race([promise, silence]).finally(() => clearTimeout(timer));
}
