import { once } from "node:events";
import type { Command } from "commander";
import { LongjingError } from "../errors/index.ts";
import type { Task } from "../tasks/index.ts";
import type { Rewarder } from "../tasks/remote/index.ts";
import { wholeNumber } from "./options.ts";
import { openTerminal } from "./terminal.ts";

interface RewardOptions {
  readonly port: number;
  readonly host: string;
  readonly specialToken?: readonly string[];
}

export function addReward(program: Command): void {
  program
    .command("reward")
    .description("Rewards for the rollouts of other trainers")
    .command("serve")
    .description("Judge completions over HTTP in OpenRLHF's form: POST /get_reward with query, prompts and labels")
    .argument("<task>", "a task, whose labels are addresses of problems; or math, quantity or exact, whose labels are gold answers")
    .option("--port <n>", "port; 0 picks a free one", wholeNumber(0, 65535), 5000)
    .option("--host <address>", "address to listen on", "127.0.0.1")
    .option("--special-token <text...>", "special tokens of the trainer's model beside the usual ones, such as </s> and <|im_end|>")
    .action((task: string, options: RewardOptions) => serveReward(task, options));
}

async function serveReward(task: string, options: RewardOptions): Promise<void> {
  const { rewardApp } = await import("../tasks/remote/index.ts");
  const { listen } = await import("../serve/index.ts");
  const listening = await listen(rewardApp(await rewarderOf(task), options.specialToken && { special_tokens: options.specialToken }), options);
  openTerminal().out(`${listening.url}/get_reward\n`);
  await Promise.race([once(process, "SIGINT"), once(process, "SIGTERM")]);
  await listening.close();
}

async function rewarderOf(name: string): Promise<Rewarder> {
  const { tasks, verifyExact, verifyMath, verifyQuantity } = await import("../tasks/index.ts");
  const { taskRewarder, verifierRewarder } = await import("../tasks/remote/index.ts");
  const rewarders = new Map<string, Rewarder>([
    ["math", verifierRewarder(verifyMath)],
    ["quantity", verifierRewarder(verifyQuantity)],
    ["exact", verifierRewarder(verifyExact)],
    ...Object.entries<Task<unknown>>(tasks).map(([task, judge]) => [task, taskRewarder(judge)] as const),
  ]);
  const found = rewarders.get(name);
  if (found === undefined) throw new LongjingError("not_found", "No such task or verifier", { got: name, expected: [...rewarders.keys()].join(", ") });
  return found;
}
