import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { beforeEach, describe, expect, it, onTestFinished } from "vitest";
import {
  decodeSafetensors,
  encodeSafetensors,
  narrowBfloat16,
  narrowFloat16,
  openCheckpoint,
  widenBfloat16,
  widenFloat16,
  writeCheckpoint,
} from "../src/weights/index.ts";
import type { Checkpoint, TensorToWrite } from "../src/weights/index.ts";
import { fixture, readFixture } from "./fixtures.ts";

const folders = readdirSync(fixture("models")).filter((name) => existsSync(fixture("models", name, "config.json")));

let scratch: string;

beforeEach(() => {
  scratch = mkdtempSync(join(tmpdir(), "longjing-"));
  onTestFinished(() => rmSync(scratch, { recursive: true, force: true }));
});

async function open(dir: string): Promise<Checkpoint> {
  const checkpoint = await openCheckpoint(dir);
  onTestFinished(() => checkpoint.close());
  return checkpoint;
}

interface NamedTensor {
  name: string;
  shape: readonly number[];
  data: Float32Array;
}

/** Data as text, which compares fast and bit by bit. */
function inBits({ name, shape, data }: NamedTensor): { name: string; shape: readonly number[]; bits: string } {
  return { name, shape, bits: Buffer.from(data.buffer, data.byteOffset, data.byteLength).toString("base64") };
}

function allTensors(checkpoint: Checkpoint): Promise<NamedTensor[]> {
  return Promise.all(checkpoint.names.map(async (name) => ({ name, ...(await checkpoint.read(name)) })));
}

describe("every element type", () => {
  interface Expected {
    metadata: Record<string, string>;
    tensors: Record<string, { dtype: string; shape: number[]; values: (number | string)[] }>;
  }
  const expected = readFixture<Expected>("safetensors", "expected.json");
  const opened = decodeSafetensors(readFileSync(fixture("safetensors", "dtypes.safetensors")));

  it("is listed with the metadata", async () => {
    const { metadata, tensors } = await opened;
    expect(metadata).toStrictEqual(expected.metadata);
    expect([...tensors.keys()].toSorted()).toStrictEqual(Object.keys(expected.tensors).toSorted());
  });

  it.each(Object.entries(expected.tensors))("%s is exact", async (name, { dtype, shape, values }) => {
    const file = await opened;
    const stored = await file.read(name);
    expect(stored.shape).toStrictEqual(shape);
    if (dtype.includes("float")) {
      expect([...(await file.readFloat32(name))]).toStrictEqual(values.map((value) => Math.fround(Number(value))));
    }
    if (dtype === "float64" || !dtype.includes("float")) {
      expect(Array.from<number | bigint>(stored.data as Iterable<number | bigint>)).toStrictEqual(
        values.map((value) => (dtype === "int64" ? BigInt(value) : value)),
      );
    }
  });
});

