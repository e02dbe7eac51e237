import type { Engine } from "./types.ts";

/** The engine with every request through an adapter. It embeds no texts: how they lie apart was never trained with it. */
export const throughAdapter = (engine: Engine, adapter: string): Engine => ({
  max_model_len: engine.max_model_len,
  submit: (request) => engine.submit({ ...request, adapter }),
  stats: () => engine.stats(),
  dispose: () => engine.dispose(),
});
