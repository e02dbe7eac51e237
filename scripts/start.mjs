// npm start [-- --port N --no-open …]: installs what is missing, compiles the kernels, builds the page when its sources are newer, serves it with
// the models that ship, and opens the browser. Other arguments go to `longjing serve`.
import { spawn, spawnSync } from "node:child_process";
import { existsSync, readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { ensureInstalled, fail, root } from "./install.mjs";
import { compileKernels, translateSources } from "./translate.mjs";

const args = process.argv.slice(2).filter((arg) => arg !== "--no-open");
const wantsBrowser = args.length === process.argv.length - 2;

ensureInstalled();
await translateSources();
await compileKernels();
buildPage();
serve();

function buildPage() {
  const page = join(root, "apps", "studio");
  const built = join(page, "dist", "index.html");
  if (existsSync(built) && statSync(built).mtimeMs >= newest(page)) return;
  console.log("Building the studio…");
  const vite = join(root, "node_modules", "vite", "bin", "vite.js");
  const { status } = spawnSync(process.execPath, [vite, "build", page, "--logLevel", "warn"], { cwd: root, stdio: "inherit" });
  if (status !== 0) fail("The studio could not be built");
}

/** When the youngest source of the page was written. */
function newest(folder) {
  const entries = readdirSync(folder, { withFileTypes: true }).filter(({ name }) => name !== "dist" && name !== "node_modules");
  return Math.max(...entries.map((entry) => (entry.isDirectory() ? newest(join(folder, entry.name)) : statSync(join(folder, entry.name)).mtimeMs)));
}

function serve() {
  const server = spawn(process.execPath, [join(root, "bin", "longjing"), "serve", ...args], { cwd: root, stdio: ["inherit", "pipe", "inherit"] });
  server.stdout.setEncoding("utf8").on("data", (text) => {
    process.stdout.write(text);
    const [url] = /http:\/\/\S+/.exec(text) ?? [];
    if (url !== undefined) ready(url);
  });
  // A terminal sends its Ctrl-C to both; a signal to this process alone is passed on. The server's end is ours.
  process.on("SIGINT", () => {});
  process.on("SIGTERM", () => server.kill("SIGTERM"));
  server.on("close", (code) => process.exit(code ?? 1));
}

let opened = false;

function ready(url) {
  if (opened) return;
  opened = true;
  console.log(`Open ${url} · Ctrl-C ends it`);
  const headless = process.platform === "linux" && !process.env.DISPLAY && !process.env.WAYLAND_DISPLAY;
  if (!wantsBrowser || process.env.CI || headless) return;
  const [command, ...before] = { darwin: ["open"], win32: ["cmd", "/c", "start", ""] }[process.platform] ?? ["xdg-open"];
  spawn(command, [...before, url], { stdio: "ignore", detached: true }).on("error", () => {}).unref();
}
