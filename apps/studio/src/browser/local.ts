import type { ChatChunk, ChatOptions } from "../api.ts";
import type { Asked, Compute, LocalModel, Told } from "./protocol.ts";

/** The models that lie beside the page; none where it was built without. */
export async function localModels(): Promise<readonly LocalModel[]> {
  const response = await fetch("weights/index.json").catch(() => null);
  return response?.ok && response.headers.get("content-type")?.includes("json") ? ((await response.json()) as LocalModel[]) : [];
}

let worker: Worker | null = null;
let asked = 0;

// `?compute=webgpu` or `wasm` in the page's address: for who wants to compare.
const asksFor = new URLSearchParams(location.search).get("compute");
const compute: Compute = asksFor === "webgpu" || asksFor === "wasm" ? asksFor : "auto";

/** The chunks of one answer of a model in this browser. The worker starts with the first question. */
export async function* localChat(path: string, options: ChatOptions, signal: AbortSignal): AsyncGenerator<ChatChunk, void> {
  worker ??= new Worker(new URL("./worker.ts", import.meta.url), { type: "module" });
  const engine = worker;
  const id = asked++;
  const ask = (message: Asked): void => engine.postMessage(message);
  const told: Told[] = [];
  let wake = (): void => {};
  const hear = ({ data }: MessageEvent<Told>): void => {
    if (data.id === id) told.push(data);
    wake();
  };
  const abort = (): void => ask({ type: "abort", id });
  engine.addEventListener("message", hear);
  signal.addEventListener("abort", abort);
  try {
    ask({ type: "chat", id, path, options, compute });
    for (;;) {
      const next = told.shift();
      if (next === undefined) await new Promise<void>((resolve) => (wake = resolve));
      else if (next.type === "chunk") yield next.chunk;
      else if (next.type === "error") throw new Error(next.message);
      else return;
    }
  } finally {
    engine.removeEventListener("message", hear);
    signal.removeEventListener("abort", abort);
  }
}
