import { access, constants, stat, writeFile } from "node:fs/promises";
import { dirname } from "node:path";
import { LongjingError } from "../errors/index.ts";
import { answersInFile, answersInMemory, configText, evaluateSets, requestsOf, type Estimate, type EvaluateSetsOptions, type QuestionSet, type SetMeasurement, type Suite, type SuiteResult } from "../eval/index.ts";
import { version } from "../serve/version.ts";
import { endpointAnswerer, engineAnswerer, type Answerer } from "./eval-answerer.ts";
import { questionsOf, suiteOf, type Named } from "./eval-suite.ts";
import type { EvalOptions } from "./eval.ts";
import { progress } from "./progress.ts";
import { revision } from "./revision.ts";
import { table } from "./table.ts";
import { openTerminal, type Terminal } from "./terminal.ts";

/** Asks, judges, and says what came of it. */
export async function evaluateSuite(named: Named, options: EvalOptions): Promise<void> {
  const terminal = openTerminal();
  if (options.report !== undefined) await requireReportable(options.report);
  const asked = await suiteOf(named, options);
  const questions = await questionsOf(asked);
  let answerer: Answerer | undefined;
  try {
    answerer = await answererOf(questions.sets, asked, options);
    const suite = { ...asked, sampling: { ...asked.sampling, max_tokens: roomFor(asked, answerer, options, terminal) } };
    const results = await measuredBy(answerer, suite, questions.sets, options, terminal);
    const { name, description, system, sampling, seed } = suite;
    const date = new Date().toISOString().slice(0, 10);
    const result: SuiteResult = { suite: name, description, model: answerer.model, endpoint: options.endpoint ?? null, version, commit: await revision(), date, seed, system, sampling, results };
    // What was measured is said even where the page cannot be written.
    terminal.out(options.json ? `${JSON.stringify(result)}\n` : resultText(result));
    if (options.report !== undefined) await writeReport(options.report, result);
  } finally {
    answerer?.close();
    questions.close();
  }
}

function answererOf(sets: readonly QuestionSet[], suite: Suite, options: EvalOptions): Promise<Answerer> {
  if (options.endpoint !== undefined) return Promise.resolve(endpointAnswerer(options.endpoint, options));
  return engineAnswerer(sets, suite, options);
}

/** Most tokens of an answer. A limit that a suite names is for any model; one of the command line is for this. */
function roomFor({ sampling: { max_tokens } }: Suite, { maxTokens }: Answerer, options: EvalOptions, terminal: Terminal): number {
  if (max_tokens <= maxTokens) return max_tokens;
  if (options.maxTokens !== undefined) throw new LongjingError("too_large", "The model has too few positions for such answers", { where: "--max-tokens", got: max_tokens, expected: `at most ${maxTokens}` });
  terminal.note(`The model has room for answers of ${maxTokens} tokens, not ${max_tokens}.\n`);
  return maxTokens;
}

async function measuredBy(answerer: Answerer, suite: Suite, sets: readonly QuestionSet[], options: EvalOptions, terminal: Terminal): Promise<SetMeasurement[]> {
  const { ask, from, model, concurrency } = answerer;
  const path = options.answers ?? (options.endpoint === undefined ? undefined : "longjing-answers.jsonl");
  const store = path === undefined ? answersInMemory() : answersInFile(path);
  const { samples, ...sampling } = suite.sampling;
  const prices = { core_hour: options.usdPerCoreHour, input: options.inputPrice ?? null, cached_input: options.cachedInputPrice ?? null, output: options.outputPrice ?? null };
  const common = { from, model, system: suite.system, sampling, samples, seed: suite.seed, concurrency, extra: options.extraBody, prices, store };
  const requests = sets.flatMap((set) => requestsOf(set, common));
  let done = requests.filter((one) => store.find(one) !== undefined).length;
  if (done > 0) terminal.note(`${done} of ${requests.length} answers are in ${path} already.\n`);
  const bar = progress(terminal, { label: suite.name, total: requests.length, unit: "answers", done });
  const settings: EvaluateSetsOptions = { ...common, ask, onAnswer: () => bar.update(++done) };
  try {
    return await evaluateSets(sets, settings);
  } catch (error) {
    if (path !== undefined && done > 0) terminal.note(`\n${done} of ${requests.length} answers are kept in ${path}: the same command goes on.\n`);
    throw error;
  } finally {
    bar.end();
    store.close();
  }
}

const percent = (share: number): string => `${(share * 100).toFixed(1)} %`;
const between = ({ value, low, high }: Estimate): string => `${percent(value)} (${(low * 100).toFixed(1)}–${(high * 100).toFixed(1)})`;

function resultText({ model, sampling, results, seed }: SuiteResult): string {
  const { samples, temperature, top_p, max_tokens } = sampling;
  const last = (of: Readonly<Record<string, Estimate>>): string => Object.keys(of).at(-1)!;
  const columns = (result: SetMeasurement): string[] => {
    const { pass_at, cons_at, length, truncated, usd_per_solved } = result;
    const more = samples === 1 ? [] : [between(pass_at[last(pass_at)]!), between(cons_at[last(cons_at)]!)];
    const tokens = length === null ? "–" : `${length.mean.toFixed(1)} · ${length.p50} · ${length.p95}`;
    return [`${result.task} ${configText(result.config)}`.slice(0, 60), `${result.problems}`, between(pass_at["1"]!), ...more, tokens, percent(truncated), usd_per_solved === null ? "–" : usd_per_solved.toPrecision(2)];
  };
  const { pass_at = {}, cons_at = {} } = results[0] ?? {};
  const header = ["task", "problems", "pass@1", ...(samples === 1 ? [] : [`pass@${last(pass_at)}`, `cons@${last(cons_at)}`]), "tokens: mean · p50 · p95", "cut", "USD a solved"];
  return `${table([header, ...results.map(columns)])}\n${model}: ${samples} ${samples === 1 ? "answer" : "answers"} each, temperature ${temperature ?? "its own"}, top_p ${top_p ?? "its own"}, at most ${max_tokens} tokens, seed ${seed}; 95 % intervals over problems\n`;
}

/** Looked at first: who measures for hours is not to learn at the end that the page has no place. */
async function requireReportable(path: string): Promise<void> {
  const there = await stat(path).catch(() => null);
  if (there?.isDirectory()) throw new LongjingError("disk", "The report cannot be written: this is a folder", { where: path, expected: "FILE.html" });
  await access(there === null ? `${dirname(path)}/.` : path, constants.W_OK).catch(unwritable(path));
}

const unwritable =
  (where: string) =>
  (cause: NodeJS.ErrnoException): never => {
    throw new LongjingError("disk", "The report cannot be written", { where, got: cause.code, hint: "Name a file in a folder that is there and may be written" }, { cause });
  };

async function writeReport(path: string, result: SuiteResult): Promise<void> {
  const { reportPage } = await import("../eval/index.ts");
  const { publishedScores } = await import("./published.ts");
  await writeFile(path, reportPage(result, await publishedScores())).catch(unwritable(path));
}
