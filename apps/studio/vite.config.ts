import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { defineConfig, type Plugin } from "vite";

const root = join(import.meta.dirname, "..", "..");
const files = ["config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"];

/** The models that ship, beside the page, so that it can run them by itself. */
function shippedModels(): Plugin {
  const folder = join(root, "models");
  const read = (model: string, name: string): Buffer => readFileSync(join(folder, model, name));
  return {
    name: "longjing-models",
    apply: "build",
    generateBundle() {
      const names = readdirSync(folder).filter((model) => files.every((file) => readdirSync(join(folder, model)).includes(file))).toSorted();
      for (const model of names) for (const file of files) this.emitFile({ type: "asset", fileName: `weights/${model}/${file}`, source: read(model, file) });
      const index = names.map((id) => ({ id, path: `../weights/${id}`, examples: [], max_model_len: Math.min(2048, (JSON.parse(read(id, "config.json").toString()) as { max_position_embeddings: number }).max_position_embeddings) }));
      this.emitFile({ type: "asset", fileName: "weights/index.json", source: JSON.stringify(index) });
    },
  };
}

export default defineConfig({
  // It may lie in any folder of any host.
  base: "./",
  oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
  build: { target: "es2022", assetsInlineLimit: 0 },
  worker: { format: "es" },
  resolve: { alias: { "#ort": join(root, "src", "runtime", "web.ts") } },
  plugins: [shippedModels()],
  // `longjing serve` beside `npm run dev -w apps/studio`.
  server: { proxy: Object.fromEntries(["/v1", "/api", "/health"].map((path) => [path, { target: "http://127.0.0.1:3141", changeOrigin: true }])) },
});
