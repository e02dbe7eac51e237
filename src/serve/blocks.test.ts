import { expect, it } from "vitest";
import { toBlocks, type Block } from "./blocks.ts";
import type { ChatEvent, TokenLogprob } from "./chat-events.ts";

it("the log-probabilities of a block are in one list, which no token copies", async () => {
  const token: TokenLogprob = { token: "a", logprob: -1, bytes: [97], top_logprobs: [] };
  async function* answer(): AsyncGenerator<ChatEvent, void> {
    for (const type of ["reasoning-delta", "text-delta"] as const) for (let i = 0; i < 4; i++) yield { type, index: 0, text: "a", logprobs: [token] };
  }
  const grown: Block[] = [];
  for await (const event of toBlocks(answer())) if (event.type === "grow") grown.push(event.block);
  const lists = new Set(grown.map((block) => (block.type === "call" ? undefined : block.logprobs)));
  expect([...lists]).toEqual([Array(4).fill(token), Array(4).fill(token)]);
});
