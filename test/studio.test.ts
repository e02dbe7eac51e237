import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chromium, type Browser, type Page } from "playwright-core";
import { build } from "vite";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from "vitest";
import { createApp, listen, openRuns, type Listening, type Runs } from "../src/serve/index.ts";
import { fakeModel, type FakeModel, type FakeOptions } from "./fake-model.ts";

const executablePath = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome", "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"].find(existsSync);
const args = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];

let folder: string;
let browser: Browser;
let page: Page;
let runs: Runs;
let listening: Listening | undefined;
/** What the page complained about. */
let complaints: string[];

// Where nobody asked for it, a machine without Chromium goes without these; continuous integration may not.
describe.skipIf(executablePath === undefined && !process.env.CI)("the studio in Chromium", () => {
  beforeAll(async () => {
    if (executablePath === undefined) throw new Error("Chromium is not installed: apt-get install -y chromium");
    folder = await mkdtemp(join(tmpdir(), "studio-"));
    await build({ root: join(import.meta.dirname, "..", "apps", "studio"), logLevel: "error", build: { outDir: join(folder, "page") } });
    await writeFile(join(folder, "tiny-zero.ts"), "");
    browser = await chromium.launch({ executablePath, args });
  });
  afterAll(async () => {
    await browser?.close();
    if (folder) await rm(folder, { recursive: true });
  });
  beforeEach(() => {
    complaints = [];
  });
  afterEach(async () => {
    await page?.context().close();
    await runs?.close();
    await listening?.close(0);
    listening = undefined;
    if (folder) await rm(join(folder, "runs"), { recursive: true, force: true });
  });

  async function open(path: string, options: FakeOptions & { readonly auth?: string; readonly width?: number } = {}): Promise<FakeModel> {
    const model = fakeModel(options);
    const trainer = join(import.meta.dirname, "fake-trainer.mjs");
    runs = openRuns({ runsDir: join(folder, "runs"), recipesDir: folder, launch: (line) => spawn(process.execPath, [trainer, ...line], { stdio: ["ignore", "ignore", "pipe"] }) });
    const app = createApp({ models: [model], runs, studio: join(folder, "page"), ...(options.auth === undefined ? {} : { auth: options.auth }) });
    listening = await listen(app, { port: 0 });
    const context = await browser.newContext({ viewport: { width: options.width ?? 1200, height: 800 }, permissions: ["clipboard-read", "clipboard-write"] });
    page = await context.newPage();
    page.on("pageerror", (error) => complaints.push(error.message));
    page.on("console", (message) => message.type() === "error" && complaints.push(message.text()));
    await page.goto(`${listening.url}/${path}`);
    return model;
  }

  const ask = async (question: string): Promise<void> => {
    await page.getByRole("textbox", { name: "Message" }).fill(question);
    await page.keyboard.press("Enter");
  };

  test("thinking is open while it streams, then folded under its length, and the answer is markdown", async () => {
    const said = `<think>${"Let me think. ".repeat(8)}</think><answer>It is **22**, since 3*(5+7)*2 is not.</answer>`;
    await open("", { say: () => said, delayMs: 4 });
    await page.getByRole("button", { name: "What is 2 + 2?" }).click();
    await page.getByText("Thinking…").waitFor();
    const thinking = page.locator("details.thinking");
    expect(await thinking.evaluate((details) => (details as HTMLDetailsElement).open)).toBe(true);
    await thinking.getByText("Let me think.").waitFor({ state: "visible" });
    const folded = page.getByText(/^Thought for \d+ tokens$/);
    await page.getByText(/tokens\/s/).waitFor();
    expect(await thinking.evaluate((details) => (details as HTMLDetailsElement).open)).toBe(false);
    const tokens = Number(/\d+/.exec((await folded.textContent()) ?? "")?.[0]);
    expect(tokens).toBeGreaterThan(100);
    expect(tokens).toBeLessThan(said.length);
    expect(await page.locator(".answer strong").textContent()).toBe("22");
    expect(await page.locator(".answer").textContent()).toContain("3*(5+7)*2");
    await folded.click();
    await thinking.getByText("Let me think.").waitFor({ state: "visible" });
    await page.getByRole("button", { name: "Copy the answer" }).click();
    expect(await page.evaluate("navigator.clipboard.readText()")).toBe("It is **22**, since 3*(5+7)*2 is not.");
    expect(complaints).toEqual([]);
  });

  test("an answer can be stopped, asked again, and a failure is shown", async () => {
    const model = await open("", { say: (message) => `<answer>${message.repeat(200)}</answer>`, delayMs: 5 });
    await ask("slow");
    await page.locator(".answer").waitFor();
    await page.getByRole("button", { name: "Stop" }).click();
    await page.getByText(/· stopped/).waitFor();
    await vi.waitUntil(() => model.running() === 0);
    await page.getByRole("button", { name: "Ask again" }).click();
    await vi.waitUntil(() => model.requests.length === 2);
    await page.getByRole("button", { name: "Stop" }).click();
    await ask("x".repeat(5000));
    expect(await page.getByRole("alert").textContent()).toContain("maximum context length");
  });

  test("what a model writes is never run or fetched", async () => {
    const hostile = [
      '<img src="/health?stolen" onerror="window.hacked = 1">',
      "![picture](/health?stolen)",
      "[click](javascript:window.hacked=1)",
      "<script>window.hacked = 1</script>",
      '<a href="https://example.org/" onclick="window.hacked = 1">raw</a>',
      "[plain](https://example.org/)",
      "the end",
    ].join("\n\n");
    const fetched: string[] = [];
    await open("", { say: () => `<answer>${hostile}</answer>` });
    page.on("request", (request) => fetched.push(request.url()));
    await ask("hi");
    await page.getByText(/tokens\/s/).waitFor();
    expect(await page.locator(".answer").evaluate((answer) => answer.querySelectorAll("img, script, [onclick], [onerror], a[href^='javascript']").length)).toBe(0);
    expect(await page.evaluate("window.hacked")).toBeUndefined();
    expect(fetched.filter((url) => url.includes("stolen"))).toEqual([]);
    expect(await page.getByRole("link", { name: "plain" }).getAttribute("rel")).toContain("noopener");
  });

  test("a run is started, drawn, stopped and resumed, and is there after a reload", async () => {
    await open("#train");
    await page.getByRole("button", { name: "Start" }).click();
    for (const title of ["Reward", "Accuracy", "Length", "Entropy", "Throughput"]) await page.getByRole("figure", { name: new RegExp(`^${title}:`) }).waitFor();
    const reward = page.getByRole("figure", { name: /^Reward:/ });
    const early = await reward.getAttribute("aria-label");
    await vi.waitUntil(async () => (await reward.getAttribute("aria-label")) !== early, { timeout: 10_000 });
    expect(await reward.locator("canvas").count()).toBe(1);
    await page.getByRole("cell", { name: "make 22" }).waitFor();
    await page.getByRole("button", { name: "Stop", exact: true }).click();
    await page.getByRole("button", { name: "Resume" }).waitFor();
    await page.reload();
    await reward.waitFor();
    expect(await page.getByRole("button", { name: /tiny-zero stopped/ }).count()).toBe(1);
    await page.getByRole("button", { name: "Resume" }).click();
    await page.getByRole("button", { name: "Stop", exact: true }).click();
    await page.getByRole("button", { name: "Resume" }).waitFor();
    expect(complaints).toEqual([]);
  });

  test("a run that fails says why", async () => {
    await open("#train");
    await page.getByText("Options").click();
    await page.getByLabel("Seed").fill("13");
    await page.getByRole("button", { name: "Start" }).click();
    await page.getByText("the trainer does not like this seed").waitFor();
  });

  test("on a phone nothing is wider than the screen", async () => {
    await open("", { width: 360 });
    await ask(`${"word ".repeat(20)}${"x".repeat(200)}`);
    await page.getByText(/tokens\/s/).waitFor();
    await page.getByRole("link", { name: "Train" }).click();
    await page.getByRole("button", { name: "Start" }).click();
    await page.getByRole("cell", { name: "make 22" }).waitFor();
    for (const name of ["Chat", "Train", "Models"]) {
      await page.getByRole("link", { name, exact: true }).click();
      await page.getByRole("link", { name, exact: true }).and(page.locator("[aria-current=page]")).waitFor();
      expect(await page.evaluate("document.documentElement.scrollWidth"), name).toBe(360);
    }
  });

  test("everything can be reached by keyboard", async () => {
    await open("");
    await page.getByRole("textbox", { name: "Message" }).waitFor();
    const reached = new Set<string>();
    for (let press = 0; press < 16; press++) {
      await page.keyboard.press("Tab");
      reached.add(await page.evaluate("document.activeElement.getAttribute('aria-label') ?? document.activeElement.textContent"));
    }
    for (const name of ["Chat", "Train", "Models", "What is 2 + 2?", "Message", "Settings"]) expect([...reached]).toContain(name);
  });

  test("a server with a key asks for it once", async () => {
    await open("", { auth: "secret" });
    await page.getByLabel("This server asks for its key").fill("secret");
    await page.keyboard.press("Enter");
    await ask("hello");
    await page.getByText(/tokens\/s/).waitFor();
    expect(await page.locator(".answer").textContent()).toContain("hello");
  });
});