describe.each(folders)("models/%s", (folder) => {
  const dir = fixture("models", folder);
  const grads = readFixture<{ grads: Record<string, { shape: number[] }> }>("models", folder, "expected.json").grads;

  it("opens, with every parameter in its shape", async () => {
    const checkpoint = await open(dir);
    expect(checkpoint.config.model_type).toBe(
      readFixture<{ model_type: string }>("models", folder, "config.json").model_type,
    );
    for (const [name, { shape }] of Object.entries(grads)) {
      const tensor = await checkpoint.read(name, shape);
      expect(tensor.data.length).toBe(shape.reduce((product, size) => product * size, 1));
      expect(tensor.data.every(Number.isFinite)).toBe(true);
    }
    const { transformers_version: _, ...sampling } = readFixture<Record<string, unknown>>(
      "models",
      folder,
      "generation_config.json",
    );
    expect(checkpoint.generationConfig).toMatchObject(sampling);
  });

  it("is written back byte for byte", async () => {
    for (const file of readdirSync(dir).filter((name) => name.endsWith(".safetensors"))) {
      const original = readFileSync(join(dir, file));
      const opened = await decodeSafetensors(original);
      const tensors = [...opened.tensors].map(
        async ([name, { shape, dtype }]) => ({ name, shape, dtype, data: await opened.readFloat32(name) }) as TensorToWrite,
      );
      expect(Buffer.compare(encodeSafetensors(await Promise.all(tensors), opened.metadata), original)).toBe(0);
    }
  });

  it.each(["float32", "bfloat16", "float16"] as const)(
    "reads what was written as %s, whole and in shards",
    async (dtype) => {
      const checkpoint = await open(dir);
      const tensors = await allTensors(checkpoint);
      const rounded = tensors.map(({ name, shape, data }) => inBits({ name, shape, data: roundTo(dtype, name, data) }));
      const shardings: [string, number][] = [
        ["whole", 5e9],
        ["shards", 50_000],
        ["singles", 1],
      ];
      for (const [name, maxShardBytes] of shardings) {
        await writeCheckpoint(join(scratch, name), { config: checkpoint.config, tensors, dtype, maxShardBytes });
        const read = await open(join(scratch, name));
        expect(read.config).toStrictEqual(checkpoint.config);
        const again = await allTensors(read);
        expect(again.map(inBits)).toStrictEqual(rounded);
      }
      expect(readdirSync(join(scratch, "whole")).toSorted()).toStrictEqual(["config.json", "model.safetensors"]);
      expect(readdirSync(join(scratch, "singles")).filter((file) => file.endsWith(".safetensors")).length).toBe(
        tensors.length,
      );
      for (const file of readdirSync(join(scratch, "shards")).filter((name) => name.endsWith(".safetensors"))) {
        const { tensors: inside } = await decodeSafetensors(readFileSync(join(scratch, "shards", file)));
        const bytes = Math.max(...[...inside.values()].map(({ data_offsets }) => data_offsets[1]));
        expect(bytes <= 50_000 || inside.size === 1).toBe(true);
      }
    },
  );
});

/** What the number format leaves of the values; the router's bias stays in float32. */
function roundTo(dtype: "float32" | "bfloat16" | "float16", name: string, data: Float32Array): Float32Array {
  if (dtype === "float32" || name.endsWith("e_score_correction_bias")) return data;
  const bits = new Uint16Array(data.length);
  const values = new Float32Array(data.length);
  (dtype === "bfloat16" ? narrowBfloat16 : narrowFloat16)(data, bits);
  (dtype === "bfloat16" ? widenBfloat16 : widenFloat16)(bits, values);
  return values;
}

