import { LongjingError } from "../errors/index.ts";

/** Who may use a device when. */
export interface Order {
  /** Once the device is free. */
  later<T>(action: () => Promise<T>): Promise<T>;
  /** On this thread, at once. @throws LongjingError `conflict` where an asynchronous action has the device. */
  now(action: () => void): void;
  /** At once if the device is free, else when it is: for clearing up, which nobody waits for. */
  soon(action: () => void): void;
}

/** The processor: threads do not get in each other's way. */
export const anyOrder: Order = { later: (action) => action(), now: (action) => action(), soon: (action) => action() };

/** A device that does one thing at a time: a second caller would corrupt the command list, or the stack, of the first. */
export function oneAtATime(): Order {
  let last: Promise<unknown> = Promise.resolve();
  let waiting = 0;
  const later = <T>(action: () => Promise<T>): Promise<T> => {
    waiting++;
    const turn = last.then(action).finally(() => waiting--);
    last = turn.catch(() => undefined); // the failure is its caller's; the next turn comes all the same
    return turn;
  };
  return {
    later,
    now: (action) => {
      if (waiting > 0) throw new LongjingError("conflict", "The device is busy with an asynchronous run", { hint: "Await it, or use run()." });
      action();
    },
    soon: (action) => {
      if (waiting === 0) action();
      else void later(async () => action());
    },
  };
}
