/** The value that `share` of the sorted values do not pass, between neighbours by a straight line, as NumPy's default has it; NaN of nothing. */
export function percentile(sorted: readonly number[], share: number): number {
  const at = (sorted.length - 1) * share;
  const low = sorted[Math.floor(at)] ?? Number.NaN;
  return low + ((sorted[Math.ceil(at)] ?? low) - low) * (at - Math.floor(at));
}

/** Median, least and most. */
export function spread(values: readonly number[]): readonly [median: number, least: number, most: number] {
  const sorted = values.toSorted((a, b) => a - b);
  return [percentile(sorted, 0.5), percentile(sorted, 0), percentile(sorted, 1)];
}

/** Mean and percentiles of milliseconds, under the names of `vllm bench serve`. */
export function latencies(name: string, values: readonly number[]): Readonly<Record<string, number>> {
  const sorted = values.toSorted((a, b) => a - b);
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  return { [`mean_${name}_ms`]: mean, ...Object.fromEntries([50, 95, 99].map((percent) => [`p${percent}_${name}_ms`, percentile(sorted, percent / 100)])) };
}
