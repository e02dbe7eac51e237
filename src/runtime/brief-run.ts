import { eventLoopTurn } from "./event-loop.ts";

/** Milliseconds for which a run may keep the event loop waiting: a fiftieth of a second, which nobody sees. */
const brief = 20;

/**
 * The same work again and again: on this thread where that was brief the last time, and aside where it was not or is not known. To go to
 * another thread and back, beside those that compute, takes 3 % of a small model's step, and twice that beside a client. A brief run
 * comes after a turn of the event loop: those who wait for what the last one brought, and signals, timers and sockets, would have to
 * wait for this one too.
 */
export function hereIfBrief(here: () => void, aside: () => Promise<unknown>): () => Promise<void> {
  let lasted = Infinity;
  return async () => {
    const stays = lasted < brief;
    if (stays) await eventLoopTurn();
    const start = performance.now();
    if (stays) here();
    else await aside();
    lasted = performance.now() - start;
  };
}
