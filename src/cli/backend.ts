import { Option } from "commander";
import type { Backend, Provider } from "../runtime/index.ts";
import { wholeNumber } from "./options.ts";

export interface BackendOptions {
  readonly provider?: Provider;
  readonly threads?: number;
}

const providers: readonly Provider[] = ["cpu", "wasm", "webgpu"];

export const providerOption = (): Option => new Option("--provider <name>", "what runs the graphs").choices(providers).default("cpu");
export const threadsOption = (): Option => new Option("--threads <n>", "threads of each op (default: one a physical core)").argParser(wholeNumber(1, 1024));

/** Opens a provider whose sessions have that many threads where they do not ask for their own. */
export async function openBackendWith({ provider = "cpu", threads }: BackendOptions): Promise<Backend> {
  const { openBackend } = await import("../runtime/index.ts");
  const backend = await openBackend(provider);
  return threads === undefined ? backend : { ...backend, createSession: (model, options) => backend.createSession(model, { threads, ...options }) };
}
