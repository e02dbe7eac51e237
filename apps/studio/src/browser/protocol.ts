import type { ChatChunk, ChatOptions, Model } from "../api.ts";

/** A model that lies beside the page. `path` is its folder, from the worker. */
export type LocalModel = Model & { readonly path: string };

/** What computes answers in a browser. `auto`: the faster, as measured when a model is loaded. */
export type Compute = "auto" | "webgpu" | "wasm";

/** What the page asks of the worker. */
export type Asked = { readonly type: "chat"; readonly id: number; readonly path: string; readonly options: ChatOptions; readonly compute: Compute } | { readonly type: "abort"; readonly id: number };

/** What the worker answers about one request: chunks as a server streams them, then an end. */
export type Told = { readonly id: number } & ({ readonly type: "chunk"; readonly chunk: ChatChunk } | { readonly type: "end" } | { readonly type: "error"; readonly message: string });
