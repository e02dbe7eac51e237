/** Lets signals, timers and sockets have their turn: a loop over steps that run on its own thread would keep them waiting. */
export function eventLoopTurn(): Promise<void> {
  return new Promise((resolve) => (typeof setImmediate === "function" ? setImmediate(resolve) : setTimeout(resolve)));
}

/** @param milliseconds at least so many */
export const pause = (milliseconds: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, milliseconds));
