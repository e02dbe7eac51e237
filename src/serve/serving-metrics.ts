import type { EngineStats } from "../engine/types.ts";
import { serverKey, type ApiKey } from "./keys.ts";
import { Metrics, type Counter, type Histogram } from "./metrics.ts";
import type { ServedModel } from "./model.ts";
import type { RequestScope } from "./request-scope.ts";

// vLLM's, with a finer beginning for models that take less than a millisecond a token.
const firstTokenBounds = [0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80, 160, 640, 2560];
const tokenBounds = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80];
const requestBounds = [0.01, 0.05, 0.1, 0.3, 0.5, 0.8, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30, 40, 50, 60, 120, 240, 480, 960, 1920, 7680];
const lengthBounds = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000, 100_000];

/** Of one model; vLLM's names without their prefix. */
export interface ModelMetrics {
  readonly prompt_tokens: Counter;
  readonly generation_tokens: Counter;
  readonly time_to_first_token: Histogram;
  readonly inter_token_latency: Histogram;
  readonly time_per_output_token: Histogram;
  readonly e2e_request_latency: Histogram;
  readonly request_prompt_tokens: Histogram;
  readonly request_generation_tokens: Histogram;
}

/** How a sequence ended, as vLLM's `finished_reason` has it. */
export type FinishedReason = "stop" | "length" | "abort" | "error";

export interface MetricsSources {
  /** Models in memory. */
  readonly models: () => readonly ServedModel[];
  /** Requests that have been let in and wait for their first token. */
  readonly waiting: () => number;
}

type Accumulated = "prefix_cache_queries" | "prefix_cache_hits" | "spec_decode_num_drafts" | "spec_decode_num_draft_tokens" | "spec_decode_num_accepted_tokens";

const prefix = "longjing:";

/** What `/metrics` shows: the names of vLLM's metrics behind `longjing:`. */
export class ServingMetrics {
  readonly #metrics = new Metrics();
  readonly #models = new Map<string, ModelMetrics>();
  /** Counts of engines that have been unloaded: a counter never falls. */
  readonly #retired = new Map<string, Pick<EngineStats, Accumulated>>();
  readonly #sources: MetricsSources;
  readonly #families = this.#declare();
  readonly #success = this.#metrics.counter(`${prefix}request_success_total`, "Sequences that have ended", ["model_name", "finished_reason"]);
  readonly #http = this.#metrics.counter(`${prefix}http_requests_total`, "Answered requests", ["method", "status"]);
  readonly #keyRequests = this.#metrics.counter(`${prefix}key_requests_total`, "Requests to models", ["key", "key_name"]);
  readonly #keyPrompt = this.#metrics.counter(`${prefix}key_prompt_tokens_total`, "Prompt tokens", ["key", "key_name"]);
  readonly #keyGeneration = this.#metrics.counter(`${prefix}key_generation_tokens_total`, "Generated tokens", ["key", "key_name"]);

  constructor(sources: MetricsSources) {
    this.#sources = sources;
    const startedAt = Date.now() / 1000 - process.uptime();
    this.#gauge("num_requests_running", "Sequences that are being computed");
    this.#gauge("num_requests_waiting", "Sequences that wait for a place in the batch");
    this.#gauge("kv_cache_usage_perc", "Share of the key-value cache in use, 0 to 1");
    this.#accumulated("prefix_cache_queries", "Prompt tokens that were looked up in the prefix cache");
    this.#accumulated("prefix_cache_hits", "Prompt tokens that were found there");
    this.#accumulated("spec_decode_num_drafts", "Steps that checked guessed tokens");
    this.#accumulated("spec_decode_num_draft_tokens", "Guessed tokens");
    this.#accumulated("spec_decode_num_accepted_tokens", "Guessed tokens that were right");
    this.#metrics.observed(`${prefix}num_requests_queued`, "Requests that have been let in and wait for their first token", "gauge", () => [[{}, sources.waiting()]]);
    this.#metrics.observed("process_resident_memory_bytes", "Resident memory size in bytes", "gauge", () => [[{}, process.memoryUsage.rss()]]);
    this.#metrics.observed("process_cpu_seconds_total", "User and system CPU time in seconds", "counter", () => [[{}, process.resourceUsage().userCPUTime / 1e6 + process.resourceUsage().systemCPUTime / 1e6]]);
    this.#metrics.observed("process_start_time_seconds", "Start of the process since the Unix epoch, in seconds", "gauge", () => [[{}, startedAt]]);
  }

