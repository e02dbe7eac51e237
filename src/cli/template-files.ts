import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { withToolTemplate } from "../text/index.ts";
import { exists } from "../weights/index.ts";

const names = ["chat_template.jinja", join("additional_chat_templates", "tool_use.jinja")];

/** The chat template of a model's folder from files of its own: the default and, where there is one, that for tools. */
export async function templateFiles(folder: string): Promise<string | undefined> {
  const paths = names.map((name) => join(folder, name));
  const [template, toolUse] = await Promise.all(paths.map(async (path) => ((await exists(path)) ? readFile(path, "utf8") : undefined)));
  return template === undefined ? undefined : withToolTemplate(template, toolUse);
}
