import { asObject, unsupportedField, withoutNulls } from "./config-check.ts";

const packedMethod = "compressed-tensors";
const largestSide = 2 ** 16;
const isSide = (value: unknown): value is number => Number.isInteger(value) && (value as number) >= 1 && (value as number) <= largestSide;

/**
 * Rows and columns of the blocks that a config.json says its matrices are quantised by; null when they are not. This is
 * the kind of quantisation that DeepSeek-V3 is released in: E4M3 with a scale for each block of a matrix.
 * @throws LongjingError "unsupported" for any other kind; "bad_config"
 */
export function fp8BlockSize(json: unknown, where: string): readonly [rows: number, columns: number] | null {
  const { quantization_config } = withoutNulls(asObject(json, where));
  if (quantization_config === undefined || packedScheme(json, where) !== null) return null;
  const field = (name: string, got: unknown, expected: string) => unsupportedField(`quantization_config.${name}`, got, expected, where);
  const { quant_method, fmt = "e4m3", activation_scheme = "dynamic", weight_block_size } = withoutNulls(asObject(quantization_config, `${where}: quantization_config`));
  if (quant_method !== "fp8") throw field("quant_method", quant_method, "fp8, compressed-tensors, or no quantization_config");
  if (fmt !== "e4m3") throw field("fmt", fmt, "e4m3");
  if (activation_scheme !== "dynamic") throw field("activation_scheme", activation_scheme, "dynamic");
  const [rows, columns, ...more] = Array.isArray(weight_block_size) ? (weight_block_size as unknown[]) : [];
  if (!isSide(rows) || !isSide(columns) || more.length > 0) throw field("weight_block_size", weight_block_size, "[rows, columns], as [128, 128]");
  return [rows, columns];
}

/** Matrices as compressed-tensors packs them: codes in 32-bit words, a scale for each group of columns. */
export interface PackedScheme {
  readonly bits: 4 | 8;
  readonly symmetric: boolean;
  readonly group_size: 32;
}

/** The `quantization_config` of a model whose linear layers but those in `ignore` are packed. */
export function packedConfig({ bits, symmetric, group_size }: PackedScheme, ignore: readonly string[]): Record<string, unknown> {
  const weights = { num_bits: bits, type: "int", symmetric, strategy: "group", group_size, dynamic: false, observer: "minmax" };
  return { quant_method: "compressed-tensors", format: "pack-quantized", quantization_status: "compressed", ignore, config_groups: { group_0: { targets: ["Linear"], weights, input_activations: null, output_activations: null } }, kv_cache_scheme: null };
}

/**
 * What a config.json says of packed matrices; null when they are stored in another way.
 * @throws LongjingError "unsupported" for a scheme that we do not run; "bad_config"
 */
export function packedScheme(json: unknown, where: string): PackedScheme | null {
  const { quantization_config } = withoutNulls(asObject(json, where));
  if (quantization_config === undefined) return null;
  const field = (name: string, got: unknown, expected: string) => unsupportedField(`quantization_config.${name}`, got, expected, where);
  const { quant_method, format, config_groups, kv_cache_scheme } = withoutNulls(asObject(quantization_config, `${where}: quantization_config`));
  if (quant_method !== packedMethod) return null;
  if (format !== "pack-quantized") throw field("format", format, "pack-quantized");
  if (kv_cache_scheme !== undefined) throw field("kv_cache_scheme", kv_cache_scheme, "none");
  const groups = Object.values(asObject(config_groups, `${where}: quantization_config.config_groups`));
  if (groups.length !== 1) throw field("config_groups", groups.length, "one group");
  const { weights, input_activations, output_activations } = withoutNulls(asObject(groups[0], `${where}: quantization_config.config_groups`));
  if (input_activations !== undefined || output_activations !== undefined) throw field("config_groups", "quantised activations", "weights only");
  const { num_bits, type = "int", symmetric = true, strategy, group_size, actorder } = withoutNulls(asObject(weights, `${where}: quantization_config.config_groups.weights`));
  if (num_bits !== 4 && num_bits !== 8) throw field("num_bits", num_bits, "4 or 8");
  if (type !== "int") throw field("type", type, "int");
  if (typeof symmetric !== "boolean") throw field("symmetric", symmetric, "true or false");
  if (strategy !== "group" || group_size !== 32) throw field("group_size", group_size, "groups of 32");
  if (actorder === "group") throw field("actorder", actorder, "columns in their order");
  return { bits: num_bits, symmetric, group_size };
}
