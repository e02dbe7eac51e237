import { adamw, add, div, minimum, sqrt, sumSquareAll, type Value } from "../tensor/index.ts";

export interface AdamWOptions {
  readonly beta1: number;
  readonly beta2: number;
  readonly epsilon: number;
  /** Decoupled (Loshchilov and Hutter), on the parameters that `decays` names. */
  readonly weight_decay: number;
}

export const adamwDefaults: AdamWOptions = { beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weight_decay: 0.1 };

/** Moments of every parameter, unnormalised: `m` is exp_avg / (1 − beta1), `v` is exp_avg_sq / (1 − beta2). */
export interface AdamWState<T> {
  readonly m: Readonly<Record<string, T>>;
  readonly v: Readonly<Record<string, T>>;
}

/** What changes from step to step, as scalars. */
export interface AdamWScalars<T> {
  readonly rate: T;
  readonly epsilon: T;
  readonly decay: T;
}

/**
 * Host-side scalars of step `step` (from 1). Unnormalised moments save three passes over every parameter; these scalars make
 * the result Adam's own: w − lr · (m̂ / (√v̂ + ε)) with m̂, v̂ corrected for bias.
 */
export function adamwScalars(step: number, learningRate: number, { beta1, beta2, epsilon, weight_decay }: AdamWOptions): AdamWScalars<number> {
  const v = Math.sqrt((1 - beta2) / (1 - beta2 ** step));
  return { rate: (learningRate * (1 - beta1)) / (1 - beta1 ** step) / v, epsilon: epsilon / v, decay: 1 - learningRate * weight_decay };
}

export interface AdamWStep {
  readonly parameters: Record<string, Value>;
  readonly state: AdamWState<Value>;
}

/**
 * One AdamW step, tensor by tensor (a single flat vector is slower: it leaves the cache).
 * @param scale factor on every gradient (clipping)
 * @param decays whether a parameter is decayed
 */
export function adamwUpdate(
  gradients: Readonly<Record<string, Value>>,
  parameters: Readonly<Record<string, Value>>,
  state: AdamWState<Value>,
  scalars: AdamWScalars<Value>,
  betas: AdamWOptions,
  scale: Value,
  decays: (name: string) => boolean,
): AdamWStep {
  const out: { parameters: Record<string, Value>; m: Record<string, Value>; v: Record<string, Value> } = { parameters: {}, m: {}, v: {} };
  for (const [name, gradient] of Object.entries(gradients)) {
    const before = { parameter: parameters[name]!, m: state.m[name]!, v: state.v[name]! };
    const { parameter, m, v } = adamw(gradient, before, { scale, rate: scalars.rate, epsilon: scalars.epsilon, decay: decays(name) ? scalars.decay : undefined }, betas);
    out.parameters[name] = parameter;
    out.m[name] = m;
    out.v[name] = v;
  }
  return { parameters: out.parameters, state: { m: out.m, v: out.v } };
}

/**
 * The L2 norm of all gradients together, and the factor min(1, max / (norm + 1e-6)) that bounds it, as PyTorch's
 * clip_grad_norm_.
 */
export function globalNormScale(gradients: readonly Value[], maxNorm: number): { norm: Value; scale: Value } {
  const norm = sqrt(gradients.map((g) => sumSquareAll(g)).reduce((a, b) => add(a, b)));
  return { norm, scale: minimum(div(maxNorm, add(norm, 1e-6)), 1) };
}
