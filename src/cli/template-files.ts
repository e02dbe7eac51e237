import { join } from "node:path";
import { withToolTemplate } from "../text/index.ts";
import { exists, readText } from "../weights/index.ts";

const names = ["chat_template.jinja", join("additional_chat_templates", "tool_use.jinja")];

const mostTemplateBytes = 2 ** 22;

/** The chat template of a model's folder from files of its own: the default and, where there is one, that for tools. @throws LongjingError "too_large"; "bad_file" */
export async function templateFiles(folder: string): Promise<string | undefined> {
  const paths = names.map((name) => join(folder, name));
  const [template, toolUse] = await Promise.all(paths.map(async (path) => ((await exists(path)) ? readText(path, mostTemplateBytes) : undefined)));
  return template === undefined ? undefined : withToolTemplate(template, toolUse);
}
