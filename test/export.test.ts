import { execFileSync } from "node:child_process";
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { companionFiles, findExportSource } from "../src/cli/export-source.ts";
import { loadTokenizer } from "../src/cli/load-model.ts";
import { configToText } from "../src/model/config.ts";
import { initParameters, parameterSpecs, parseConfig } from "../src/model/index.ts";
import { random } from "../src/random/index.ts";
import { openRun } from "../src/train/index.ts";
import { mergeAdapter, mergeLora, openCheckpoint, readAdapter, writeAdapter, writeCheckpoint, writeGguf, type LoraAdapter } from "../src/weights/index.ts";
import { fixture, hasFixture } from "./fixtures.ts";
import { longjing } from "./launcher.ts";

const config = parseConfig({ model_type: "qwen3", vocab_size: 30, hidden_size: 24, intermediate_size: 40, num_hidden_layers: 2, num_attention_heads: 2, num_key_value_heads: 1, head_dim: 8, eos_token_id: [2, 3], pad_token_id: 1 }, "test");
const specs = parameterSpecs(config);
const base = initParameters(specs, 0.1, random("export"));
const tensors = specs.map(({ name, shape }) => ({ name, shape, data: base[name]! }));

let dir: string;
const at = (...parts: string[]): string => join(dir, ...parts);
const tokenizerConfig = JSON.stringify({ eos_token: "x", chat_template: "{{ messages[0].content }}" });

beforeAll(async () => {
  dir = mkdtempSync(join(tmpdir(), "longjing-export-"));
  const extraFiles = { "tokenizer.json": "{}", "tokenizer_config.json": tokenizerConfig, "generation_config.json": '{"eos_token_id": [2, 3], "do_sample": true, "temperature": 0.7}', "README.md": "---\nlicense: mit\n---\n# base\n", "unrelated.bin": "x" };
  await writeCheckpoint(at("base"), { config, tensors, dtype: "float32", extraFiles });
});
afterAll(() => rmSync(dir, { recursive: true }));

async function read(folder: string): Promise<Record<string, Float32Array>> {
  const checkpoint = await openCheckpoint(folder);
  expect(checkpoint.config).toStrictEqual(config);
  const data: Record<string, Float32Array> = {};
  for (const name of checkpoint.names) data[name] = (await checkpoint.read(name)).data;
  await checkpoint.close();
  return data;
}

async function exported(...args: string[]): Promise<Record<string, unknown>> {
  const { code, stdout, stderr } = await longjing(["export", ...args, "--json"]);
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
  return JSON.parse(stdout) as Record<string, unknown>;
}

/** The lines of a card's front matter. */
const front = (folder: string): string[] => readFileSync(join(folder, "README.md"), "utf8").split("\n---\n")[0]!.split("\n");

test("a model folder comes out with the same numbers, its own tokenizer, sampling and licence, and its template as a file", async () => {
  expect(await exported(at("base"), "--to", "hf", "--out", at("hf"), "--base", "org/before")).toMatchObject({ to: "hf", out: at("hf"), tensors: specs.length, dtype: "float32" });
  expect(await read(at("hf"))).toStrictEqual(base);
  expect(readdirSync(at("hf"))).toEqual(["README.md", "chat_template.jinja", "config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"]);
  expect(readFileSync(at("hf", "chat_template.jinja"), "utf8")).toBe("{{ messages[0].content }}");
  expect(JSON.parse(readFileSync(at("hf", "generation_config.json"), "utf8"))).toEqual({ eos_token_id: [2, 3], do_sample: true, temperature: 0.7 });
  expect(front(at("hf"))).toEqual(expect.arrayContaining(['license: "mit"', 'base_model: "org/before"', 'library_name: "transformers"', '- "qwen3"']));
  const again = await longjing(["export", at("base"), "--to", "hf", "--out", at("hf")]);
  expect(again).toMatchObject({ code: 3, stdout: "" });
});

