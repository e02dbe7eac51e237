import { basename, resolve } from "node:path";
import type { ModelDtype } from "../engine/index.ts";
import { openBackendWith, type BackendOptions } from "./backend.ts";
import { progress } from "./progress.ts";
import { table } from "./table.ts";
import { openTerminal } from "./terminal.ts";

/** How well a model predicts a text file: with its blocks as they run, unless `dtype` says otherwise. */
export async function perplexityOfText(model: string, file: string, options: BackendOptions & { readonly dtype?: ModelDtype; readonly json?: true }): Promise<void> {
  const terminal = openTerminal();
  const { loadFrozenModel, perplexity } = await import("../engine/index.ts");
  const { loadTokenizer } = await import("./load-model.ts");
  const { readText } = await import("./text-file.ts");
  const ids = (await loadTokenizer(model)).encode(await readText(file));
  const backend = await openBackendWith(options);
  const bar = progress(terminal, { label: "perplexity", total: ids.length, unit: "tokens" });
  const result = await perplexity(backend, await loadFrozenModel(backend, model, { dtype: options.dtype }), ids, { onProgress: (done) => bar.update(done) });
  bar.end();
  if (options.json) terminal.out(`${JSON.stringify({ model: basename(resolve(model)), text: basename(file), ...result })}\n`);
  else terminal.out(table([["perplexity", result.perplexity.toFixed(3)], ["nats a token", result.nll.toFixed(4)], ["tokens", String(result.tokens)]]));
}
