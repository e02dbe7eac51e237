import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { ggufTokenizer, renderChat, tokenizerFromGguf, tokenizerToGguf } from "../text/index.ts";
import { companionFiles, tokenizerOf } from "./export-source.ts";
import { loadTokenizer } from "./load-model.ts";

let root: string;
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), "templates-"));
});
afterAll(() => rm(root, { recursive: true }));

const metadata = new Map<string, unknown>(Object.entries({ model: "gpt2", pre: "gpt-2", tokens: ["a", "b"], merges: [] }).map(([key, value]) => [`tokenizer.ggml.${key}`, value]));
const { tokenizerJson, tokenizerConfig } = tokenizerFromGguf(metadata, "model.gguf");
const [plain, forTools] = ["plain\n", "{{ tools|length }} tools"];

async function folder(name: string, chat_template: unknown, files: Readonly<Record<string, string>> = {}): Promise<string> {
  const path = join(root, name);
  await mkdir(join(path, "additional_chat_templates"), { recursive: true });
  const all = { "tokenizer.json": JSON.stringify(tokenizerJson), "tokenizer_config.json": JSON.stringify({ ...tokenizerConfig, chat_template }), ...files };
  for (const [file, text] of Object.entries(all)) await writeFile(join(path, file), text);
  return path;
}

it("takes the templates of a list, and those of files of their own, wherever a model goes", async () => {
  const list = [{ name: "default", template: plain }, { name: "tool_use", template: forTools }];
  const folders = [
    await folder("list", list),
    await folder("files", undefined, { "chat_template.jinja": plain, "additional_chat_templates/tool_use.jinja": forTools }),
    await folder("both", [{ name: "default", template: "old" }], { "chat_template.jinja": plain, "additional_chat_templates/tool_use.jinja": forTools }),
  ];
  for (const path of folders) {
    const written = new Map(Object.entries(tokenizerToGguf(await tokenizerOf(path), 2)));
    const templates = [(await loadTokenizer(path)).chatTemplate, (await companionFiles(path))["chat_template.jinja"], ggufTokenizer(written, "model.gguf").chatTemplate];
    for (const template of templates) {
      expect(renderChat(template!, [])).toBe("plain");
      expect(renderChat(template!, [], { tools: [{}] })).toBe("1 tools");
    }
  }
});
