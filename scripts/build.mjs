// npm run build: what the package ships, from nothing. The library and the command line go to dist/, the page to apps/studio/dist/.
import { spawnSync } from "node:child_process";
import { rmSync } from "node:fs";
import { join } from "node:path";
import { ensureInstalled, fail, root } from "./install.mjs";

ensureInstalled();
rmSync(join(root, "dist"), { recursive: true, force: true });
run(["typescript", "bin", "tsc"], ["-p", "tsconfig.build.json"]);
run(["vite", "bin", "vite.js"], ["build", "apps/studio", "--logLevel", "warn"]);

function run(tool, args) {
  const { status } = spawnSync(process.execPath, [join(root, "node_modules", ...tool), ...args], { cwd: root, stdio: "inherit" });
  if (status !== 0) fail(`${tool[0]} failed`);
}
