/**
 * A question that is asked once: equal questions get one promise, of which the last `size` are kept. A failure is not an answer, so
 * the next equal question is asked again. With size 0 every question is asked.
 */
export function remembering<Q, A>(size: number, ask: (question: Q) => Promise<A>): (question: Q) => Promise<A> {
  if (size === 0) return ask;
  const kept = new Map<string, Promise<A>>();
  return (question) => {
    const key = JSON.stringify(question);
    const known = kept.get(key);
    if (known !== undefined) return known;
    const answer = ask(question);
    kept.set(key, answer);
    answer.catch(() => kept.delete(key));
    const [oldest] = kept.keys();
    if (kept.size > size && oldest !== undefined) kept.delete(oldest);
    return answer;
  };
}