describe("a folder that is not whole", () => {
  const whole = fixture("models", "llama_gqa");
  const shards = fixture("models", "llama3_rope");
  const copy = (from: string, leaveOut: readonly string[] = []): string => {
    const dir = join(scratch, "model");
    mkdirSync(dir);
    for (const file of readdirSync(from).filter((name) => !leaveOut.includes(name)))
      copyFileSync(join(from, file), join(dir, file));
    return dir;
  };
  const index = (change: (weight_map: Record<string, string>) => unknown): string => {
    const dir = copy(shards);
    const path = join(dir, "model.safetensors.index.json");
    const json = JSON.parse(readFileSync(path, "utf8")) as { weight_map: Record<string, string> };
    writeFileSync(path, JSON.stringify({ ...json, weight_map: change(json.weight_map) }));
    return dir;
  };
  const named = {
    code: "bad_file",
    facts: { where: expect.stringContaining("model.safetensors.index.json: lm_head.weight") as string },
  };

  it("says which file is missing", async () => {
    await expect(openCheckpoint(join(scratch, "none"))).rejects.toMatchObject({ code: "not_found" });
    await expect(openCheckpoint(copy(whole, ["config.json"]))).rejects.toMatchObject({
      code: "not_found",
      message: expect.stringContaining("config.json"),
    });
  });

  it("says that it has no weights, or only pickled ones", async () => {
    const dir = copy(whole, ["model.safetensors"]);
    await expect(openCheckpoint(dir)).rejects.toMatchObject({
      code: "not_found",
      message: expect.stringContaining("model.safetensors"),
    });
    writeFileSync(join(dir, "pytorch_model.bin"), Uint8Array.of(0x80, 2));
    await expect(openCheckpoint(dir)).rejects.toMatchObject({
      code: "unsupported",
      message: expect.stringMatching(/pytorch_model\.bin.*safe_serialization/),
    });
  });

  it("says which shard is missing or cut short", async () => {
    const shard = "model-00002-of-00003.safetensors";
    const dir = copy(shards, [shard]);
    await expect(openCheckpoint(dir)).rejects.toMatchObject({ code: "not_found", message: expect.stringContaining(shard) });
    const bytes = readFileSync(join(shards, shard));
    writeFileSync(join(dir, shard), bytes.subarray(0, bytes.length - 4));
    await expect(openCheckpoint(dir)).rejects.toMatchObject({ code: "bad_file", message: expect.stringContaining(shard) });
  });

  it.each([
    "../llama_gqa/model.safetensors",
    "/etc/passwd",
    "..",
    "a/b.safetensors",
    "a\\b.safetensors",
    "pytorch_model.bin",
    ".safetensors",
    "a\0.safetensors",
    3,
    null,
  ])("refuses an index that leads to %j", async (file) => {
    await expect(openCheckpoint(index((map) => ({ ...map, "lm_head.weight": file })))).rejects.toMatchObject(named);
  });

  it("refuses an index that names a tensor which its shard does not have", async () => {
    const dir = index((map) => ({ ...map, "lm_head.weight": "model-00002-of-00003.safetensors" }));
    await expect(openCheckpoint(dir)).rejects.toMatchObject({ code: "bad_file", facts: { got: "lm_head.weight" } });
  });

  it.each([null, [], "x"])("refuses an index whose weight_map is %j", async (map) => {
    await expect(openCheckpoint(index(() => map))).rejects.toMatchObject({ code: "bad_file" });
  });

  it.each([
    ["config.json", "{", "bad_file"],
    ["config.json", "[]", "bad_config"],
    ["config.json", '{"model_type":"gpt2"}', "unsupported"],
    ["generation_config.json", '{"temperature":"hot"}', "bad_config"],
    ["generation_config.json", '{"eos_token_id":[-2]}', "bad_config"],
  ])("names %s of %s", async (file, content, code) => {
    const dir = copy(whole);
    writeFileSync(join(dir, file), content);
    await expect(openCheckpoint(dir)).rejects.toMatchObject({ code, message: expect.stringContaining(file) });
  });

  it("says which tensor is missing or has another shape", async () => {
    const checkpoint = await open(whole);
    await expect(checkpoint.read("model.layers.9.mlp.up_proj.weight")).rejects.toMatchObject({
      code: "not_found",
      message: expect.stringContaining("layers.9"),
    });
    const { shape } = checkpoint.info("lm_head.weight");
    for (const other of [shape.toReversed(), [...shape, 1], []]) {
      await expect(checkpoint.read("lm_head.weight", other)).rejects.toMatchObject({
        code: "shape_mismatch",
        facts: { got: shape, expected: other, where: expect.stringMatching(/model\.safetensors: lm_head\.weight$/) },
      });
    }
  });

  it("takes -1 in generation_config.json for none", async () => {
    const dir = copy(whole);
    const sampled = { do_sample: true, bos_token_id: -1, pad_token_id: -1, eos_token_id: -1, top_k: -1 };
    writeFileSync(join(dir, "generation_config.json"), JSON.stringify(sampled));
    expect((await open(dir)).generationConfig).toStrictEqual({ do_sample: true, bos_token_id: null, pad_token_id: null, eos_token_id: [], top_k: 0 });
  });

  it("opens without a generation_config.json", async () => {
    expect((await open(copy(whole, ["generation_config.json"]))).generationConfig).toBeNull();
  });
});

