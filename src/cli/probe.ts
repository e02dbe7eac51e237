import { writeFile } from "node:fs/promises";
import type { Command } from "commander";
import { z } from "zod";
import { LongjingError } from "../errors/index.ts";
import { openBackendWith, providerOption, threadsOption, type BackendOptions } from "./backend.ts";
import { nested, shortest } from "./float32-json.ts";

interface ProbeOptions extends BackendOptions {
  readonly input: string;
  readonly output: string;
}

export function addProbe(program: Command): void {
  program
    .command("probe")
    .description("Write a model's logits, loss, gradients and greedy continuation, to compare with another implementation")
    .argument("<model>", "folder with config.json and weights, or GGUF file")
    .requiredOption("--input <file>", 'JSON: {"input_ids": [batch][time], "greedy_prompt_ids": [...], "greedy_tokens": n}')
    .requiredOption("--output <file>", 'JSON: {"logits": [batch][time][vocabulary], "loss", "grads": {name: {"shape", "l2", "first8"}}, "greedy": {"new_ids", "logprobs"}}')
    .addOption(providerOption())
    .addOption(threadsOption())
    .action(probe);
}

async function probe(model: string, { input, output, ...options }: ProbeOptions): Promise<void> {
  const { loadModel } = await import("../engine/load.ts");
  const { forwardBackward, greedy } = await import("../train/index.ts");
  const backend = await openBackendWith(options);
  const { config, specs, parameters } = await loadModel(backend, model);
  const { input_ids, greedy_prompt_ids, greedy_tokens } = await readInput(input, config.vocab_size);
  const report = await forwardBackward(backend, config, parameters, input_ids);
  const continued = await greedy(backend, config, parameters, greedy_prompt_ids, greedy_tokens);
  const shapes = new Map(specs.map(({ name, shape }) => [name, shape]));
  const result = {
    logits: nested(report.logits, [input_ids.length, input_ids[0]!.length, config.vocab_size]),
    loss: shortest(report.loss),
    grads: Object.fromEntries(Object.entries(report.grads).map(([name, grad]) => [name, { shape: shapes.get(name), l2: l2(grad), first8: nested(grad.subarray(0, 8), [Math.min(8, grad.length)]) }])),
    greedy: { new_ids: continued.new_ids, logprobs: continued.logprobs },
  };
  await writeFile(output, `${JSON.stringify(result)}\n`).catch((cause: unknown) => {
    throw new LongjingError("disk", "The output cannot be written", { where: output, got: (cause as Error).message }, { cause });
  });
}

const l2 = (values: Float32Array): number => Math.sqrt(values.reduce((sum, value) => sum + value * value, 0));

interface ProbeInput {
  readonly input_ids: readonly (readonly number[])[];
  readonly greedy_prompt_ids: readonly number[];
  readonly greedy_tokens: number;
}

const mostInputBytes = 2 ** 26;

async function readInput(path: string, vocabSize: number): Promise<ProbeInput> {
  const { readJson } = await import("../weights/index.ts");
  const ids = z.array(z.int().min(0).max(vocabSize - 1));
  const schema = z.object({
    input_ids: z.array(ids.min(2)).min(1).refine((rows) => rows.every((row) => row.length === rows[0]!.length), "expected rows of equal length"),
    greedy_prompt_ids: ids.min(1),
    greedy_tokens: z.int().min(1),
  });
  const raw = await readJson(path, mostInputBytes);
  const checked = schema.safeParse(raw);
  if (checked.success) return checked.data;
  const { path: field, message } = checked.error.issues[0]!;
  const got = field.reduce<unknown>((value, key) => (value as Readonly<Record<PropertyKey, unknown>> | undefined)?.[key], raw);
  throw new LongjingError("bad_file", "The input cannot be probed with", { where: `${path}: ${field.join(".")}`, got, expected: message });
}
