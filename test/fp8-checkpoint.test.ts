import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { initParameters, parameterSpecs, parseConfig } from "../src/model/index.ts";
import { random } from "../src/random/index.ts";
import { dequantizeFp8, openCheckpoint, quantizeFp8, widenFloat8E5M2, writeCheckpoint, type BlockSize } from "../src/weights/index.ts";

const config = parseConfig({ model_type: "llama", vocab_size: 40, hidden_size: 144, intermediate_size: 200, num_hidden_layers: 1, num_attention_heads: 4, bos_token_id: null, eos_token_id: null }, "test");
const specs = parameterSpecs(config);
const parameters = initParameters(specs, 0.02, random("fp8"));
const block: BlockSize = [128, 128];
const quantization_config = { quant_method: "fp8", fmt: "e4m3", activation_scheme: "dynamic", weight_block_size: block };

let dir: string;
beforeEach(() => void (dir = mkdtempSync(join(tmpdir(), "longjing-fp8-"))));
afterEach(() => rmSync(dir, { recursive: true }));

interface Piece {
  readonly name: string;
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly bytes: Uint8Array;
}

const bytesOf = (array: Float32Array): Uint8Array => new Uint8Array(array.buffer, array.byteOffset, array.byteLength);

/** The checkpoint as DeepSeek releases its own: matrices of linear layers in FP8, the rest plain. */
function pieces(): Piece[] {
  return specs.flatMap(({ name, shape, quantizable }): Piece[] => {
    if (!quantizable) return [{ name, dtype: "F32", shape, bytes: bytesOf(parameters[name]!) }];
    const { values, scales } = quantizeFp8(parameters[name]!, shape, block);
    return [
      { name, dtype: "F8_E4M3", shape, bytes: values },
      { name: `${name}_scale_inv`, dtype: "F32", shape: shape.map((size, axis) => Math.ceil(size / block[axis]!)), bytes: bytesOf(scales) },
    ];
  });
}

async function write(tensors: readonly Piece[], quantization: unknown = quantization_config): Promise<string> {
  await writeCheckpoint(join(dir, "plain"), { overwrite: true, config, tensors: [], dtype: "float32" });
  const json = JSON.parse(readFileSync(join(dir, "plain", "config.json"), "utf8")) as object;
  writeFileSync(join(dir, "config.json"), JSON.stringify({ ...json, quantization_config: quantization }));
  let end = 0;
  const header = Object.fromEntries(tensors.map(({ name, dtype, shape, bytes }) => [name, { dtype, shape, data_offsets: [end, (end += bytes.length)] }]));
  const text = JSON.stringify(header);
  const json8 = Buffer.from(text.padEnd(Math.ceil(text.length / 8) * 8));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(json8.length));
  writeFileSync(join(dir, "model.safetensors"), Buffer.concat([length, json8, ...tensors.map(({ bytes }) => bytes)]));
  return dir;
}

test("matrices are dequantised, scales are no tensors, and the rest is as it was", async () => {
  const checkpoint = await openCheckpoint(await write(pieces()));
  expect(checkpoint.config).toStrictEqual(config);
  expect(checkpoint.names).toStrictEqual(specs.map(({ name }) => name).toSorted());
  for (const { name, shape, quantizable } of specs) {
    const { data, dtype } = await checkpoint.read(name, shape);
    const want = quantizable ? dequantizeFp8(quantizeFp8(parameters[name]!, shape, block), shape, block) : parameters[name]!;
    expect(data).toStrictEqual(want);
    expect(dtype).toBe(quantizable ? "F8_E4M3" : "F32");
  }
  await checkpoint.close();
});

test("a matrix without scales, or with those of other blocks, is refused", async () => {
  const scale = "model.layers.0.self_attn.q_proj.weight_scale_inv";
  await expect(openCheckpoint(await write(pieces().filter(({ name }) => name !== scale)))).rejects.toMatchObject({ code: "bad_file" });
  await expect(openCheckpoint(await write(pieces(), { ...quantization_config, weight_block_size: [64, 128] }))).rejects.toMatchObject({ code: "shape_mismatch" });
});

const matrix = "model.layers.0.self_attn.q_proj.weight";

