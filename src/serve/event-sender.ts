import type { ServerResponse } from "node:http";
import type { Connection } from "./request-scope.ts";
import { keepAlive, sseText, type EventStream, type SseMessage } from "./sse.ts";

export interface SendOptions extends Connection {
  readonly outgoing: ServerResponse;
  readonly lastWords: string;
}

/** Characters of events that are ready at once and leave together, about. */
const mostHeld = 2 ** 16;

/**
 * Writes events to the connection under a request: what the streams of `sseBody` and `watched` do for an answer without one, in a
 * part of their time. While the client does not read, nothing is taken from the source.
 */
export class EventSender {
  readonly #options: SendOptions;
  readonly #source: EventStream;
  readonly #messages: AsyncIterator<SseMessage>;
  readonly #cut = (): void => this.#sayGoodbye();
  /** Whether the body goes in chunks (RFC 9112, 7.1), as it does unless the client is of the last century. */
  readonly #chunked: boolean;
  #over = false;
  /** Events that came in this turn, or while others were being written. */
  #held = "";
  #writing = false;
  #written: Promise<void> = Promise.resolve();
  /** When the source was last asked for a message, or what was written to last, which has not left yet. */
  #waitingSince: number | null = null;
  #unreadSince: number | null = null;
  #timer: NodeJS.Timeout | undefined;

  /** Begins to send. The status and headers of `response` go first: a client may open many streams before it reads any. */
  constructor(response: Response, source: EventStream, options: SendOptions) {
    this.#options = options;
    this.#source = source;
    this.#messages = source.messages[Symbol.asyncIterator]();
    const { outgoing, open, report } = options;
    this.#chunked = outgoing.req.httpVersion === "1.1";
    outgoing.on("error", () => {}); // "close" follows
    outgoing.once("close", () => void this.#leave());
    if (outgoing.destroyed) {
      void this.#leave();
      return;
    }
    outgoing.writeHead(response.status, { ...Object.fromEntries(response.headers), ...(this.#chunked && { "transfer-encoding": "chunked" }) });
    outgoing.flushHeaders();
    open.add(this.#cut);
    this.#check();
    this.#pump().catch(report);
  }

  async #pump(): Promise<void> {
    for (;;) {
      await this.#written;
      if (this.#over) return;
      this.#waitingSince = performance.now();
      const { done, value } = await this.#messages.next();
      this.#waitingSince = null;
      if (this.#over) return;
      if (done) break;
      // What is ready is taken before the next tick comes, so that it leaves in one write; but a source need not ever wait.
      if (this.#held === "") process.nextTick(() => this.#flush());
      this.#held += sseText(value);
      if (this.#held.length >= mostHeld) this.#flush();
    }
    await this.#written;
    this.#unreadSince = performance.now();
    // The last events and the end of the body leave in one write.
    this.#options.outgoing.end(this.#take(), () => this.#end());
  }

  #flush(): void {
    if (!this.#writing) this.#written = this.#writeHeld();
  }

  /** Resolves when all that waits, and what comes meanwhile, has left. */
  async #writeHeld(): Promise<void> {
    this.#writing = true;
    while (this.#held !== "") await this.#write(this.#take());
    this.#writing = false;
  }

  /** What waits, which then waits no longer. */
  #take(): string {
    const text = this.#held;
    this.#held = "";
    return text;
  }

  #write(text: string): Promise<void> {
    const { outgoing } = this.#options;
    this.#unreadSince = performance.now();
    return new Promise((resolve) => {
      const written = (error?: Error | null): void => {
        this.#unreadSince = null;
        // Before the turn in which the connection says so itself: a source that never waits would not let it come.
        if (error) void this.#leave();
        resolve();
      };
      // A chunk as one text takes the system two thirds of the time that its parts take, which a response writes. It has no socket while an
      // answer before it is being sent.
      if (this.#chunked && outgoing.socket) outgoing.socket.write(`${Buffer.byteLength(text).toString(16)}\r\n${text}\r\n`, written);
      else outgoing.write(text, written);
    });
  }

  /** Looks after a client that has stopped reading, and after a source that is long silent; then again when either may be due. */
  #check(): void {
    const { keepAliveMs } = this.#source;
    const { stallMs, outgoing } = this.#options;
    const now = performance.now();
    const [unread, silent] = [now - (this.#unreadSince ?? now), now - (this.#waitingSince ?? now)];
    if (unread >= stallMs) return void outgoing.destroy();
    const due = silent >= keepAliveMs;
    if (due && this.#unreadSince === null) {
      this.#waitingSince = now;
      void this.#write(keepAlive);
    }
    this.#timer = setTimeout(() => this.#check(), Math.min(stallMs - unread, due ? keepAliveMs : keepAliveMs - silent)).unref();
  }

  #sayGoodbye(): void {
    const { outgoing, lastWords } = this.#options;
    outgoing.end(this.#take() + lastWords);
    void this.#leave();
  }

  /** The client has gone, or is sent away. */
  async #leave(): Promise<void> {
    if (this.#over) return;
    this.#options.scope.aborted = true;
    this.#end();
    this.#source.onCancel();
    await Promise.resolve(this.#messages.return?.()).catch(this.#options.report);
  }

  #end(): void {
    if (this.#over) return;
    this.#over = true;
    this.#take();
    this.#options.open.delete(this.#cut);
    clearTimeout(this.#timer);
    this.#options.scope.end();
  }
}
