import { saidAnswer } from "../../text/transcript.ts";
import type { RewardFunction } from "../reward.ts";
import type { Problem } from "../task.ts";
import type { Sandbox } from "./sandbox.ts";
import { verifyCode, type CodeTest } from "./verify-code.ts";

/** The share of a problem's tests that the program in the answer passes, run in a sandbox (`verifyCode`). */
export function codeReward<G>(sandbox: Sandbox, tests: (problem: Problem<G>) => readonly CodeTest[], { name = "code" }: { readonly name?: string } = {}): RewardFunction<G> {
  return {
    name,
    reward: async ({ problem, turns }) => {
      const asked = tests(problem);
      const { passed } = await verifyCode(sandbox, saidAnswer(turns.at(-1) ?? ""), asked);
      return asked.length === 0 ? null : passed / asked.length;
    },
  };
}