  model(id: string): ModelMetrics {
    let found = this.#models.get(id);
    if (found === undefined) {
      const labels = { model_name: id };
      found = Object.fromEntries(Object.entries(this.#families).map(([name, family]) => [name, family.of(labels)])) as unknown as ModelMetrics;
      this.#models.set(id, found);
    }
    return found;
  }

  finished(model: string, reason: FinishedReason): void {
    this.#success.of({ model_name: model, finished_reason: reason }).add(1);
  }

  answered({ method, status, key, model }: RequestScope): void {
    this.#http.of({ method, status: String(status) }).add(1);
    if (key !== null && model !== null) this.#keyRequests.of({ key: key.id, key_name: key.name }).add(1);
  }

  used(key: ApiKey | null, prompt_tokens: number, generation_tokens: number): void {
    if (key === null) return;
    const labels = { key: key.id, key_name: key.name };
    this.#keyPrompt.of(labels).add(prompt_tokens);
    this.#keyGeneration.of(labels).add(generation_tokens);
  }

  /** Keeps the counts of an engine that is about to be disposed. */
  retire({ id, engine }: ServedModel): void {
    this.#retired.set(id, this.#sum(id, engine.stats()));
  }

  /** @param viewer the key of whoever asks, who sees no other key's name and use, unless it is the operator's; null where nobody needs one */
  text(viewer: ApiKey | null): string {
    const seesAll = viewer === null || viewer.id === serverKey.id;
    return this.#metrics.text(({ key }) => seesAll || key === undefined || key === viewer.id);
  }

  #declare() {
    const labels = ["model_name"] as const;
    const counter = (name: string, help: string) => this.#metrics.counter(`${prefix}${name}`, help, labels);
    const histogram = (name: string, help: string, bounds: readonly number[]) => this.#metrics.histogram(`${prefix}${name}`, help, labels, bounds);
    return {
      prompt_tokens: counter("prompt_tokens_total", "Prompt tokens of requests"),
      generation_tokens: counter("generation_tokens_total", "Generated tokens"),
      time_to_first_token: histogram("time_to_first_token_seconds", "From a request's arrival to its first token", firstTokenBounds),
      inter_token_latency: histogram("inter_token_latency_seconds", "From one token to the next", tokenBounds),
      time_per_output_token: histogram("time_per_output_token_seconds", "Mean time from token to token, by sequence", tokenBounds),
      e2e_request_latency: histogram("e2e_request_latency_seconds", "From a request's arrival to the end of a sequence", requestBounds),
      request_prompt_tokens: histogram("request_prompt_tokens", "Prompt tokens, by sequence", lengthBounds),
      request_generation_tokens: histogram("request_generation_tokens", "Generated tokens, by sequence", lengthBounds),
    };
  }

  #gauge(name: "num_requests_running" | "num_requests_waiting" | "kv_cache_usage_perc", help: string): void {
    this.#metrics.observed(`${prefix}${name}`, help, "gauge", () => this.#sources.models().map(({ id, engine }) => [{ model_name: id }, engine.stats()[name]] as const));
  }

  #accumulated(name: Accumulated, help: string): void {
    this.#metrics.observed(`${prefix}${name}_total`, help, "counter", () => {
      const now = new Map(this.#sources.models().map(({ id, engine }) => [id, engine.stats()]));
      return [...new Set([...this.#retired.keys(), ...now.keys()])].map((id) => [{ model_name: id }, this.#sum(id, now.get(id))[name]] as const);
    });
  }

  #sum(id: string, now: Pick<EngineStats, Accumulated> | undefined): Pick<EngineStats, Accumulated> {
    const before = this.#retired.get(id);
    const of = (name: Accumulated): number => (before?.[name] ?? 0) + (now?.[name] ?? 0);
    return {
      prefix_cache_queries: of("prefix_cache_queries"),
      prefix_cache_hits: of("prefix_cache_hits"),
      spec_decode_num_drafts: of("spec_decode_num_drafts"),
      spec_decode_num_draft_tokens: of("spec_decode_num_draft_tokens"),
      spec_decode_num_accepted_tokens: of("spec_decode_num_accepted_tokens"),
    };
  }
}
