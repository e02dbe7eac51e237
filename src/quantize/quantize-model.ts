import { LongjingError } from "../errors/index.ts";
import { parameterSpecs, type ModelConfig, type ParameterSpec } from "../model/index.ts";
import type { Backend } from "../runtime/index.ts";
import { ActivationRunner, stages } from "./activations.ts";
import { roundCalibrated, sensitivity, type Gram, type Sensitivity } from "./calibrated.ts";
import { blockLength, dequantize, roundToNearest, type Grid, type QuantizedMatrix } from "./grid.ts";

/** How a matrix is kept: on a grid, or as floats of 16 or 32 bits. */
export type Storage = Grid | 16 | 32;

export interface Calibration {
  readonly backend: Backend;
  /** Tokens of a text like those that the model will meet. */
  readonly ids: readonly number[];
  /** Tokens that see each other. */
  readonly window: number;
}

export interface QuantizeOptions {
  /** Of the linear layers. */
  readonly linear: Grid;
  readonly embeddings: Storage;
  /** Of the head, unless it is the embeddings. */
  readonly head: Storage;
  /** Without it every weight is rounded to the nearest level. */
  readonly calibration?: Calibration | undefined;
  /** Called with the number of weights that are done, and of all. */
  readonly onProgress?: ((done: number, total: number) => void) | undefined;
}

/** One parameter as it is to be stored. */
export interface StoredParameter {
  readonly spec: ParameterSpec;
  /** null: kept as floats. */
  readonly matrix: QuantizedMatrix | null;
  /** What `matrix` stands for, or the weights as they were, row-major. */
  readonly weights: Float32Array;
  readonly bits: 4 | 8 | 16 | 32;
  /** How it was rounded: calibrated ("gptq"), to nearest ("rtn"), not ("none"), or not because its rows are no whole blocks ("unfit"). */
  readonly method: "gptq" | "rtn" | "none" | "unfit";
}

export const embeddingName = "model.embed_tokens.weight";

/**
 * Quantises a model's linear layers, embeddings and head, one layer in memory at a time. Calibrated, the inputs of a layer are
 * those that the quantised layers before it give, so that it makes up for their errors too. Gains, biases and routers stay at 32
 * bits; a matrix whose rows are not whole blocks stays at 16; embeddings are looked up, not multiplied, so they are rounded to
 * nearest always.
 * @param read a parameter's weights, row-major
 * @throws LongjingError "bad_argument" for a calibration text of no token; "unsupported" for weights or activations that are not finite
 */
export async function* quantizeModel(config: ModelConfig, read: (spec: ParameterSpec) => Promise<Float32Array>, options: QuantizeOptions): AsyncGenerator<StoredParameter> {
  const { calibration, onProgress } = options;
  const specs = parameterSpecs(config);
  const size = ({ shape }: ParameterSpec): number => shape.reduce((a, b) => a * b, 1);
  const total = specs.reduce((sum, spec) => sum + size(spec), 0);
  let done = 0;
  const store = async (spec: ParameterSpec, felt: Sensitivity | null): Promise<StoredParameter> => {
    const stored = storeParameter(spec, await read(spec), storageOf(spec, options), felt);
    onProgress?.((done += size(spec)), total);
    return stored;
  };
  const embeddings = await store(specs.find(({ name }) => name === embeddingName)!, null);
  yield embeddings;
  const windows = calibration ? embeddedWindows(config, embeddings.weights, calibration) : [];
  const runner = calibration && new ActivationRunner(calibration.backend, config, windows[0]!.length / config.hidden_size);
  for (const stage of stages(config)) {
    const weights = new Map<string, Float32Array>();
    if (runner) for (const spec of stage.specs) weights.set(spec.name, await read(spec));
    const rounded = (spec: ParameterSpec): boolean => typeof storageOf(spec, options) === "object" && fits(spec);
    const grams = stage.specs.some(rounded) ? await runner?.grams(stage, weights, windows) : undefined;
    const felt = new Map<Gram, Sensitivity>();
    for (const spec of stage.specs) {
      const gram = grams?.get(spec.name);
      if (gram && rounded(spec) && !felt.has(gram)) felt.set(gram, sensitivity(gram));
      const stored = await store(spec, (gram && felt.get(gram)) ?? null);
      weights.set(spec.name, stored.weights);
      yield stored;
    }
    if (stage.kind !== "end") await runner?.advance(stage, weights, windows);
  }
  await runner?.dispose();
}

function storageOf({ name, quantizable }: ParameterSpec, { linear, embeddings, head }: QuantizeOptions): Storage {
  return name === embeddingName ? embeddings : name === "lm_head.weight" ? head : quantizable ? linear : 32;
}

const fits = ({ shape }: ParameterSpec): boolean => shape.at(-1)! % blockLength === 0;

function storeParameter(spec: ParameterSpec, weights: Float32Array, storage: Storage, felt: Sensitivity | null): StoredParameter {
  if (typeof storage !== "object") return { spec, matrix: null, weights, bits: storage, method: "none" };
  if (!fits(spec)) return { spec, matrix: null, weights, bits: 16, method: "unfit" };
  const matrix = felt ? roundCalibrated(weights, spec.shape, storage, felt) : roundToNearest(weights, spec.shape, storage);
  return { spec, matrix, weights: dequantize(matrix), bits: storage.bits, method: felt ? "gptq" : "rtn" };
}

/** The rows that whole windows of the text look up, [window, hidden] each; what is left behind the last is not used. */
function embeddedWindows({ hidden_size, vocab_size }: ModelConfig, table: Float32Array, { ids, window }: Calibration): Float32Array[] {
  const stray = ids.find((id) => !(id >= 0 && id < vocab_size));
  const time = Math.min(window, ids.length);
  if (time < 1 || stray !== undefined) throw new LongjingError("bad_argument", "The calibration text has no tokens, or some that the model does not know", { got: stray ?? `${ids.length} tokens` });
  return Array.from({ length: Math.floor(ids.length / time) }, (_, w) => {
    const rows = new Float32Array(time * hidden_size);
    for (let t = 0; t < time; t++) {
      const id = ids[w * time + t]!;
      rows.set(table.subarray(id * hidden_size, (id + 1) * hidden_size), t * hidden_size);
    }
    return rows;
  });
}
