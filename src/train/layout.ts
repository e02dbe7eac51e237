/** Visits every token of equally long sequences in the order of training rows: row = t · batch + b. */
export function byTime(sequences: readonly (readonly number[])[], visit: (row: number, b: number, t: number) => void): void {
  const batch = sequences.length;
  for (let t = 0; t < sequences[0]!.length; t++) for (let b = 0; b < batch; b++) visit(t * batch + b, b, t);
}
