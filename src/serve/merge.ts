/** Several sources as one, in the order of arrival. Ending it early ends every source; an error of one ends all. */
export function merge<T>(sources: readonly AsyncIterable<T>[]): AsyncIterable<T> {
  const [only, second] = sources;
  return only !== undefined && second === undefined ? only : mergeAll(sources);
}

async function* mergeAll<T>(sources: readonly AsyncIterable<T>[]): AsyncGenerator<T, void> {
  const iterators = sources.map((source) => source[Symbol.asyncIterator]());
  const advance = (at: number) => (iterators[at] as AsyncIterator<T>).next().then((result) => ({ at, result }));
  const waiting = new Map(iterators.map((_, at) => [at, advance(at)]));
  try {
    while (waiting.size > 0) {
      const { at, result } = await Promise.race(waiting.values());
      if (result.done === true) {
        waiting.delete(at);
        continue;
      }
      waiting.set(at, advance(at));
      yield result.value;
    }
  } finally {
    await Promise.allSettled([...iterators.map((iterator) => iterator.return?.()), ...waiting.values()]);
  }
}
