import { existsSync } from "node:fs";
import type { Command } from "commander";
import { LongjingError } from "../errors/index.ts";
import type { KeyTerms, SqliteAccounts, StoredKey } from "../serve/index.ts";
import { databasePath } from "./database-path.ts";
import { realNumber, wholeNumber } from "./options.ts";
import { table } from "./table.ts";
import { openTerminal } from "./terminal.ts";

interface Common {
  readonly database?: string;
  readonly json?: true;
}

interface CreateOptions extends Common {
  readonly requestsPerMinute?: number;
  readonly tokensPerMinute?: number;
  readonly maxConcurrency?: number;
  readonly quotaTokens?: number;
  readonly quotaUsd?: number;
  readonly inputPrice: number;
  readonly cachedInputPrice?: number;
  readonly outputPrice: number;
}

export function addKeys(program: Command): void {
  const keys = program.command("keys").description("Keys that a server asks for, their limits, quotas and prices, and what they have used");
  const command = (usage: string, description: string): Command =>
    keys
      .command(usage)
      .description(description)
      .option("--database <file>", "SQLite file of keys and usage (default: the environment's LONGJING_DATABASE, or ~/.longjing/server.db)")
      .option("--json", "results and errors as JSON");
  command("create <name>", "Make a key and show it, once: only its hash is stored")
    .option("--requests-per-minute <n>", "requests in a minute", wholeNumber(1))
    .option("--tokens-per-minute <n>", "prompt and completion tokens in a minute", wholeNumber(1))
    .option("--max-concurrency <n>", "requests at once", wholeNumber(1))
    .option("--quota-tokens <n>", "tokens in all; then requests are answered with 402", wholeNumber(0))
    .option("--quota-usd <usd>", "money in all; then requests are answered with 402", realNumber(0, 1e6))
    .option("--input-price <usd>", "price of a million prompt tokens", realNumber(0, 1e6), 0)
    .option("--cached-input-price <usd>", "price of a million prompt tokens that were in the prefix cache (default: the input price)", realNumber(0, 1e6))
    .option("--output-price <usd>", "price of a million completion tokens", realNumber(0, 1e6), 0)
    .action(create);
  command("list", "Show the keys and what they have used").action(list);
  command("revoke <key>", "End a key, by its id or its name; a running server refuses it from then on").action(revoke);
}

async function create(name: string, options: CreateOptions): Promise<void> {
  const terminal = openTerminal();
  const terms: KeyTerms = {
    requests_per_minute: options.requestsPerMinute ?? null,
    tokens_per_minute: options.tokensPerMinute ?? null,
    max_concurrency: options.maxConcurrency ?? null,
    quota_tokens: options.quotaTokens ?? null,
    quota_usd: options.quotaUsd ?? null,
    input_price: options.inputPrice,
    cached_input_price: options.cachedInputPrice ?? options.inputPrice,
    output_price: options.outputPrice,
  };
  await withAccounts(options, (accounts) => {
    const key = accounts.create(name, terms, Date.now());
    const { id } = accounts.list().at(-1)!;
    if (options.json) return terminal.out(`${JSON.stringify({ id, name, key })}\n`);
    terminal.out(`${key}\n`);
    terminal.note(`This is the only time that the key is shown. Its id is ${id}.\n`);
  });
}

async function list(options: Common): Promise<void> {
  const terminal = openTerminal();
  requireNamed(options);
  await withAccounts(options, (accounts) => {
    const all = accounts.list().map((key) => ({ ...key, ...accounts.used(key.id) }));
    if (options.json) {
      for (const { hash: _hash, cost, ...key } of all) terminal.out(`${JSON.stringify({ ...key, cost_usd: cost / 1e12 })}\n`);
      return;
    }
    const rows = all.map((key) => [key.id, key.name, stateOf(key), String(key.prompt_tokens), String(key.cached_tokens), String(key.completion_tokens), (key.cost / 1e12).toFixed(6)]);
    terminal.out(table([["id", "name", "state", "prompt", "of it cached", "completion", "USD"], ...rows], terminal.colors.bold));
  });
}

function stateOf({ revoked }: StoredKey): string {
  return revoked === null ? "in use" : `revoked ${new Date(revoked).toISOString().slice(0, 10)}`;
}

async function revoke(key: string, options: Common): Promise<void> {
  const terminal = openTerminal();
  requireNamed(options);
  await withAccounts(options, (accounts) => {
    const { id, name } = accounts.revoke(key, Date.now());
    terminal.out(options.json ? `${JSON.stringify({ id, name, revoked: true })}\n` : `${id} ${name} is revoked\n`);
  });
}

/** A file that is named to be read is there: a name with a slip in it would make an empty one. */
function requireNamed({ database }: Common): void {
  if (database !== undefined && !existsSync(database)) throw new LongjingError("not_found", "There is no such file of keys", { where: "--database", got: database, hint: '"longjing keys create NAME" makes one' });
}

async function withAccounts(options: Common, use: (accounts: SqliteAccounts) => void): Promise<void> {
  const { openAccounts } = await import("../serve/index.ts");
  const accounts = await openAccounts(databasePath(options.database));
  try {
    use(accounts);
  } finally {
    accounts.close();
  }
}