test("what is no parameter stays behind; one that is missing or of another shape is refused by name, and nothing is written", async () => {
  const last = "model.layers.1.mlp.down_proj.weight";
  const extra = { name: "model.layers.0.self_attn.rotary_emb.inv_freq", shape: [4], data: new Float32Array(4) };
  await writeCheckpoint(at("more"), { config, tensors: [...tensors, extra], dtype: "float32" });
  await exported(at("more"), "--to", "hf", "--out", at("no-more"));
  expect(await read(at("no-more"))).toStrictEqual(base);
  const wrong = { missing: [], smaller: [{ name: last, shape: [12, 40], data: new Float32Array(480) }] };
  for (const [kind, instead] of Object.entries(wrong)) {
    await writeCheckpoint(at(kind), { config, tensors: [...tensors.filter(({ name }) => name !== last), ...instead], dtype: "float32" });
    for (const to of ["hf", "onnx"]) {
      const { code, stderr } = await longjing(["export", at(kind), "--to", to, "--out", at("refused"), "--json"]);
      expect(code).not.toBe(0);
      expect(JSON.parse(stderr)).toMatchObject({ error: { code: kind === "missing" ? "not_found" : "shape_mismatch", message: expect.stringContaining(last) as string } });
      expect(existsSync(at("refused"))).toBe(false);
    }
  }
});

test("one shard of a GGUF model is no model", async () => {
  const parameters = tensors.map(({ name, shape, data }) => ({ name, shape, dtype: "F32" as const, values: async () => data }));
  await writeGguf(at("shard.gguf"), { config, generationConfig: null, metadata: { "split.no": 0, "split.count": 2 }, parameters });
  await expect(openCheckpoint(at("shard.gguf"))).rejects.toMatchObject({ code: "unsupported", facts: { hint: expect.stringContaining("--merge") as string } });
});

test("modules that predict further tokens come along", async () => {
  const latent = parseConfig({ model_type: "deepseek_v3", vocab_size: 30, hidden_size: 24, intermediate_size: 32, num_hidden_layers: 1, num_attention_heads: 2, q_lora_rank: null, kv_lora_rank: 8, qk_nope_head_dim: 4, qk_rope_head_dim: 4, v_head_dim: 4, n_routed_experts: 4, num_experts_per_tok: 2, n_group: 1, topk_group: 1, moe_intermediate_size: 8, num_nextn_predict_layers: 1 }, "test");
  const all = parameterSpecs(latent, { mtp: true });
  const data = initParameters(all, 0.1, random("mtp"));
  const head = { name: "model.layers.1.shared_head.head.weight", shape: [30, 24], data: data["lm_head.weight"]! };
  await writeCheckpoint(at("mtp"), { config: latent, tensors: [...all.map(({ name, shape }) => ({ name, shape, data: data[name]! })), head], dtype: "float32" });
  await exported(at("mtp"), "--to", "hf", "--out", at("mtp-again"));
  const again = await openCheckpoint(at("mtp-again"));
  expect(again.names).toEqual([...all.map(({ name }) => name), head.name].toSorted());
  for (const { name } of all) expect((await again.read(name)).data).toStrictEqual(data[name]);
  await again.close();
});

test.runIf(hasFixture("gguf", "llama_gqa.F32.gguf"))("a GGUF file becomes a folder with the same numbers and a tokenizer", async () => {
  const file = fixture("gguf", "llama_gqa.F32.gguf");
  await exported(file, "--to", "hf", "--out", at("from-gguf"));
  const [gguf, folder] = [await openCheckpoint(file), await openCheckpoint(at("from-gguf"))];
  expect(folder.names).toEqual(gguf.names);
  for (const name of gguf.names) expect((await folder.read(name)).data).toStrictEqual((await gguf.read(name)).data);
  expect(readdirSync(at("from-gguf"))).toEqual(expect.arrayContaining(["tokenizer.json", "tokenizer_config.json"]));
  for (const opened of [gguf, folder]) await opened.close();
});

