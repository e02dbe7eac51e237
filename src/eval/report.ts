import type { ChatSampling } from "./chat-answers.ts";
import type { SetMeasurement } from "./evaluate-sets.ts";
import type { Estimate } from "./measure.ts";
import { publishedFor, type Published, type PublishedScores } from "./published.ts";
import type { SetFacts } from "./questions.ts";
import { markOf, picture, type PictureRow } from "./report-picture.ts";
import { reportStyle } from "./report-style.ts";
import { breakable, escaped } from "./report-text.ts";

/** What an evaluation of a suite has found. */
export interface SuiteResult {
  readonly suite: string;
  readonly description: string | null;
  readonly model: string;
  /** Null for the own engine. */
  readonly endpoint: string | null;
  readonly version: string;
  /** Of this copy of Longjing; null where it is no clone. */
  readonly commit: string | null;
  /** Day of the measurement, as 2026-01-31. */
  readonly date: string;
  readonly seed: number;
  readonly system: string | null;
  readonly sampling: ChatSampling & { readonly samples: number };
  readonly results: readonly SetMeasurement[];
}

interface Row {
  readonly result: SetMeasurement;
  readonly published: PublishedScores | null;
}

/** A page that needs nothing from anywhere: what was measured, as a picture and a table, beside what others published of the same. */
export function reportPage(result: SuiteResult, published: Published): string {
  const rows = result.results.map((one): Row => ({ result: one, published: publishedFor(one, published) }));
  const names = [...new Set(rows.flatMap((row) => Object.keys(row.published?.scores ?? {})))];
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>${escaped(`${result.suite}: ${result.model}`)}</title>
<style>${reportStyle}</style>
</head>
<body>
<main>
<header>
<p class="kind">Evaluation</p>
<h1>${escaped(result.suite)}</h1>
${result.description === null ? "" : `<p>${escaped(result.description)}</p>`}
${facts(result)}
</header>
${summary(rows, names)}
<section class="card">
<h2>Score of one answer</h2>
${picture(rows.map(pictureRow), names, result.model)}
</section>
<section class="card">
<h2>All figures</h2>
${table(rows, names, result)}
</section>
${notes(rows, result)}
</main>
</body>
</html>
`;
}

/** "level 2, en", or reasoning-gym's own fields. */
export function configText(config: SetFacts["config"]): string {
  const said = Object.entries(config).map(([name, value]) => (name === "language" ? String(value) : name === "level" ? `level ${String(value)}` : `${name} ${JSON.stringify(value)}`));
  return said.join(", ");
}

function facts({ model, endpoint, sampling, seed, system, version, commit, date }: SuiteResult): string {
  const { samples, temperature, top_p, max_tokens } = sampling;
  const rows: readonly (readonly [string, string])[] = [
    ["model", model],
    ["asked", endpoint === null ? "in this process" : `at ${endpoint}`],
    ["sampling", `${samples} ${samples === 1 ? "answer" : "answers"} each, temperature ${temperature ?? "its own"}, top_p ${top_p ?? "its own"}, at most ${max_tokens.toLocaleString("en")} tokens`],
    ["seed", `${seed}`],
    ...(system === null ? [] : [["system", system] as const]),
    ["measured", `${date}, Longjing ${version}${commit === null ? "" : ` at ${commit}`}`],
  ];
  return `<dl>${rows.map(([name, value]) => `<div><dt>${name}</dt><dd>${escaped(value)}</dd></div>`).join("")}</dl>`;
}

const one = (result: SetMeasurement): Estimate => result.pass_at["1"]!;

/** On how many rows the measured score is at least what each of the others published there. */
function summary(rows: readonly Row[], names: readonly string[]): string {
  const said = names.flatMap((name) => {
    const common = rows.flatMap(({ result, published }) => (published?.scores[name] === undefined ? [] : [{ ours: one(result), theirs: published.scores[name] }]));
    if (common.length === 0) return [];
    const reached = common.filter(({ ours, theirs }) => ours.value >= theirs).length;
    const clearly = common.filter(({ ours, theirs }) => ours.low > theirs).length;
    return [`<li>${escaped(name)}<span><b>${reached}</b> of ${common.length} tasks</span><span class="quiet">${clearly} with the whole interval above</span></li>`];
  });
  return said.length === 0 ? "" : `<section class="reached"><h2>At least the published score of</h2><ul>${said.join("")}</ul></section>`;
}

const pictureRow = ({ result, published }: Row): PictureRow => ({ label: result.task, detail: configText(result.config), measured: one(result), published: published?.scores ?? {} });

const percent = (share: number): string => (share * 100).toFixed(1);
const withInterval = ({ value, low, high }: Estimate): string => `<b>${percent(value)}</b> <span class="interval">${percent(low)}–${percent(high)}</span>`;
const perThousand = (usd: number | null): string => (usd === null ? "–" : Number((usd * 1000).toPrecision(2)).toString());

function table(rows: readonly Row[], names: readonly string[], { sampling: { samples }, seed: common }: SuiteResult): string {
  const ks = [...new Set(rows.flatMap(({ result }) => Object.keys(result.pass_at)))].map(Number).filter((k) => k > 1).toSorted((a, b) => a - b);
  const widest = samples === 1 ? undefined : ks.at(-1);
  const votes = Math.max(...rows.flatMap(({ result }) => Object.keys(result.cons_at).map(Number)));
  const cell = (of: Estimate | undefined): string => `<td>${of === undefined ? "–" : withInterval(of)}</td>`;
  const body = rows.map(({ result, published }) => {
    const { task, config, seed, problems, pass_at, cons_at, length, truncated, usd_per_solved } = result;
    const more = widest === undefined ? "" : cell(pass_at[widest]) + cell(cons_at[votes]);
    const tokens = length === null ? "<td>–</td>" : `<td>${length.mean.toFixed(0)} <span class="interval">${length.p50} · ${length.p95}</span></td>`;
    const others = names.map((name) => `<td class="published">${published?.scores[name] === undefined ? "–" : percent(published.scores[name])}</td>`).join("");
    return `<tr><th scope="row">${breakable(task)}<span class="detail">${escaped(configText(config))}</span></th><td>${problems}${seed === null || seed === common ? "" : ` <span class="interval">seed ${seed}</span>`}</td>${cell(pass_at["1"])}${more}${tokens}<td>${percent(truncated)}</td><td>${perThousand(usd_per_solved)}</td>${others}</tr>`;
  });
  const ours = 6 + (widest === undefined ? 0 : 2);
  const groups = names.length === 0 ? "" : `<tr class="groups"><td></td><th colspan="${ours - 1}" scope="colgroup">measured</th><th colspan="${names.length}" scope="colgroup" class="published">published</th></tr>`;
  const heads = ["task", "problems", "pass@1, %", ...(widest === undefined ? [] : [`pass@${widest}, %`, `cons@${votes}, %`]), "tokens", "cut, %", "USD per 1,000 solved"];
  const head = `<tr>${heads.map((name) => `<th scope="col">${name}</th>`).join("")}${names.map((name, i) => `<th scope="col" class="published"><span class="nowrap">${markOf(i)} ${escaped(name)}</span></th>`).join("")}</tr>`;
  return `<div class="scroll" tabindex="0" role="region" aria-label="All figures"><table><thead>${groups}${head}</thead><tbody>${body.join("")}</tbody></table></div>`;
}

function notes(rows: readonly Row[], { sampling: { samples } }: SuiteResult): string {
  const sources = [...new Set(rows.flatMap(({ published }) => (published === null ? [] : [published.source])))];
  const lines = [
    `Small figures behind a score are its 95 % interval over the problems that differ (Agresti and Coull's, with Student's quantile).`,
    ...(samples === 1 ? [] : ["pass@k is the expected best score of k answers. cons@k is the score of the answer that most of k give; among equally many it is the one that was seen first, and an answer that cannot be read has no vote."]),
    "tokens: the mean of an answer's, thinking included; then the median and the 95th percentile. cut: answers that reached the limit.",
    "USD per 1,000 solved: the cost of all answers over the sum of their scores, a thousand times.",
    ...sources.map((source) => `Published scores stand only beside the same task at the same configuration; nothing of them was measured here. ${source}.`),
  ];
  return `<footer>${lines.map((line) => `<p>${escaped(line)}</p>`).join("")}</footer>`;
}
