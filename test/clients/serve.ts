import { listen, createApp } from "../../src/serve/index.ts";
import { fakeModel } from "../fake-model.ts";
import { call } from "../serve-api.ts";

/** Serves a model that says the same to the same, and one that never comes to an end; prints its URL. */
const models = [
  fakeModel({ say, cached: 2, max_model_len: 32_768 }),
  fakeModel({ id: "slow", say: () => "x".repeat(20_000), delayMs: 2, max_model_len: 32_768 }),
];

function say(message: string): string {
  if (message.includes("<tool_response>")) return "<think>I have seen it.</think>It is noon.";
  if (message.includes("time")) return `<think>I look.</think>${call("clock", { zone: "UTC" })}`;
  return `<think>They said ${message}.</think>${message}`;
}

const { url } = await listen(createApp({ models }), { port: 0 });
process.stdout.write(`${url}\n`);
