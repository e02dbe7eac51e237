import type { DeviceTensor } from "../runtime/index.ts";
import { dequantize, type QuantizedMatrix, type TensorType, type Tree, type Value } from "../tensor/index.ts";

/** Parameters by their checkpoint names, in memory that the runtime reads in place. */
export type ParameterTensors = Readonly<Record<string, DeviceTensor>>;

/** A matrix in blocks (tensor/ops/quantized.ts gives their layout). */
export interface QuantizedTensors {
  /** [rows, blocks, bytes of a block] */
  readonly blocks: DeviceTensor<"uint8">;
  /** [rows, blocks] */
  readonly scales: DeviceTensor<"float32">;
  readonly offsets?: DeviceTensor<"float32">;
  readonly columns: number;
  /** Products with it do not round activations. Default false. */
  readonly exact?: boolean;
}

/** Parameters as they are served: matrices may be in blocks, and projections of the same rows may be one (`qkv_proj`). */
export type ModelParameters = Readonly<Record<string, DeviceTensor | QuantizedTensors>>;

const isQuantized = (parameter: DeviceTensor | QuantizedTensors): parameter is QuantizedTensors => "blocks" in parameter;

/** The tensors alone, as a tree that a program binds or freezes. */
export const tensorsOf = (parameters: ModelParameters): Record<string, Tree<DeviceTensor>> =>
  Object.fromEntries(Object.entries(parameters).map(([name, p]) => [name, isQuantized(p) ? { blocks: p.blocks, scales: p.scales, ...(p.offsets && { offsets: p.offsets }) } : p]));

const typeOf = ({ shape, dtype }: DeviceTensor): TensorType => ({ shape, dtype });

/** The types of `tensorsOf`. */
export const typesOf = (parameters: ModelParameters): Record<string, TensorType | Record<string, TensorType>> =>
  Object.fromEntries(Object.entries(tensorsOf(parameters)).map(([name, p]) => [name, "data" in p ? typeOf(p as DeviceTensor) : Object.fromEntries(Object.entries(p).map(([part, t]) => [part, typeOf(t as DeviceTensor)]))]));

/** What products with matrices in blocks are, beside their tensors' types. */
export const quantizedOf = (parameters: ModelParameters): Record<string, readonly [columns: number, exact: boolean]> =>
  Object.fromEntries(Object.entries(parameters).flatMap(([name, p]) => (isQuantized(p) ? [[name, [p.columns, p.exact ?? false]]] : [])));

type Traced = Readonly<Record<string, Value | QuantizedMatrix>>;

/** What stands for parameters while a model is traced, from what stands for their tensors. */
export const valuesOf = (parameters: ModelParameters, traced: Traced): Record<string, Value> =>
  Object.fromEntries(
    Object.entries(traced).map(([name, value]) => {
      const of = parameters[name]!;
      return [name, isQuantized(of) ? dequantize({ ...(value as QuantizedMatrix), exact: of.exact }, of.columns) : (value as Value)];
    }),
  );

/** Those that are frozen and those that are bound, while a model is traced. */
export const allValues = (frozen: ModelParameters, bound: ModelParameters, traced: { readonly frozen: unknown; readonly parameters: unknown }): Record<string, Value> => ({
  ...valuesOf(frozen, traced.frozen as Traced),
  ...valuesOf(bound, traced.parameters as Traced),
});

export function disposeParameters(parameters: ModelParameters): void {
  for (const parameter of Object.values(parameters))
    for (const tensor of isQuantized(parameter) ? [parameter.blocks, parameter.scales, parameter.offsets] : [parameter]) tensor?.dispose();
}
