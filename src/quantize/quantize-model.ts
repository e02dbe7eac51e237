import { LongjingError } from "../errors/index.ts";
import { parameterSpecs, type ModelConfig, type ParameterSpec } from "../model/index.ts";
import type { Backend } from "../runtime/index.ts";
import { ActivationRunner, stages } from "./activations.ts";
import { roundCalibrated, sensitivity, type Gram, type Sensitivity } from "./calibrated.ts";
import { equalize, type Layer } from "./equalize.ts";
import { blockLength, dequantize, roundToNearest, type Grid, type QuantizedMatrix } from "./grid.ts";
import { BlockProducts } from "./products.ts";

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
 * those that the quantised layers before it give, so that it makes up for their errors too, and channels are scaled so that
 * rounding costs less, which changes gains and biases (`equalize`). Gains, biases and routers stay at 32 bits; a matrix whose rows
 * are not whole blocks stays at 16; embeddings are looked up, not multiplied, so they are rounded to nearest always.
 * @param read a parameter's weights, row-major
 * @throws LongjingError "bad_argument" for a calibration text of no token; "unsupported" for weights or activations that are not finite
 */
export async function* quantizeModel(config: ModelConfig, read: (spec: ParameterSpec) => Promise<Float32Array>, options: QuantizeOptions): AsyncGenerator<StoredParameter> {
  const { calibration, onProgress } = options;
  const specs = parameterSpecs(config);
  const size = ({ shape }: ParameterSpec): number => shape.reduce((a, b) => a * b, 1);
  const total = specs.reduce((sum, spec) => sum + size(spec), 0);
  let done = 0;
  const embeddings = specs.find(({ name }) => name === embeddingName)!;
  const stored = rounded(embeddings, await read(embeddings), options.embeddings);
  onProgress?.((done += size(embeddings)), total);
  yield stored;
  const windows = calibration ? embeddedWindows(config, stored.weights, calibration) : [];
  const runner = calibration && new ActivationRunner(calibration.backend, config, windows[0]!.length / config.hidden_size);
  const products = calibration && new BlockProducts(calibration.backend);
  for (const stage of stages(config)) {
    const onGrid = (spec: ParameterSpec): boolean => typeof storageOf(spec, options) === "object" && fits(spec);
    let layer: Layer = { weights: await readAll(stage.specs, read), grams: new Map() };
    if (runner && stage.specs.some(onGrid)) layer = equalize(config, stage.specs, { ...layer, grams: await runner.grams(stage, layer.weights, windows) });
    const felt = new Map<Gram, Sensitivity>();
    const kept = new Map<string, Float32Array>();
    for (const spec of stage.specs) {
      const weights = layer.weights.get(spec.name)!;
      const gram = onGrid(spec) ? layer.grams.get(spec.name) : undefined;
      if (gram && !felt.has(gram)) felt.set(gram, await sensitivity(products!, gram));
      const stored = gram ? calibrated(spec, await roundCalibrated(products!, weights, spec.shape, storageOf(spec, options) as Grid, felt.get(gram)!)) : rounded(spec, weights, storageOf(spec, options));
      kept.set(spec.name, stored.weights);
      onProgress?.((done += size(spec)), total);
      yield stored;
    }
    if (stage.kind !== "end") await runner?.advance(stage, kept, windows);
  }
  await runner?.dispose();
  await products?.dispose();
}

async function readAll(specs: readonly ParameterSpec[], read: (spec: ParameterSpec) => Promise<Float32Array>): Promise<Map<string, Float32Array>> {
  const weights = new Map<string, Float32Array>();
  for (const spec of specs) weights.set(spec.name, await read(spec));
  return weights;
}

function storageOf({ name, quantizable }: ParameterSpec, { linear, embeddings, head }: QuantizeOptions): Storage {
  return name === embeddingName ? embeddings : name === "lm_head.weight" ? head : quantizable ? linear : 32;
}

const fits = ({ shape }: ParameterSpec): boolean => shape.at(-1)! % blockLength === 0;

const calibrated = (spec: ParameterSpec, matrix: QuantizedMatrix): StoredParameter => ({ spec, matrix, weights: dequantize(matrix), bits: matrix.grid.bits, method: "gptq" });

function rounded(spec: ParameterSpec, weights: Float32Array, storage: Storage): StoredParameter {
  if (typeof storage !== "object") return { spec, matrix: null, weights, bits: storage, method: "none" };
  if (!fits(spec)) return { spec, matrix: null, weights, bits: 16, method: "unfit" };
  const matrix = roundToNearest(weights, spec.shape, storage);
  return { spec, matrix, weights: dequantize(matrix), bits: storage.bits, method: "rtn" };
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