test("the type of a matrix's codes is what its file says; scales may be of any type of floats", async () => {
  const scaled = specs.find(({ name }) => name === matrix)!;
  const { values, scales } = quantizeFp8(parameters[matrix]!, scaled.shape, block);
  const powers = scales.map((scale) => 2 ** Math.round(Math.log2(scale)));
  const other = (piece: Piece): Piece => {
    if (piece.name === matrix) return { ...piece, dtype: "F8_E5M2" };
    return piece.name === `${matrix}_scale_inv` ? { ...piece, dtype: "F8_E8M0", bytes: Uint8Array.from(powers, (power) => Math.log2(power) + 127) } : piece;
  };
  const checkpoint = await openCheckpoint(await write(pieces().map(other)));
  const want = new Float32Array(values.length);
  widenFloat8E5M2(values, want);
  for (const i of want.keys()) want[i]! *= powers[Math.floor(Math.floor(i / 144) / 128) * 2 + Math.floor((i % 144) / 128)]!;
  expect((await checkpoint.read(matrix)).data).toStrictEqual(want);
  await checkpoint.close();
});

test("without a word in config.json, scales that leave no question are taken and others refused", async () => {
  await expect(openCheckpoint(await write(pieces(), null))).rejects.toMatchObject({ code: "unsupported", facts: { hint: expect.stringContaining("weight_block_size") as string } });
  const grids: readonly (readonly number[])[] = [[], [1], [1, 1], [144, 1], [1, 144]];
  for (const shape of grids) {
    const count = shape.reduce((a, b) => a * b, 1);
    const scales = Float32Array.from({ length: count }, (_, i) => 1 + i);
    const bytes = Uint8Array.from({ length: 144 * 144 }, (_, i) => i % 120);
    const plain = pieces().filter(({ name, dtype }) => dtype === "F32" && !name.endsWith("_scale_inv"));
    const checkpoint = await openCheckpoint(await write([...plain, { name: matrix, dtype: "F8_E4M3", shape: [144, 144], bytes }, { name: `${matrix}_scale_inv`, dtype: "F32", shape, bytes: bytesOf(scales) }], null));
    const size: BlockSize = [shape[0] === 144 ? 1 : 144, shape[1] === 144 ? 1 : 144];
    expect((await checkpoint.read(matrix)).data).toStrictEqual(dequantizeFp8({ values: bytes, scales }, [144, 144], size));
    await checkpoint.close();
  }
});

test("scales that nothing uses are refused", async () => {
  const plain = specs.map(({ name, shape }): Piece => ({ name, dtype: "F32", shape, bytes: bytesOf(parameters[name]!) }));
  const stray: Piece = { name: `${matrix}_scale_inv`, dtype: "F32", shape: [2, 2], bytes: new Uint8Array(16) };
  await expect(openCheckpoint(await write([...plain, stray], null))).rejects.toMatchObject({ code: "bad_file" });
  const codes = pieces().filter(({ name }) => !name.endsWith("_scale_inv"));
  await expect(openCheckpoint(await write([...codes, { ...stray, name: `${matrix}_scale` }], null))).rejects.toMatchObject({ code: "unsupported" });
});

test("a tensor of an unknown element type is refused when it is read, and only then", async () => {
  const extra: Piece = { name: "model.extra", dtype: "U16", shape: [2], bytes: new Uint8Array(4) };
  const checkpoint = await openCheckpoint(await write([...pieces(), extra]));
  expect(checkpoint.names).toStrictEqual(specs.map(({ name }) => name).toSorted());
  await expect(checkpoint.read(extra.name)).rejects.toMatchObject({ code: "unsupported", facts: { got: "U16" } });
  await checkpoint.close();
});

test("a base model's own names are those of the whole", async () => {
  const own = (name: string): string => name.replace(/^model\./, "");
  const checkpoint = await openCheckpoint(await write(pieces().map((piece) => ({ ...piece, name: own(piece.name) }))));
  for (const { name, shape, quantizable } of specs) {
    const want = quantizable ? dequantizeFp8(quantizeFp8(parameters[name]!, shape, block), shape, block) : parameters[name]!;
    expect((await checkpoint.read(name, shape)).data).toStrictEqual(want);
  }
  await checkpoint.close();
});

test.each([
  [{ quant_method: "gptq", bits: 4 }, "quant_method"],
  [{ ...quantization_config, fmt: "e5m2" }, "fmt"],
  [{ ...quantization_config, activation_scheme: "static" }, "activation_scheme"],
  [{ ...quantization_config, weight_block_size: null }, "weight_block_size"],
  [{ ...quantization_config, weight_block_size: [128, 0] }, "weight_block_size"],
])("other quantisations are refused: %j", async (quantization, field) => {
  await expect(openCheckpoint(await write(pieces(), quantization))).rejects.toMatchObject({ code: "unsupported", facts: { where: expect.stringContaining(field) as string } });
});
