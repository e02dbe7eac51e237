import { createInterface } from "node:readline";
import type { Command } from "commander";
import type { ServedMessage, ServedModel } from "../serve/index.ts";
import type { ModelDtype, SpeculativeConfig } from "../engine/index.ts";
import { openBackendWith, providerOption, threadsOption, type BackendOptions } from "./backend.ts";
import { dtypeOption, realNumber, speculativeOption, wholeNumber } from "./options.ts";
import { openTerminal, type Terminal } from "./terminal.ts";

interface ChatOptions extends BackendOptions {
  readonly adapter?: string;
  readonly dtype?: ModelDtype;
  readonly speculativeConfig?: SpeculativeConfig;
  readonly temperature?: number;
  readonly maxTokens?: number;
  readonly seed?: number;
  readonly history?: true;
  readonly json?: true;
}

export function addChat(program: Command): void {
  program
    .command("chat")
    .description("Talk to a model: its thinking dim, then its answer. Questions are lines, typed or piped in")
    .argument("[model]", "folder with config.json and weights, GGUF file, or ORG/NAME that was pulled (default: the first in models/)")
    .option("--adapter <dir>", "go through a LoRA adapter in PEFT's format")
    .addOption(dtypeOption("float32 for files up to 256 MiB, else auto"))
    .addOption(speculativeOption())
    .addOption(providerOption())
    .addOption(threadsOption())
    .option("--temperature <t>", "0 is greedy (default: the model's own)", realNumber(0, 2))
    .option("--max-tokens <n>", "most tokens of an answer, thinking included", wholeNumber(1))
    .option("--seed <n>", "makes answers repeatable", wholeNumber(0))
    .option("--history", "show the model the conversation so far, not each question alone")
    .option("--json", "one JSON line per answer")
    .action(chat);
}

async function chat(folder: string | undefined, options: ChatOptions): Promise<void> {
  const { exactWhereSmall, loadServedModel, shippedModel } = await import("./load-model.ts");
  const terminal = openTerminal();
  const path = folder ?? (await shippedModel());
  const model = await loadServedModel(path, { backend: await openBackendWith(options), adapter: options.adapter, maxNumSeqs: 1, speculative: options.speculativeConfig, dtype: options.dtype ?? (await exactWhereSmall(path)) });
  const typed = process.stdin.isTTY === true;
  const lines = createInterface({ input: process.stdin, output: process.stderr, terminal: typed, prompt: terminal.noteColors.green("› ") });
  if (typed) terminal.note(terminal.noteColors.dim(`${model.id} · an empty line or Ctrl-D ends\n${(model.examples ?? []).map((example) => `  ${example}\n`).join("")}`));
  if (typed) lines.prompt();
  const history: ServedMessage[] = [];
  for await (const line of lines) {
    const question = line.trim();
    if (question === "" && typed) break;
    if (question !== "") {
      const asked: ServedMessage = { role: "user", content: question };
      const answer = await ask(model, [...history, asked], options, terminal);
      if (options.history) history.push(asked, { role: "assistant", content: answer });
    }
    if (typed) lines.prompt();
  }
  lines.close();
  model.engine.dispose();
}

/** Prints one answer as it comes and returns it. Ctrl-C ends the answer; the conversation goes on. */
async function ask(model: ServedModel, messages: readonly ServedMessage[], options: ChatOptions, terminal: Terminal): Promise<string> {
  const { chatEvents, parseChatRequest } = await import("../serve/index.ts");
  const { temperature, maxTokens: max_tokens, seed } = options;
  const request = parseChatRequest({ model: model.id, messages, temperature, max_tokens, seed });
  const abort = new AbortController();
  const interrupt = (): void => abort.abort();
  process.once("SIGINT", interrupt);
  const text = { "reasoning-delta": "", "text-delta": "" };
  const { events } = await chatEvents(model, request, abort.signal);
  for await (const event of events) {
    if (event.type === "end") {
      const { finish_reason, completion_tokens, reasoning_tokens } = event;
      const result = { model: model.id, question: messages.at(-1)?.content, reasoning_content: text["reasoning-delta"], content: text["text-delta"], finish_reason, completion_tokens, reasoning_tokens };
      terminal.out(options.json ? `${JSON.stringify(result)}\n` : `${finish_reason === "length" ? terminal.colors.yellow(" … cut off") : ""}\n`);
      continue;
    }
    if (event.type === "tool-call" || event.type === "tool-arguments-delta") continue; // there are no tools to call
    if (!options.json) {
      const first = event.type === "text-delta" && text["text-delta"] === "" && text["reasoning-delta"] !== "";
      terminal.out(first ? `\n${event.text}` : event.type === "text-delta" ? event.text : terminal.colors.dim(event.text));
    }
    text[event.type] += event.text;
  }
  process.off("SIGINT", interrupt);
  return text["text-delta"];
}
