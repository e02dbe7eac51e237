// What a train step of 576 tokens costs: of all parameters, of a LoRA adapter on float32, and of one on the blocks that a file stores.
// Asked for one of the three, it says that one's peak memory.
//
//   npx tsx --conditions source bench/lora-step.ts FILE.gguf [full,float32,auto] [ROUNDS]
import { openStartingModel } from "../src/cli/starting-model.ts";
import { initParameters, parameterSpecs, type ParameterSpec } from "../src/model/index.ts";
import { adamwDefaults } from "../src/optim/adamw.ts";
import { random } from "../src/random/index.ts";
import { openBackend } from "../src/runtime/index.ts";
import { loraConfigFor, loraDefaults, readBase } from "../src/train/lora.ts";
import { nextTokenObjective, nextTokenTypes } from "../src/train/next-token.ts";
import { TrainState } from "../src/train/train-state.ts";
import { TrainStep } from "../src/train/train-step.ts";

const [, , file = "", kinds = "full,float32,auto", rounds = "4"] = process.argv;
const [batch, time] = [8, 72];
const rows = batch * time;
const backend = await openBackend();
const model = await openStartingModel(file);
const specs = parameterSpecs(model.config);
const stream = random("tokens");
const tokens = Array.from({ length: 2 * rows }, () => BigInt(stream.below(model.config.vocab_size)));

async function stateOf(kind: string): Promise<TrainState> {
  if (kind === "full") return new TrainState(backend, specs, await whole(specs));
  const adapter = await readBase(backend, model, specs, loraConfigFor(specs, file, loraDefaults), kind as "auto" | "float32");
  return new TrainState(backend, adapter.specs, initParameters(adapter.specs, 0, random("factors")), adapter.base);
}

async function whole(specs: readonly ParameterSpec[]): Promise<Record<string, Float32Array>> {
  const parameters: Record<string, Float32Array> = {};
  for (const { name, shape } of specs) parameters[name] = (await model.read(name, shape)).data;
  return parameters;
}

async function stepOf(kind: string) {
  const step = await TrainStep.create(backend, await stateOf(kind), nextTokenTypes(rows), nextTokenObjective(model.config, { batch, time }), { optimizer: adamwDefaults, max_grad_norm: 1 });
  (step.batch.ids.data as BigInt64Array).set(tokens.slice(0, rows));
  (step.batch.targets.data as BigInt64Array).set(tokens.slice(rows));
  (step.batch.weights.data as Float32Array).fill(1 / rows);
  return { kind, step, seconds: [] as number[] };
}

const steps: Awaited<ReturnType<typeof stepOf>>[] = [];
for (const kind of kinds.split(",")) steps.push(await stepOf(kind));
for (let round = 0; round < Number(rounds); round++)
  for (const { step, seconds } of steps) {
    const start = performance.now();
    await step.run(1e-4, { blocking: true });
    seconds.push((performance.now() - start) / 1000);
  }
for (const { kind, seconds } of steps) console.log(kind, seconds.map((s) => s.toFixed(2)).join(" "));
console.log(`peak ${Math.round(process.resourceUsage().maxRSS / 1024)} MB`);
await model.close();
