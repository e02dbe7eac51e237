import type { ModelConfig } from "../model/config.ts";

/** One measurement of a model. Values are shares from 0 to 1 unless the name says otherwise. */
export interface CardResult {
  /** What was asked, as "countdown-zero (held out)". */
  readonly dataset: string;
  /** type → value; types are the hub's where it has one ("accuracy", "pass@8"). */
  readonly metrics: Readonly<Record<string, number>>;
}

/** Under which terms weights are given. */
export interface License {
  /** An identifier of the hub's list ("apache-2.0", "mit", "other", …). */
  readonly license: string;
  /** What "other" is called, and where it is to be read. */
  readonly license_name?: string | undefined;
  readonly license_link?: string | undefined;
}

export interface ModelCard {
  readonly name: string;
  /** null where it is not known: then the card says so, in the hub's own word. */
  readonly license: License | null;
  readonly base_model?: string;
  readonly library_name: "transformers" | "transformers.js" | "peft";
  readonly tags: readonly string[];
  readonly results: readonly CardResult[];
  /** Markdown below the title. */
  readonly body: string;
}

type Yaml = string | number | readonly Yaml[] | { readonly [key: string]: Yaml };

/**
 * The text of a model's README.md: YAML between "---" lines with the fields that the hub reads, evaluation results as its
 * model-index, then Markdown.
 */
export function modelCardText({ name, license, base_model, library_name, tags, results, body }: ModelCard): string {
  const index = {
    name,
    results: results.map(({ dataset, metrics }) => ({
      task: { type: "text-generation" },
      dataset: { type: "longjing", name: dataset },
      metrics: Object.entries(metrics).map(([type, value]) => ({ type, value, name: type })),
    })),
  };
  const fields: Yaml = {
    license: license?.license ?? "unknown",
    ...(license?.license_name !== undefined && { license_name: license.license_name }),
    ...(license?.license_link !== undefined && { license_link: license.license_link }),
    ...(base_model !== undefined && { base_model }),
    library_name,
    pipeline_tag: "text-generation",
    tags,
    ...(results.length > 0 && { "model-index": [index] }),
  };
  return `---${yaml(fields, "\n")}\n---\n\n# ${name}\n\n${body.trim()}\n`;
}

/** Tags under which a model of this configuration is found. */
export const cardTags = ({ model_type }: ModelConfig): readonly string[] => ["longjing", model_type, "text-generation"];

/** A value in YAML's block style; `line` is the line break and indentation that it stands at. A string of JSON is one of YAML. */
function yaml(value: Yaml, line: string): string {
  if (typeof value === "string") return ` ${JSON.stringify(value)}`;
  if (typeof value === "number") return ` ${value}`;
  if (Array.isArray(value)) return value.map((item: Yaml) => `${line}-${yaml(item, `${line}  `).replace(`${line}  `, " ")}`).join("");
  return Object.entries(value).map(([key, item]) => `${line}${key}:${yaml(item, Array.isArray(item) ? line : `${line}  `)}`).join("");
}
