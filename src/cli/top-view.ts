import type { Sample } from "./prometheus-text.ts";
import { table } from "./table.ts";

/** A page of metrics, and when it was read, in seconds. */
export interface Snapshot {
  readonly at: number;
  readonly models: readonly string[];
  readonly samples: readonly Sample[];
}

/** What is to be known of one model. Rates are per second since the snapshot before, or null without one. */
export interface ModelRow {
  readonly model: string;
  readonly running: number;
  readonly waiting: number;
  readonly requests: number;
  readonly prompt_tokens: number;
  readonly generation_tokens: number;
  readonly generation_tokens_per_second: number | null;
  /** Shares of one; null where there is nothing to share. */
  readonly prefix_cache_hit_rate: number | null;
  readonly kv_cache_usage: number | null;
  /** Upper end of the bucket that holds the median, in seconds. */
  readonly time_to_first_token_p50: number | null;
}

export interface KeyRow {
  readonly key: string;
  readonly name: string;
  readonly requests: number;
  readonly prompt_tokens: number;
  readonly generation_tokens: number;
  readonly generation_tokens_per_second: number | null;
}

export interface TopView {
  /** Requests that wait for their first token. */
  readonly queued: number;
  readonly resident_memory_bytes: number;
  readonly models: readonly ModelRow[];
  readonly keys: readonly KeyRow[];
}

const prefix = "longjing:";

export function topView(now: Snapshot, before: Snapshot | null): TopView {
  return {
    queued: sum(now, `${prefix}num_requests_queued`, {}),
    resident_memory_bytes: sum(now, "process_resident_memory_bytes", {}),
    models: now.models.map((model) => modelRow(model, now, before)),
    keys: keysOf(now).map(([key, name]) => {
      const labels = { key };
      return {
        key,
        name,
        requests: sum(now, `${prefix}key_requests_total`, labels),
        prompt_tokens: sum(now, `${prefix}key_prompt_tokens_total`, labels),
        generation_tokens: sum(now, `${prefix}key_generation_tokens_total`, labels),
        generation_tokens_per_second: rate(now, before, `${prefix}key_generation_tokens_total`, labels),
      };
    }),
  };
}

function modelRow(model: string, now: Snapshot, before: Snapshot | null): ModelRow {
  const labels = { model_name: model };
  const of = (name: string): number => sum(now, `${prefix}${name}`, labels);
  const loaded = now.samples.some(({ name, labels: { model_name } }) => name === `${prefix}kv_cache_usage_perc` && model_name === model);
  const queries = of("prefix_cache_queries_total");
  return {
    model,
    running: of("num_requests_running"),
    waiting: of("num_requests_waiting"),
    requests: of("request_success_total"),
    prompt_tokens: of("prompt_tokens_total"),
    generation_tokens: of("generation_tokens_total"),
    generation_tokens_per_second: rate(now, before, `${prefix}generation_tokens_total`, labels),
    prefix_cache_hit_rate: queries === 0 ? null : of("prefix_cache_hits_total") / queries,
    kv_cache_usage: loaded ? of("kv_cache_usage_perc") : null,
    time_to_first_token_p50: median(now, `${prefix}time_to_first_token_seconds`, labels),
  };
}

function matching({ samples }: Snapshot, name: string, labels: Readonly<Record<string, string>>): readonly Sample[] {
  return samples.filter((sample) => sample.name === name && Object.entries(labels).every(([label, value]) => sample.labels[label] === value));
}

function sum(snapshot: Snapshot, name: string, labels: Readonly<Record<string, string>>): number {
  return matching(snapshot, name, labels).reduce((total, { value }) => total + value, 0);
}

function rate(now: Snapshot, before: Snapshot | null, name: string, labels: Readonly<Record<string, string>>): number | null {
  return before === null ? null : Math.max(0, sum(now, name, labels) - sum(before, name, labels)) / (now.at - before.at);
}

function median(snapshot: Snapshot, histogram: string, labels: Readonly<Record<string, string>>): number | null {
  const count = sum(snapshot, `${histogram}_count`, labels);
  const bucket = matching(snapshot, `${histogram}_bucket`, labels).find(({ value }) => value >= count / 2);
  return count === 0 || bucket === undefined ? null : Number(bucket.labels.le);
}

function keysOf({ samples }: Snapshot): readonly (readonly [key: string, name: string])[] {
  const keys = samples.filter(({ name }) => name === `${prefix}key_requests_total` || name === `${prefix}key_generation_tokens_total`);
  return [...new Map(keys.map(({ labels: { key = "", key_name = "" } }) => [key, key_name]))];
}

/** The view as lines for a terminal. */
export function renderTop(view: TopView, url: string, bold: (text: string) => string): string {
  const count = (value: number): string => value.toLocaleString("en");
  const perSecond = (value: number | null): string => (value === null ? "–" : value.toFixed(0));
  const share = (value: number | null): string => (value === null ? "–" : `${(100 * value).toFixed(0)} %`);
  const models = view.models.map((row) => [
    row.model,
    row.kv_cache_usage === null ? "not loaded" : `${row.running} run, ${row.waiting} wait`,
    count(row.requests),
    count(row.prompt_tokens),
    count(row.generation_tokens),
    perSecond(row.generation_tokens_per_second),
    share(row.prefix_cache_hit_rate),
    share(row.kv_cache_usage),
    row.time_to_first_token_p50 === null ? "–" : `≤ ${row.time_to_first_token_p50} s`,
  ]);
  const keys = view.keys.map((row) => [row.key, row.name, count(row.requests), count(row.prompt_tokens), count(row.generation_tokens), perSecond(row.generation_tokens_per_second)]);
  return [
    `${bold(url)} · ${view.queued} queued · ${(view.resident_memory_bytes / 1e6).toFixed(0)} MB\n\n`,
    table([["model", "now", "requests", "prompt", "generated", "tokens/s", "cache hits", "cache", "first token"], ...models], bold),
    keys.length === 0 ? "" : `\n${table([["key", "name", "requests", "prompt", "generated", "tokens/s"], ...keys], bold)}`,
  ].join("");
}
