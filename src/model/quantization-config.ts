import { asObject, unsupportedField, withoutNulls } from "./config-check.ts";

const largestSide = 2 ** 16;
const isSide = (value: unknown): value is number => Number.isInteger(value) && (value as number) >= 1 && (value as number) <= largestSide;

/**
 * Rows and columns of the blocks that a config.json says its matrices are quantised by; null when they are not. Of the hub's
 * kinds of quantisation this is the one that DeepSeek-V3 is released in: E4M3 with a scale for each block of a matrix.
 * @throws LongjingError "unsupported" for any other kind; "bad_config"
 */
export function fp8BlockSize(json: unknown, where: string): readonly [rows: number, columns: number] | null {
  const { quantization_config } = withoutNulls(asObject(json, where));
  if (quantization_config === undefined) return null;
  const field = (name: string, got: unknown, expected: string) => unsupportedField(`quantization_config.${name}`, got, expected, where);
  const { quant_method, fmt = "e4m3", activation_scheme = "dynamic", weight_block_size } = withoutNulls(asObject(quantization_config, `${where}: quantization_config`));
  if (quant_method !== "fp8") throw field("quant_method", quant_method, "fp8, or no quantization_config");
  if (fmt !== "e4m3") throw field("fmt", fmt, "e4m3");
  if (activation_scheme !== "dynamic") throw field("activation_scheme", activation_scheme, "dynamic");
  const [rows, columns, ...more] = Array.isArray(weight_block_size) ? (weight_block_size as unknown[]) : [];
  if (!isSide(rows) || !isSide(columns) || more.length > 0) throw field("weight_block_size", weight_block_size, "[rows, columns], as [128, 128]");
  return [rows, columns];
}
