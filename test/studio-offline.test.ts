import { existsSync } from "node:fs";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { extname, join } from "node:path";
import { chromium, type Browser, type Page } from "playwright-core";
import { build } from "vite";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { loadServedModel } from "../src/cli/load-model.ts";
import { chatEvents, parseChatRequest } from "../src/serve/index.ts";
import { toCompletion } from "../src/serve/chat-wire.ts";

const executablePath = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome", "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"].find(existsSync);
const args = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];
const types: Record<string, string> = { ".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".json": "application/json", ".wasm": "application/wasm", ".svg": "image/svg+xml" };
// Chromium's own driver in software: the page would not choose it by itself.
const softwareGpu = ["--no-sandbox", "--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader", "--enable-features=Vulkan", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];
const question = "Use 3, 5 and 9 to make 24.";

describe.skipIf(executablePath === undefined && !process.env.CI)("the studio without a server, in Chromium", () => {
  let folder: string;
  let server: Server;
  let browser: Browser;
  let page: Page;
  const missed: string[] = [];

  beforeAll(async () => {
    if (executablePath === undefined) throw new Error("Chromium is not installed: apt-get install -y chromium");
    folder = await mkdtemp(join(tmpdir(), "studio-offline-"));
    await build({ root: join(import.meta.dirname, "..", "apps", "studio"), logLevel: "error", build: { outDir: join(folder, "page"), emptyOutDir: true } });
    // Files and nothing else, as any host gives them.
    server = createServer((request, response) => {
      const path = new URL(request.url ?? "/", "http://files").pathname;
      void readFile(join(folder, "page", path === "/" ? "index.html" : path)).then(
        (bytes) => response.writeHead(200, { "content-type": types[extname(path)] ?? "text/html" }).end(bytes),
        () => {
          missed.push(path);
          response.writeHead(404).end();
        },
      );
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    browser = await chromium.launch({ executablePath, args });
    page = await browser.newPage();
    await page.goto(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`);
  }, 120_000);
  afterAll(async () => {
    await browser?.close();
    server?.close();
    if (folder) await rm(folder, { recursive: true });
  });

  async function ask(on = page): Promise<{ thinking: string; answer: string }> {
    const before = await on.locator(".turn footer").count();
    await on.getByLabel("Message").fill(question);
    await on.getByRole("button", { name: "Send" }).click();
    await on.locator(".turn footer").nth(before).waitFor({ timeout: 100_000 });
    const turn = on.locator(".turn").last();
    const textOf = async (part: string): Promise<string> => (await turn.locator(part).count()) === 0 ? "" : ((await turn.locator(part).textContent()) ?? "");
    return { thinking: await textOf(".thinking p"), answer: await textOf(".answer") };
  }

  async function greedily(on = page): Promise<void> {
    await on.getByLabel("Settings").click();
    await on.locator("input[type=range]").fill("0");
  }

  test("it answers as Node does, token for token, and goes on when the network is gone", async () => {
    const model = await loadServedModel(join(import.meta.dirname, "..", "models", "countdown-zero"));
    const { events } = await chatEvents(model, parseChatRequest({ model: "countdown-zero", messages: [{ role: "user", content: question }], temperature: 0 }), new AbortController().signal);
    const { choices } = await toCompletion({ id: "", created: 0, model: "", system_fingerprint: "" }, events);
    model.engine.dispose();
    const { content, reasoning_content } = choices[0]!.message;
    await greedily();
    await page.getByLabel("Settings").click();
    const first = await ask();
    expect(await page.locator(".turn footer").textContent()).toContain("WebAssembly");
    expect(first.thinking).toBe(reasoning_content);
    // As Markdown, in which pairs of asterisks are no text.
    const plain = (text: string | null): string => (text ?? "").replaceAll("*", "").trim();
    expect(plain(first.answer)).toBe(plain(content));
    await page.context().setOffline(true);
    expect(await ask()).toEqual(first);
    expect(missed).toEqual(["/api/models"]);
  }, 180_000);

  // Grouped queries, and a mixture with latent attention, whose keys and values are one cache.
  test.each(["countdown-zero", "r1-nano"])("by WebGPU %s says what it says by WebAssembly", async (model) => {
    const withGpu = await chromium.launch({ executablePath: executablePath!, args: softwareGpu });
    try {
      const answers = [];
      for (const compute of ["wasm", "webgpu"]) {
        const each = await withGpu.newPage();
        await each.goto(`${page.url()}?compute=${compute}`);
        await greedily(each);
        await each.getByLabel("Model").selectOption(model);
        await each.getByLabel("Most tokens").fill("12");
        await each.getByLabel("Settings").click();
        answers.push(await ask(each));
        expect(await each.locator(".turn footer").textContent()).toContain(compute === "wasm" ? "WebAssembly" : "WebGPU");
        await each.close();
      }
      expect(Object.values(answers[0]!).join("")).not.toBe("");
      expect(answers[1]).toEqual(answers[0]);
    } finally {
      await withGpu.close();
    }
  }, 240_000);
});
