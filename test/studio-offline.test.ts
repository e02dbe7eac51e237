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

  async function ask(): Promise<{ thinking: string; answer: string }> {
    const before = await page.locator(".turn footer").count();
    await page.getByLabel("Message").fill(question);
    await page.getByRole("button", { name: "Send" }).click();
    await page.locator(".turn footer").nth(before).waitFor({ timeout: 100_000 });
    const turn = page.locator(".turn").last();
    return { thinking: (await turn.locator(".thinking p").textContent()) ?? "", answer: (await turn.locator(".answer").textContent()) ?? "" };
  }

  test("it answers as Node does, token for token, and goes on when the network is gone", async () => {
    const model = await loadServedModel(join(import.meta.dirname, "..", "models", "countdown-zero"));
    const { events } = await chatEvents(model, parseChatRequest({ model: "countdown-zero", messages: [{ role: "user", content: question }], temperature: 0 }), new AbortController().signal);
    const { choices } = await toCompletion({ id: "", created: 0, model: "", system_fingerprint: "" }, events);
    model.engine.dispose();
    const { content, reasoning_content } = choices[0]!.message;
    await page.getByLabel("Settings").click();
    await page.locator("input[type=range]").fill("0");
    await page.getByLabel("Settings").click();
    const first = await ask();
    expect(first.thinking).toBe(reasoning_content);
    // As Markdown, in which pairs of asterisks are no text.
    const plain = (text: string | null): string => (text ?? "").replaceAll("*", "").trim();
    expect(plain(first.answer)).toBe(plain(content));
    await page.context().setOffline(true);
    expect(await ask()).toEqual(first);
    expect(missed).toEqual(["/api/models"]);
  }, 180_000);
});
