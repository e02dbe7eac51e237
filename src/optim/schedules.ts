/**
 * The learning rate of optimiser step `step` (from 0). Curves, names and defaults are those of transformers' `get_scheduler`,
 * also past `num_training_steps`.
 */
export type Schedule = (step: number) => number;

export interface WarmupOptions {
  /** The peak. */
  readonly learning_rate: number;
  /** Steps of linear warm-up from 0. Default 0. */
  readonly num_warmup_steps?: number;
}

export interface DecayOptions extends WarmupOptions {
  /** Warm-up included. */
  readonly num_training_steps: number;
}

export interface CosineOptions extends DecayOptions {
  /** Share of the peak that is left at the end. Default 0. */
  readonly min_lr_rate?: number;
  /** Waves of the cosine; 0.5 falls from the peak to the minimum. Default 0.5. */
  readonly num_cycles?: number;
}

export interface WarmupStableDecayOptions extends WarmupOptions {
  readonly num_stable_steps: number;
  readonly num_decay_steps: number;
  /** Default linear. */
  readonly warmup_type?: RampShape;
  /** Default cosine. */
  readonly decay_type?: RampShape;
  /** Share of the peak at which warm-up starts and decay ends. Default 0. */
  readonly min_lr_ratio?: number;
}

export type RampShape = "linear" | "cosine" | "1-sqrt";

export function constant({ learning_rate, num_warmup_steps = 0 }: WarmupOptions): Schedule {
  return afterWarmup(learning_rate, num_warmup_steps, () => 1);
}

/** Falls in a straight line to 0 at `num_training_steps`. */
export function linear({ learning_rate, num_warmup_steps = 0, num_training_steps }: DecayOptions): Schedule {
  return afterWarmup(learning_rate, num_warmup_steps, (step) =>
    Math.max(0, (num_training_steps - step) / Math.max(1, num_training_steps - num_warmup_steps)),
  );
}

export function cosine(options: CosineOptions): Schedule {
  const { learning_rate, num_warmup_steps = 0, num_training_steps, min_lr_rate = 0, num_cycles = 0.5 } = options;
  const length = Math.max(1, num_training_steps - num_warmup_steps);
  return afterWarmup(learning_rate, num_warmup_steps, (step) => {
    const wave = 0.5 * (1 + Math.cos((Math.PI * num_cycles * 2 * (step - num_warmup_steps)) / length));
    return lift(wave, min_lr_rate);
  });
}

/** WSD: warm up, stay at the peak for most of the run, then fall (MiniCPM, 2404.06395). */
export function warmupStableDecay(options: WarmupStableDecayOptions): Schedule {
  const { learning_rate, num_warmup_steps = 0, num_stable_steps, num_decay_steps, min_lr_ratio = 0 } = options;
  const { warmup_type = "linear", decay_type = "cosine" } = options;
  const stableEnd = num_warmup_steps + num_stable_steps;
  return (step) => {
    if (step < num_warmup_steps) return learning_rate * lift(rise(warmup_type, step / num_warmup_steps), min_lr_ratio);
    if (step < stableEnd) return learning_rate;
    if (step >= stableEnd + num_decay_steps) return learning_rate * min_lr_ratio;
    return learning_rate * lift(fall(decay_type, (step - stableEnd) / num_decay_steps), min_lr_ratio);
  };
}

function afterWarmup(learning_rate: number, num_warmup_steps: number, share: (step: number) => number): Schedule {
  return (step) => learning_rate * (step < num_warmup_steps ? step / num_warmup_steps : share(step));
}

function lift(share: number, floor: number): number {
  return share * (1 - floor) + floor;
}

/** From 0 at progress 0 to 1 at progress 1. */
function rise(shape: RampShape, progress: number): number {
  if (shape === "linear") return progress;
  return shape === "cosine" ? 0.5 * (1 - Math.cos(Math.PI * progress)) : 1 - Math.sqrt(1 - progress);
}

/** From 1 at progress 0 to 0 at progress 1. Each shape falls as the mirror of its rise, so "1-sqrt" falls fast at first. */
function fall(shape: RampShape, progress: number): number {
  return rise(shape, 1 - progress);
}