describe("writing a folder", () => {
  const source = (): Promise<Checkpoint> => open(fixture("models", "qwen2_tied"));

  it("carries other files along", async () => {
    const { config } = await source();
    const extraFiles = { "generation_config.json": '{"temperature":0.5}', "tokenizer.model": Uint8Array.of(1, 2) };
    await writeCheckpoint(join(scratch, "out"), { config, tensors: [], dtype: "float32", extraFiles });
    expect((await open(join(scratch, "out"))).generationConfig?.temperature).toBe(0.5);
    expect([...readFileSync(join(scratch, "out", "tokenizer.model"))]).toStrictEqual([1, 2]);
  });

  it("refuses float16 for a weight that it would make infinite, and keeps one that is so already", async () => {
    const { config } = await source();
    const write = (value: number, dtype: "float16" | "bfloat16"): Promise<void> =>
      writeCheckpoint(join(scratch, `${value}-${dtype}`), {
        config,
        tensors: [{ name: "large", shape: [2], data: Float32Array.of(1, value) }],
        dtype,
      });
    await expect(write(-65_520, "float16")).rejects.toMatchObject({ code: "unsupported", facts: { got: -65_520, where: "large" } });
    expect(existsSync(join(scratch, "-65520-float16"))).toBe(false);
    await write(-65_520, "bfloat16");
    await write(65_519, "float16");
    await write(Infinity, "float16");
  });

  it("gives equal bytes for equal content in any order", async () => {
    const checkpoint = await source();
    const tensors = await allTensors(checkpoint);
    const write = (name: string, list: NamedTensor[]): Promise<void> =>
      writeCheckpoint(join(scratch, name), {
        config: checkpoint.config,
        tensors: list,
        dtype: "bfloat16",
        maxShardBytes: 40_000,
      });
    await write("a", tensors);
    await write("b", tensors.toReversed());
    expect(readdirSync(join(scratch, "a"))).toStrictEqual(readdirSync(join(scratch, "b")));
    for (const file of readdirSync(join(scratch, "a"))) {
      expect(Buffer.compare(readFileSync(join(scratch, "a", file)), readFileSync(join(scratch, "b", file)))).toBe(0);
    }
  });

  it("states the bytes of all tensors in the index", async () => {
    const checkpoint = await source();
    const tensors = await allTensors(checkpoint);
    await writeCheckpoint(join(scratch, "out"), {
      config: checkpoint.config,
      tensors,
      dtype: "float16",
      maxShardBytes: 40_000,
    });
    const index = JSON.parse(readFileSync(join(scratch, "out", "model.safetensors.index.json"), "utf8")) as {
      metadata: { total_size: number };
      weight_map: Record<string, string>;
    };
    expect(index.metadata.total_size).toBe(tensors.reduce((sum, { data }) => sum + 2 * data.length, 0));
    expect(Object.keys(index.weight_map)).toStrictEqual(checkpoint.names);
  });

  it("leaves a folder that is not empty alone unless told otherwise", async () => {
    const checkpoint = await source();
    const out = join(scratch, "out");
    const write = (overwrite: boolean): Promise<void> =>
      writeCheckpoint(out, { config: checkpoint.config, tensors: [], dtype: "float32", overwrite });
    mkdirSync(out);
    writeFileSync(join(out, "notes.txt"), "mine");
    await expect(write(false)).rejects.toMatchObject({ code: "conflict" });
    expect(readdirSync(out)).toStrictEqual(["notes.txt"]);
    await write(true);
    expect(readdirSync(out).toSorted()).toStrictEqual(["config.json", "model.safetensors"]);
  });

  it.each(["../escaped.txt", "a/b", "config.json", "model.safetensors", "", ".hidden"])(
    "refuses an extra file named %j, and writes nothing",
    async (name) => {
      const { config } = await source();
      const writing = writeCheckpoint(join(scratch, "out"), {
        config,
        tensors: [],
        dtype: "float32",
        extraFiles: { [name]: "" },
      });
      await expect(writing).rejects.toMatchObject({ code: "bad_argument" });
      expect(readdirSync(scratch)).toStrictEqual([]);
    },
  );

  it("refuses two tensors of one name, though they would be in two shards", async () => {
    const { config } = await source();
    const twice = { name: "a", shape: [4], data: new Float32Array(4) };
    await expect(
      writeCheckpoint(join(scratch, "out"), { config, tensors: [twice, twice], dtype: "float32", maxShardBytes: 1 }),
    ).rejects.toMatchObject({ code: "bad_argument" });
    expect(statSync(scratch).isDirectory() && readdirSync(scratch).length).toBe(0);
  });
});
