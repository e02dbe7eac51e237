import { eventLoopTurn } from "./event-loop.ts";

/** Milliseconds for which a run may keep the event loop waiting: a fiftieth of a second, which nobody sees. */
const brief = 20;

/**
 * Runs the same work again and again: on this thread where that was brief the last time, and aside where it was not or is not known.
 * To go to another thread and back, beside those that compute, takes 3 % of a small model's step, and twice that beside a client.
 */
export class BriefRun {
  readonly #here: () => void;
  readonly #aside: () => Promise<unknown>;
  #lasted = Infinity;

  constructor(here: () => void, aside: () => Promise<unknown>) {
    this.#here = here;
    this.#aside = aside;
  }

  /**
   * A brief run comes after a turn of the event loop: those who wait for what the last one brought, and signals, timers and sockets, would
   * have to wait for this one too.
   */
  async run(): Promise<void> {
    const stays = this.#lasted < brief;
    if (stays) await eventLoopTurn();
    const start = performance.now();
    if (stays) this.#here();
    else await this.#aside();
    this.#lasted = performance.now() - start;
  }
}
