import { defineConfig } from "vite";

export default defineConfig({
  oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
  build: { target: "es2022", assetsInlineLimit: 0 },
  // `longjing serve` beside `npm run dev -w apps/studio`.
  server: { proxy: Object.fromEntries(["/v1", "/api", "/health"].map((path) => [path, { target: "http://127.0.0.1:3141", changeOrigin: true }])) },
});