describe.runIf(hasFixture("models", "llama_gqa"))("GGUF", () => {
  const source = (): string => fixture("models", "llama_gqa");

  test("a folder collects types, a name is a file, and neither replaces one", async () => {
    for (const type of ["F32", "Q8_0"]) {
      const report = await exported(source(), "--to", "gguf", "--type", type, "--out", at("ggufs"));
      expect(report).toMatchObject({ to: "gguf", type, file: `llama_gqa-${type}.gguf` });
    }
    await exported(source(), "--to", "gguf", "--type", "F32", "--out", at("other", "name.gguf"));
    expect(readdirSync(at("ggufs"))).toEqual(["llama_gqa-F32.gguf", "llama_gqa-Q8_0.gguf"]);
    expect(readFileSync(at("other", "name.gguf")).equals(readFileSync(at("ggufs", "llama_gqa-F32.gguf")))).toBe(true);
    const again = await longjing(["export", source(), "--to", "gguf", "--type", "F32", "--out", at("other", "name.gguf")]);
    expect(again).toMatchObject({ code: 3, stdout: "" });
    const [folder, file] = [await openCheckpoint(source()), await openCheckpoint(at("ggufs", "llama_gqa-F32.gguf"))];
    for (const name of folder.names) expect((await file.read(name)).data).toStrictEqual((await folder.read(name)).data);
    expect(file.generationConfig?.eos_token_id).toEqual(expect.arrayContaining([...folder.config.eos_token_id]));
    for (const opened of [folder, file]) await opened.close();
  });

  test("an adapter is merged in", async () => {
    const name = "model.layers.0.mlp.up_proj";
    const folder = await openCheckpoint(source());
    const golden = folder.config;
    const stream = random("gguf-adapter");
    const factor = (...shape: [number, number]) => ({ shape, data: Float32Array.from({ length: shape[0] * shape[1] }, () => stream.normal()) });
    const [a, b] = [factor(2, golden.hidden_size), factor(golden.intermediate_size, 2)];
    const lora: LoraAdapter["config"] = { r: 2, lora_alpha: 2, use_rslora: false, target_modules: "up_proj", rank_pattern: {}, alpha_pattern: {} };
    await writeAdapter(at("up"), { config: lora, tensors: { [`base_model.model.${name}.lora_A.weight`]: a, [`base_model.model.${name}.lora_B.weight`]: b } });
    await exported(source(), "--to", "gguf", "--type", "F32", "--adapter", at("up"), "--out", at("merged.gguf"));
    const file = await openCheckpoint(at("merged.gguf"));
    const want = mergeLora((await folder.read(`${name}.weight`)).data, a.data, b.data, { rank: 2, scale: 1 });
    expect((await file.read(`${name}.weight`)).data).toStrictEqual(want);
    for (const opened of [folder, file]) await opened.close();
  });

  test("for Ollama it comes with a Modelfile", async () => {
    await exported(source(), "--to", "ollama", "--type", "Q4_0", "--out", at("ollama"));
    expect(readdirSync(at("ollama"))).toEqual(["Modelfile", "llama_gqa-Q4_0.gguf"]);
    const lines = readFileSync(at("ollama", "Modelfile"), "utf8").split("\n");
    const { max_position_embeddings } = JSON.parse(readFileSync(join(source(), "config.json"), "utf8")) as { max_position_embeddings: number };
    expect(lines[0]).toBe("FROM ./llama_gqa-Q4_0.gguf");
    expect(lines).toEqual(expect.arrayContaining([expect.stringMatching(/^TEMPLATE """/), expect.stringMatching(/^PARAMETER stop "<\|.*\|>"$/), expect.stringMatching(/^PARAMETER temperature \d/), `PARAMETER num_ctx ${max_position_embeddings}`]));
  });

  test("a model without a tokenizer is refused, and one that ships is no run", async () => {
    await writeCheckpoint(at("bare"), { config, tensors, dtype: "float32" });
    const { code, stderr } = await longjing(["export", at("bare"), "--to", "gguf", "--out", at("bare.gguf")]);
    expect(code).not.toBe(0);
    expect(stderr).toContain("tokenizer.json");
    writeFileSync(at("bare", "log.jsonl"), "");
    expect(await exported(at("bare"), "--to", "hf", "--out", at("shipped"))).toMatchObject({ source: at("bare") });
  });
});

describe("licence and base", () => {
  const model = async (name: string, readme?: string): Promise<string> => {
    await writeCheckpoint(at(name), { config, tensors, dtype: "float32", extraFiles: readme === undefined ? {} : { "README.md": readme } });
    return at(name);
  };
  const terms = async (source: string): Promise<string[]> => {
    rmSync(at("terms"), { recursive: true, force: true });
    await exported(source, "--to", "hf", "--out", at("terms"));
    return front(at("terms")).filter((line) => /^(license|base_model)/.test(line));
  };
  const all = ['license: "other"', 'license_name: "some-terms"', 'license_link: "https://example.org/terms"', 'base_model: "org/before"'];

  test("are those that a card says, with any line ends", async () => {
    const card = "---\nlanguage: [en]\nlicense: other # see below\nlicense_name: 'some-terms'\nlicense_link: https://example.org/terms\nbase_model:\n- org/before\ntags:\n- a\n---\n\nlicense: mit\n";
    for (const [name, text] of [["card", card], ["card-crlf", card.replaceAll("\n", "\r\n")]] as const) expect(await terms(await model(name, text))).toEqual(all);
  });

  test("are unknown where nothing says them", async () => {
    expect(await terms(await model("silent"))).toEqual(['license: "unknown"']);
    expect(await terms(await model("several", "---\nbase_model: [a/b, c/d]\nlicense: |\n  mit\n---\n"))).toEqual(['license: "unknown"']);
  });

  test.runIf(hasFixture("models", "llama_gqa"))("go through a GGUF file", async () => {
    const { config: golden, ...source } = await openCheckpoint(fixture("models", "llama_gqa"));
    const parameters = await Promise.all(parameterSpecs(golden).map(async ({ name, shape }) => ({ name, shape, data: (await source.read(name)).data })));
    await source.close();
    const files = Object.fromEntries(["tokenizer.json", "tokenizer_config.json"].map((name) => [name, readFileSync(fixture("models", "llama_gqa", name))]));
    await writeCheckpoint(at("licensed"), { config: golden, tensors: parameters, dtype: "float32", extraFiles: { ...files, "README.md": `---\n${all.join("\n")}\n---\n` } });
    await exported(at("licensed"), "--to", "gguf", "--out", at("licensed.gguf"));
    expect(await terms(at("licensed.gguf"))).toEqual(all);
    await exported(fixture("models", "llama_gqa"), "--to", "gguf", "--out", at("unlicensed.gguf"));
    expect(await terms(at("unlicensed.gguf"))).toEqual(['license: "unknown"']);
  });

  test("of a run are those of what it began with", async () => {
    const state = { step: 1, tensors: Object.fromEntries(tensors.map(({ name, ...tensor }) => [name, tensor])), optimizer: {}, state: null, extraFiles: { "config.json": configToText(config, "float32") } };
    const runFrom = (name: string, base?: string): string => {
      const run = openRun(at(name), { config: { recipe: "r", ...(base !== undefined && { base }) } });
      run.save({ stage: "s", ...state });
      run.close();
      return at(name);
    };
    expect(await terms(runFrom("run-hub", "org/elsewhere"))).toEqual(['license: "unknown"', 'base_model: "org/elsewhere"']);
    expect(await terms(runFrom("run-mit", at("base")))).toEqual(['license: "mit"']);
    expect(await terms(runFrom("run-of-run", runFrom("run-scratch")))).toEqual(['license: "apache-2.0"']);
  });
});

describe("a file of a folder that is too long, or a pipe, is refused before it is read:", () => {
  const reads: readonly (readonly [string, (folder: string) => Promise<unknown>])[] = [
    ["README.md", findExportSource],
    ["tokenizer_config.json", companionFiles],
    ["chat_template.jinja", companionFiles],
    ["chat_template.jinja", loadTokenizer],
  ];
  test.skipIf(process.platform === "win32").each(reads)("%s, by %o", async (name, readIt) => {
    for (const [kind, code] of [["long", "too_large"], ["pipe", "bad_file"]] as const) {
      const folder = mkdtempSync(at("hostile-"));
      for (const file of ["tokenizer.json", "tokenizer_config.json"]) copyFileSync(fixture("models", "llama_gqa", file), join(folder, file));
      rmSync(join(folder, name), { force: true });
      if (kind === "pipe") execFileSync("mkfifo", [join(folder, name)]);
      else writeFileSync(join(folder, name), "");
      if (kind === "long") truncateSync(join(folder, name), 2 ** 32);
      await expect(readIt(folder)).rejects.toMatchObject({ code, facts: { where: join(folder, name) } });
    }
  });
});

describe("adapters", () => {
  const module = "model.layers.1.self_attn.v_proj";
  const stream = random("adapter");
  const factor = (...shape: number[]) => ({ shape, data: Float32Array.from({ length: shape[0]! * shape[1]! }, () => stream.normal()) });
  const factors = { [`base_model.model.${module}.lora_A.weight`]: factor(2, 24), [`base_model.model.${module}.lora_B.weight`]: factor(8, 2) };
  const lora: LoraAdapter["config"] = { r: 2, lora_alpha: 3, use_rslora: true, target_modules: "v_proj", rank_pattern: {}, alpha_pattern: {} };

  test("merged into the weights, and extracted from them again", async () => {
    await writeAdapter(at("adapter"), { config: lora, tensors: factors });
    await exported(at("base"), "--to", "hf", "--adapter", at("adapter"), "--out", at("merged"), "--license", "other");
    const merged = await read(at("merged"));
    const { [`${module}.weight`]: changed, ...rest } = merged;
    const [a, b] = Object.values(factors).map(({ data }) => data);
    expect(changed).toStrictEqual(mergeLora(base[`${module}.weight`]!, a!, b!, { rank: 2, scale: 3 / Math.sqrt(2) }));
    for (const [name, values] of Object.entries(rest)) expect(values).toStrictEqual(base[name]);
    expect(front(at("merged"))).toContain('license: "other"');

    const report = await exported(at("merged"), "--to", "lora", "--base", at("base"), "--rank", "2", "--out", at("extracted"));
    expect(report).toMatchObject({ tensors: 2, rank: 2 });
    expect(report.captured).toBeCloseTo(1, 5);
    const again = mergeAdapter(base, await readAdapter(at("extracted"), specs));
    for (const [i, value] of again[`${module}.weight`]!.entries()) expect(value).toBeCloseTo(changed![i]!, 4);
    expect(front(at("extracted"))).toContain('library_name: "peft"');
    expect(readFileSync(at("extracted", "README.md"), "utf8")).not.toContain(dir);
  });

  test("an adapter without a base is refused", async () => {
    const { code, stderr } = await longjing(["export", at("base"), "--to", "lora", "--out", at("none")]);
    expect(code).not.toBe(0);
    expect(stderr).toContain("--base");
  });
});

describe("a run", () => {
  const measurement = (accuracy: number) => ({ type: "evaluation", greedy: { accuracy, interval: { low: 0, high: 1 } }, sampled: { accuracy, interval: { low: 0, high: 1 } }, pass_at: { 1: accuracy, 8: 0.75 }, problems: 4, samples: 8, format: 1, mean_length: 9, clipped_ratio: 0 });
  const contents = (stage: string, step: number) => ({ stage, step, tensors: Object.fromEntries(tensors.map(({ name, ...tensor }) => [name, tensor])), optimizer: {}, state: null, extraFiles: { "config.json": configToText(config, "float32"), "tokenizer_config.json": tokenizerConfig } });

  test("gives its newest checkpoint and the measurements of those very weights", async () => {
    const run = openRun(at("run"), { config: { recipe: "my-recipe" } });
    run.log({ stage: "base", step: 1, ...measurement(0.125) });
    run.log({ stage: "rl", step: 1, type: "metrics", loss: 1 });
    run.save(contents("rl", 1));
    run.log({ stage: "final", step: 1, ...measurement(0.5) });
    const final = run.save(contents("final", 1));
    run.log({ stage: "later", step: 1, ...measurement(0.875) });
    run.close();
    expect(await exported(at("run"), "--to", "hf", "--out", at("from-run"))).toMatchObject({ source: final });
    expect(await read(at("from-run"))).toStrictEqual(base);
    const card = front(at("from-run"));
    expect(card).toEqual(expect.arrayContaining(['license: "apache-2.0"', "    - type: \"accuracy\"", "      value: 0.5", "      value: 0.75", '      name: "my-recipe, held-out problems (final)"']));
    expect(card.join("\n")).not.toMatch(/0\.125|0\.875/);
    expect(JSON.parse(readFileSync(at("from-run", "generation_config.json"), "utf8"))).toEqual({ eos_token_id: [2, 3], pad_token_id: 1, do_sample: false });

    await exported(at("run", "checkpoints", "rl-step-1"), "--to", "hf", "--out", at("earlier"));
    expect(front(at("earlier")).join("\n")).not.toContain("model-index");
  });

  test("without a checkpoint it says so", async () => {
    mkdirSync(at("empty"));
    writeFileSync(at("empty", "log.jsonl"), "");
    const { code, stderr } = await longjing(["export", at("empty"), "--to", "hf", "--out", at("nothing")]);
    expect(code).not.toBe(0);
    expect(stderr).toContain("checkpoint");
  });
});
