import { existsSync, readdirSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { LongjingError } from "../errors/index.ts";
import { fixture, readFixture } from "../../test/fixtures.ts";
import { softmaxScaleFactor } from "../nn/rope.ts";
import { configToJson, configToText, parseConfig } from "./config.ts";
import type { ModelConfig } from "./config.ts";

type Json = Record<string, unknown>;

const folders = readdirSync(fixture("models")).filter((name) => existsSync(fixture("models", name, "config.json")));
const raw = (folder: string): Json => readFixture<Json>("models", folder, "config.json");
const parse = (json: unknown): ModelConfig => parseConfig(json, "config.json");

const llama: Json = { model_type: "llama", hidden_size: 32, num_attention_heads: 4 };
const qwen2: Json = { ...llama, model_type: "qwen2", num_key_value_heads: 2 };
const qwen3Moe: Json = { ...llama, model_type: "qwen3_moe", num_experts: 8, num_experts_per_tok: 2, num_hidden_layers: 4 };
const deepseek: Json = {
  ...llama,
  model_type: "deepseek_v3",
  n_routed_experts: 16,
  num_experts_per_tok: 4,
  n_group: 4,
  topk_group: 2,
};

/** What parsing throws, which must be our error. */
function refusal(json: unknown): LongjingError {
  try {
    parse(json);
  } catch (error) {
    if (LongjingError.is(error)) return error;
    throw error;
  }
  throw new Error("was accepted");
}

describe.each(folders)("%s", (folder) => {
  it("is read back from what is written", () => {
    const config = parse(raw(folder));
    for (const dtype of ["float32", "bfloat16", "float16"] as const) {
      expect(parse(configToJson(config, dtype))).toStrictEqual(config);
      expect(parse(JSON.parse(configToText(config, dtype)))).toStrictEqual(config);
      expect(configToJson(config, dtype)).toMatchObject({ dtype, torch_dtype: dtype });
    }
  });

  it("keeps every field that the file names", () => {
    const json = raw(folder);
    const config: Json = { ...parse(json) };
    for (const field of Object.keys(config).filter((key) => key !== "eos_token_id" && json[key] !== undefined)) {
      expect(config[field]).toStrictEqual(json[field]);
    }
    expect(config["eos_token_id"]).toStrictEqual([json["eos_token_id"] ?? []].flat());
  });

  it("means the same in every style", () => {
    const config = parse(raw(folder));
    const { rope_theta, rope_scaling, rope_parameters, ...rest } = configToJson(config, "float32");
    const { num_experts, n_routed_experts, ...others } = rest;
    const experts = num_experts ?? n_routed_experts;
    expect(parse({ ...rest, rope_theta, rope_scaling })).toStrictEqual(config);
    expect(parse({ ...others, num_local_experts: experts ?? null, rope_parameters })).toStrictEqual(config);
    expect(parse({ ...rest, rope_theta, rope_scaling: null, rope_parameters })).toStrictEqual(config);
  });

  it("ignores fields that do not bear on the result", () => {
    expect(parse({ ...raw(folder), pretraining_tp: 2, auto_map: {}, nonsense: [[]] })).toStrictEqual(parse(raw(folder)));
  });

  it("takes null for absent", () => {
    const nulls = {
      rope_parameters: raw(folder)["rope_parameters"] ?? null,
      layer_types: null,
      partial_rotary_factor: null,
    };
    expect(parse({ ...raw(folder), ...nulls })).toStrictEqual(parse(raw(folder)));
  });

  it("survives any change of any field with a config or an error of ours", () => {
    const json = raw(folder);
    fc.assert(
      fc.property(
        fc.constantFrom(...Object.keys(json)),
        fc.oneof(fc.jsonValue(), fc.integer(), fc.double()),
        (field, value) => {
          const changed = { ...json, [field]: value };
          try {
            const config = parse(changed);
            expect(parse(configToJson(config, "float32"))).toStrictEqual(config);
          } catch (error) {
            if (!LongjingError.is(error)) throw error;
            expect(["bad_config", "unsupported"]).toContain(error.code);
          }
        },
      ),
    );
  });
});

describe("defaults", () => {
  it("make DeepSeek-V3 of an empty deepseek_v3 (arXiv 2412.19437, section 4.2)", () => {
    expect(parse({ model_type: "deepseek_v3" })).toMatchObject({
      num_hidden_layers: 61,
      hidden_size: 7168,
      num_attention_heads: 128,
      num_key_value_heads: 128,
      kv_lora_rank: 512,
      q_lora_rank: 1536,
      qk_rope_head_dim: 64,
      first_k_dense_replace: 3,
      n_shared_experts: 1,
      n_routed_experts: 256,
      moe_intermediate_size: 2048,
      num_experts_per_tok: 8,
      topk_group: 4,
    });
  });

  it("give every query head its keys, and split the hidden size by heads", () => {
    expect(parse(llama)).toMatchObject({ num_key_value_heads: 4, head_dim: 8 });
    expect(parse({ ...qwen2, num_key_value_heads: null })).toMatchObject({ num_key_value_heads: 4, head_dim: 8 });
  });

  it("rotate without scaling", () => {
    for (const json of [llama, qwen2, deepseek])
      expect(parse(json).rope).toStrictEqual({ rope_type: "default", rope_theta: 10000 });
  });

  it("tell an explicit null token from an absent one", () => {
    expect(parse(llama)).toMatchObject({ bos_token_id: 1, eos_token_id: [2] });
    expect(parse({ ...llama, bos_token_id: null, eos_token_id: null })).toMatchObject({
      bos_token_id: null,
      eos_token_id: [],
    });
  });

  it("take a token of -1 for none", () => {
    const ids = (id: number | null, ends: unknown) => parse({ ...llama, bos_token_id: id, pad_token_id: id, eos_token_id: ends });
    expect(ids(-1, -1)).toStrictEqual(ids(null, null));
    expect(ids(-1, [-1, 2])).toStrictEqual(ids(null, [2]));
    expect(() => ids(-2, 2)).toThrow(expect.objectContaining({ code: "bad_config" }));
  });

  it("take a q_lora_rank of 0 for none, as DeepSeek's own configurations do", () => {
    expect(parse({ ...deepseek, q_lora_rank: 0 })).toStrictEqual(parse({ ...deepseek, q_lora_rank: null }));
  });

  it("make yarn's factor of the two context lengths", () => {
    const rope_scaling = { type: "yarn", original_max_position_embeddings: 1024, factor: null };
    expect(parse({ ...llama, max_position_embeddings: 4096, rope_scaling }).rope.factor).toBe(4);
  });

  it("keep what DeepSeek scales its softmax by, whatever scales the rotation", () => {
    const scaled = { factor: 4, mscale_all_dim: 0.7 };
    const bands = { low_freq_factor: 1, high_freq_factor: 4 };
    for (const rope_scaling of [{ ...scaled, type: "linear" }, { ...scaled, ...bands, type: "llama3" }]) {
      const config = parse({ ...deepseek, rope_scaling });
      expect(softmaxScaleFactor(config.rope)).toBeCloseTo((0.07 * Math.log(4) + 1) ** 2, 12);
      expect(parse(configToJson(config, "float32"))).toStrictEqual(config);
    }
  });
});

describe("text", () => {
  it("writes a point into whole numbers that transformers declares as floats", () => {
    const config = parse({
      ...deepseek,
      routed_scaling_factor: 1,
      initializer_range: 0,
      rope_scaling: { type: "yarn", factor: 4 },
    });
    const text = configToText(config, "float32");
    for (const name of ["routed_scaling_factor", "initializer_range", "rope_theta", "factor"]) {
      expect(text.match(new RegExp(`"${name}": .*`, "g"))).toSatisfy((lines: string[]) =>
        lines.every((line) => /: \d+\.\d+,?$/.test(line)),
      );
    }
    expect(text).toMatch(/"hidden_size": 32,/);
  });
});

const deep = JSON.parse(`${"[".repeat(200_000)}${"]".repeat(200_000)}`) as unknown;

const refused: [name: string, json: unknown, code: string, field: string][] = [
  ["a list", [], "bad_config", "config.json"],
  ["null", null, "bad_config", "config.json"],
  ["no model_type", {}, "bad_config", "model_type"],
  ["an unknown model_type", { model_type: "mamba" }, "unsupported", "model_type"],
  ["a model_type of the prototype", { model_type: "constructor" }, "unsupported", "model_type"],
  ["another activation", { ...llama, hidden_act: "gelu" }, "unsupported", "hidden_act"],
  ["a sliding window", { ...qwen2, use_sliding_window: true }, "unsupported", "use_sliding_window"],
  ["sliding layers", { ...qwen2, layer_types: ["full_attention", "sliding_attention"] }, "unsupported", "layer_types"],
  ["quantised weights", { ...llama, quantization_config: { quant_method: "fp8" } }, "unsupported", "quantization_config"],
  ["softmax routing of deepseek", { ...deepseek, scoring_func: "softmax" }, "unsupported", "scoring_func"],
  ["greedy routing of deepseek", { ...deepseek, topk_method: "greedy" }, "unsupported", "topk_method"],
  ["a size of 0", { ...llama, vocab_size: 0 }, "bad_config", "vocab_size"],
  ["a negative size", { ...llama, num_hidden_layers: -1 }, "bad_config", "num_hidden_layers"],
  ["a fractional size", { ...llama, hidden_size: 32.5 }, "bad_config", "hidden_size"],
  ["a size as text", { ...llama, hidden_size: "32" }, "bad_config", "hidden_size"],
  ["a size beyond bounds", { ...llama, intermediate_size: 2 ** 40 }, "bad_config", "intermediate_size"],
  ["a number beyond doubles", JSON.parse('{"model_type":"llama","rms_norm_eps":1e999}'), "bad_config", "rms_norm_eps"],
  ["endless nesting", { ...llama, vocab_size: deep }, "bad_config", "vocab_size"],
  ["endless nesting in rope", { ...llama, rope_scaling: { rope_type: deep } }, "unsupported", "rope_type"],
  ["heads that do not divide the width", { ...llama, hidden_size: 30 }, "bad_config", "hidden_size"],
  ["heads that do not share keys", { ...llama, num_key_value_heads: 3 }, "bad_config", "num_key_value_heads"],
  ["an odd head", { ...llama, head_dim: 7 }, "bad_config", "head_dim"],
  ["a token outside the vocabulary", { ...llama, eos_token_id: [2, 32000] }, "bad_config", "eos_token_id"],
  ["an unknown rotation", { ...llama, rope_scaling: { rope_type: "longrope", long_factor: [1, 2] } }, "unsupported", "rope_type"],
  ["a rotation of the prototype", { ...llama, rope_scaling: { type: "toString" } }, "unsupported", "rope_type"],
  ["part of the head rotated", { ...llama, partial_rotary_factor: 0.5 }, "unsupported", "partial_rotary_factor"],
  [
    "a rotation by layer type",
    { ...llama, rope_parameters: { full_attention: {} } },
    "unsupported",
    "rope_parameters.full_attention",
  ],
  [
    "yarn without truncation",
    { ...llama, rope_scaling: { type: "yarn", factor: 2, truncate: false } },
    "unsupported",
    "truncate",
  ],
  ["linear without its factor", { ...llama, rope_scaling: { type: "linear" } }, "bad_config", "factor"],
  ["a list for rope_scaling", { ...llama, rope_scaling: [] }, "bad_config", "rope_scaling"],
  ["two rotations", { ...llama, rope_theta: 1e4, rope_parameters: { rope_theta: 1e6 } }, "bad_config", "rope_theta"],
  ["llama3 bands the wrong way round", llama3({ low_freq_factor: 4, high_freq_factor: 1 }), "bad_config", "low_freq_factor"],
  [
    "yarn bands the wrong way round",
    { ...llama, rope_scaling: { type: "yarn", factor: 2, beta_fast: 1, beta_slow: 32 } },
    "bad_config",
    "beta_fast",
  ],
  ["two numbers of experts", { ...qwen3Moe, num_local_experts: 4 }, "bad_config", "num_local_experts"],
  ["more experts a token than there are", { ...qwen3Moe, num_experts_per_tok: 9 }, "bad_config", "num_experts_per_tok"],
  ["a dense layer beyond the last", { ...qwen3Moe, mlp_only_layers: [4] }, "bad_config", "mlp_only_layers"],
  ["too many experts in all", { ...qwen3Moe, num_experts: 4096, num_hidden_layers: 1024 }, "bad_config", "num_experts"],
  [
    "fewer keys than heads in latent attention",
    { ...deepseek, num_key_value_heads: 2 },
    "bad_config",
    "num_key_value_heads",
  ],
  ["a head_dim that is not the rotated part", { ...deepseek, head_dim: 128 }, "bad_config", "head_dim"],
  ["unequal groups", { ...deepseek, n_group: 3, topk_group: 1 }, "bad_config", "n_group"],
  ["groups of one expert", { ...deepseek, n_group: 16 }, "bad_config", "n_group"],
  ["more groups a token than there are", { ...deepseek, topk_group: 5 }, "bad_config", "topk_group"],
  [
    "more experts a token than its groups have",
    { ...deepseek, num_experts_per_tok: 9 },
    "bad_config",
    "num_experts_per_tok",
  ],
];

function llama3(bands: Json): Json {
  return { ...llama, rope_scaling: { rope_type: "llama3", factor: 8, ...bands } };
}

describe("refuses", () => {
  it.each(refused)("%s", (_name, json, code, field) => {
    const error = refusal(json);
    expect(error.code).toBe(code);
    expect(error.facts.where).toContain(field);
    expect(error.message.length).toBeLessThan(1000);
  });
});
