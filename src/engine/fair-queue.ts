/**
 * Waiting requests in turns: each user's come first in, first out, and users take turns, so that one who asks for much delays
 * himself and not the others.
 */
export class FairQueue<T extends { readonly user: string }> {
  /** In the order of their next turns. */
  readonly #byUser = new Map<string, T[]>();
  #size = 0;

  get size(): number {
    return this.#size;
  }

  push(item: T): void {
    const queue = this.#byUser.get(item.user);
    if (queue) queue.push(item);
    else this.#byUser.set(item.user, [item]);
    this.#size++;
  }

  /** The next in turn, taken out. */
  shift(): T | undefined {
    for (const [user, queue] of this.#byUser) {
      const item = queue.shift()!;
      this.#byUser.delete(user);
      if (queue.length > 0) this.#byUser.set(user, queue);
      this.#size--;
      return item;
    }
    return undefined;
  }

  some(matches: (item: T) => boolean): boolean {
    for (const queue of this.#byUser.values()) if (queue.some(matches)) return true;
    return false;
  }

  /** Takes out, and returns, those for which `matches` holds. */
  take(matches: (item: T) => boolean): T[] {
    const taken: T[] = [];
    for (const [user, queue] of this.#byUser) {
      if (!queue.some(matches)) continue;
      taken.push(...queue.filter(matches));
      const kept = queue.filter((item) => !matches(item));
      if (kept.length > 0) this.#byUser.set(user, kept);
      else this.#byUser.delete(user);
    }
    this.#size -= taken.length;
    return taken;
  }
}
