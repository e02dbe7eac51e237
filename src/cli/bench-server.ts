import { createApp, listen } from "../serve/index.ts";
import { reportFailure } from "./failure.ts";
import { loadServedModel } from "./load-model.ts";
import { engineAnswerer, runLoad, type LoadRequest, type LoadResult, type LoadShape } from "./serving-load.ts";
import { openTerminal } from "./terminal.ts";

/** What a server that is measured tells the process that measures it, once it is ready. */
export interface MeasuredServer {
  readonly url: string;
  readonly model: string;
}

/** A load for its engine, without HTTP. It is answered with a LoadResult. */
export interface EngineLoad {
  readonly requests: readonly LoadRequest[];
  readonly shape: LoadShape;
}

// A process of its own: `node bench-server.js MODEL` with a channel to its parent. The engine that is asked over HTTP is the one that is
// asked directly, since two with the same model, in two processes, differ in speed by more than HTTP costs.
const tell = (told: MeasuredServer | LoadResult): void => void process.send?.(told);
try {
  const served = await loadServedModel(process.argv[2] ?? "");
  const listening = await listen(createApp({ models: [served] }), { port: 0 });
  const answer = engineAnswerer(served.engine);
  process.on("message", ({ requests, shape }: EngineLoad) => void runLoad(requests, answer, shape).then(tell));
  process.once("disconnect", () => process.exit(0));
  tell({ url: listening.url, model: served.id });
} catch (error) {
  process.exit(reportFailure(error, openTerminal(), false));
}
