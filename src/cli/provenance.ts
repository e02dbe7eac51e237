import { join } from "node:path";
import { exists, isFile, openFileSource, openGguf, readText, type GgufValue, type License } from "../weights/index.ts";

/** What a model's own files say of where it comes from. */
export interface Provenance {
  /** null where nothing is said. */
  readonly license: License | null;
  /** The model that it was made from, as ORG/NAME of a hub; null where nothing is said. */
  readonly base: string | null;
}

/**
 * Reads the front matter of a folder's README.md, or the metadata of a GGUF file.
 * @throws LongjingError "not_found"; "bad_file"; "too_large"
 */
export async function provenanceOf(path: string): Promise<Provenance> {
  return (await isFile(path)) ? ofGguf(path) : ofFolder(path);
}

/** An identifier, as the hub's list has them. */
const identifier = /^[\w.-]{1,100}$/;

function licenseFrom(license: string | undefined, license_name: string | undefined, license_link: string | undefined): License | null {
  if (!license || license === "unknown") return null;
  // What is no identifier is a licence's name.
  const named = identifier.test(license) ? { license, license_name } : { license: "other", license_name: license_name ?? license };
  return { ...named, license_link };
}

const mostCardBytes = 2 ** 22;

async function ofFolder(folder: string): Promise<Provenance> {
  const card = join(folder, "README.md");
  const [, front = ""] = (await exists(card)) ? (/^---\r?\n([\s\S]*?)\r?\n---/.exec(await readText(card, mostCardBytes)) ?? []) : [];
  const lines = front.split(/\r?\n/);
  const field = (name: string): string | undefined => yamlField(lines, name);
  return { license: licenseFrom(field("license"), field("license_name"), field("license_link")), base: field("base_model") ?? null };
}

/** A scalar of the top level, or the only item of a list. */
function yamlField(lines: readonly string[], name: string): string | undefined {
  const at = lines.findIndex((line) => line.startsWith(`${name}:`));
  if (at < 0) return undefined;
  const rest = lines[at]!.slice(name.length + 1).trim();
  if (rest !== "") return yamlScalar(/^\[([^,[\]]*)\]$/.exec(rest)?.[1]?.trim() ?? rest);
  const end = lines.findIndex((line, i) => i > at && !/^\s*- /.test(line));
  const [item, ...others] = lines.slice(at + 1, end < 0 ? undefined : end);
  return item === undefined || others.length > 0 ? undefined : yamlScalar(item.replace(/^\s*- /, "").trim());
}

/** A plain or quoted scalar on one line, without what an escape or a block would need. */
function yamlScalar(text: string): string | undefined {
  const quoted = /^(?:"([^"\\]*)"|'([^']*)')(?:\s+#.*)?$/.exec(text);
  if (quoted) return quoted[1] ?? quoted[2];
  return /^[\w./~]/.test(text) ? text.split(/\s+#/)[0] : undefined;
}

async function ofGguf(path: string): Promise<Provenance> {
  const source = await openFileSource(path);
  try {
    const { metadata } = await openGguf(source, { vocabulary: "none" });
    const text = (key: string): string | undefined => asText(metadata.get(`general.${key}`));
    const [, base = null] = metadata.get("general.base_model.1.repo_url") === undefined ? (/^https:\/\/huggingface\.co\/([\w.-]+\/[\w.-]+)\/?$/.exec(text("base_model.0.repo_url") ?? "") ?? []) : [];
    return { license: licenseFrom(text("license"), text("license.name"), text("license.link")), base };
  } finally {
    await source.close();
  }
}

const asText = (value: GgufValue | undefined): string | undefined => (typeof value === "string" ? value : undefined);
