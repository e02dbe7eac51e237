import { chmodSync, mkdirSync } from "node:fs";
import { dirname } from "node:path";
import type { Database, Statement } from "libsql";
import { LongjingError } from "../errors/index.ts";
import { generateKey, type KeyTerms, type StoredKey } from "./keys.ts";

/** Tokens and what they cost. */
export interface Usage {
  readonly prompt_tokens: number;
  /** Of the prompt, those that came from the prefix cache. */
  readonly cached_tokens: number;
  readonly completion_tokens: number;
  /** In 1e-12 USD, a whole number. */
  readonly cost: number;
}

/** One line of the ledger. */
export interface UsageEntry extends Usage {
  /** Unix time in milliseconds. */
  readonly time: number;
  readonly request: string;
  /** Id of the key, or null for a request without one. */
  readonly key: string | null;
  readonly model: string;
}

/** What a server needs of the database of keys and usage. */
export interface Accounts {
  /** Whether requests need a key: once a key has been made they do, even when all are revoked. */
  asksForKeys(): boolean;
  key(id: string): StoredKey | undefined;
  /** What has been used with a key, from its creation on. */
  used(id: string): Usage;
  /**
   * Adds to the ledger; when it returns, the entry outlives the process.
   * @throws LongjingError "disk"; the entry is then kept, and written before the next
   */
  record(entry: UsageEntry): void;
  /** Writes what could not be written before. @throws LongjingError "disk" */
  flush(): void;
  close(): void;
}

const schemaVersion = 1;

const schema = `
CREATE TABLE keys (
  id TEXT PRIMARY KEY, name TEXT NOT NULL, hash BLOB NOT NULL, created INTEGER NOT NULL, revoked INTEGER,
  requests_per_minute INTEGER, tokens_per_minute INTEGER, max_concurrency INTEGER, quota_tokens INTEGER, quota_usd REAL,
  input_price REAL NOT NULL, cached_input_price REAL NOT NULL, output_price REAL NOT NULL
) STRICT;
CREATE TABLE usage (
  time INTEGER NOT NULL, request TEXT NOT NULL, key TEXT, model TEXT NOT NULL,
  prompt_tokens INTEGER NOT NULL, cached_tokens INTEGER NOT NULL, completion_tokens INTEGER NOT NULL, cost INTEGER NOT NULL
) STRICT;
CREATE TABLE totals (
  key TEXT PRIMARY KEY, prompt_tokens INTEGER NOT NULL, cached_tokens INTEGER NOT NULL, completion_tokens INTEGER NOT NULL, cost INTEGER NOT NULL
) STRICT;
CREATE TRIGGER total AFTER INSERT ON usage WHEN NEW.key IS NOT NULL BEGIN
  INSERT INTO totals VALUES (NEW.key, NEW.prompt_tokens, NEW.cached_tokens, NEW.completion_tokens, NEW.cost)
  ON CONFLICT (key) DO UPDATE SET
    prompt_tokens = prompt_tokens + NEW.prompt_tokens, cached_tokens = cached_tokens + NEW.cached_tokens,
    completion_tokens = completion_tokens + NEW.completion_tokens, cost = cost + NEW.cost;
END;
PRAGMA user_version = ${schemaVersion};
`;

const terms = ["requests_per_minute", "tokens_per_minute", "max_concurrency", "quota_tokens", "quota_usd", "input_price", "cached_input_price", "output_price"] as const;

/**
 * Keys and the ledger of usage in one SQLite file, made where it is not there. The file is shared: what `longjing keys` does a
 * running server sees with its next request.
 * @throws LongjingError "disk", "bad_file"; "unsupported" where libsql has no library for this platform
 */
export async function openAccounts(path: string): Promise<SqliteAccounts> {
  const { default: Sqlite } = await import("libsql").catch((cause: Error) => {
    throw new LongjingError("unsupported", "Keys and usage need libsql, which cannot be loaded", { got: cause.message, expected: "its package for this platform, which npm installs", hint: "npm install libsql" }, { cause });
  });
  try {
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
    const database = new Sqlite(path);
    chmodSync(path, 0o600);
    // A commit in a write-ahead log that is not synchronised survives the process, and the log is never torn. It is
    // synchronised before it is copied into the file: what a power failure may take is the last moments.
    for (const pragma of ["busy_timeout = 5000", "journal_mode = WAL", "synchronous = NORMAL"]) database.pragma(pragma);
    database.transaction(() => prepareSchema(database, path)).immediate();
    return new SqliteAccounts(database, path);
  } catch (cause) {
    if (LongjingError.is(cause)) throw cause;
    throw failed("The database of keys and usage cannot be opened", path, cause);
  }
}

function prepareSchema(database: Database, path: string): void {
  const [row] = database.pragma("user_version") as [{ user_version: number }];
  if (row.user_version === schemaVersion) return;
  if (row.user_version !== 0) throw new LongjingError("bad_file", "The database is of another version of Longjing", { where: path, got: row.user_version, expected: schemaVersion });
  database.exec(schema);
}

function failed(message: string, where: string, cause: unknown): LongjingError {
  return new LongjingError("disk", message, { where, got: cause instanceof Error ? cause.message : String(cause) }, { cause });
}

export class SqliteAccounts implements Accounts {
  readonly #database: Database;
  readonly #path: string;
  readonly #insert: Statement;
  readonly #find: Statement;
  readonly #total: Statement;
  readonly #any: Statement;
  /** Entries that the file would not take. */
  #pending: UsageEntry[] = [];

  constructor(database: Database, path: string) {
    this.#database = database;
    this.#path = path;
    this.#insert = database.prepare("INSERT INTO usage VALUES (?, ?, ?, ?, ?, ?, ?, ?)");
    this.#find = database.prepare("SELECT * FROM keys WHERE id = ?");
    this.#total = database.prepare("SELECT prompt_tokens, cached_tokens, completion_tokens, cost FROM totals WHERE key = ?");
    this.#any = database.prepare("SELECT 1 FROM keys LIMIT 1");
  }

  asksForKeys(): boolean {
    return this.#any.get() !== undefined;
  }

  key(id: string): StoredKey | undefined {
    const row = this.#find.get(id);
    return row === undefined ? undefined : storedKey(row as StoredKey);
  }

  used(id: string): Usage {
    const row = this.#total.get(id) as Usage | undefined;
    const { prompt_tokens, cached_tokens, completion_tokens, cost } = row ?? { prompt_tokens: 0, cached_tokens: 0, completion_tokens: 0, cost: 0 };
    return { prompt_tokens, cached_tokens, completion_tokens, cost };
  }

  record(entry: UsageEntry): void {
    this.#pending.push(entry);
    this.flush();
  }

  flush(): void {
    if (this.#pending.length === 0) return;
    try {
      this.#database.transaction(() => {
        for (const e of this.#pending) this.#insert.run(e.time, e.request, e.key, e.model, e.prompt_tokens, e.cached_tokens, e.completion_tokens, e.cost);
      })();
    } catch (cause) {
      throw failed("The usage cannot be written down", this.#path, cause);
    }
    this.#pending = [];
  }

  /**
   * Makes a key and returns it: it is not stored and cannot be shown again.
   * @throws LongjingError "conflict" for a name in use, or the id of another key; "bad_argument" for one that no list could show
   */
  create(name: string, given: KeyTerms, now: number): string {
    if (!/^[^\s\p{C}](?:[^\p{C}\p{Zl}\p{Zp}]{0,98}[^\s\p{C}])?$/u.test(name)) throw new LongjingError("bad_argument", "A key's name is one line that can be read", { where: "name", got: name, expected: "1 to 100 characters, without spaces at its ends or control characters" });
    if (this.list().some(({ id, revoked, ...key }) => id === name || (revoked === null && key.name === name))) throw new LongjingError("conflict", "A key of this name is in use", { where: "name", got: name });
    const { id, key, hash } = generateKey();
    this.#database
      .prepare(`INSERT INTO keys (id, name, hash, created, ${terms.join(", ")}) VALUES (?, ?, ?, ?, ${terms.map(() => "?").join(", ")})`)
      .run(id, name, hash, now, ...terms.map((term) => given[term]));
    return key;
  }

  /** All keys, revoked ones too, oldest first. */
  list(): StoredKey[] {
    return (this.#database.prepare("SELECT * FROM keys ORDER BY created, rowid").all() as StoredKey[]).map(storedKey);
  }

  /** Ends a key, by its id or its name. @throws LongjingError "not_found" */
  revoke(key: string, now: number): StoredKey {
    const found = this.list().find(({ id, name, revoked }) => revoked === null && (id === key || name === key));
    if (found === undefined) throw new LongjingError("not_found", "There is no such key in use", { where: "key", got: key });
    this.#database.prepare("UPDATE keys SET revoked = ? WHERE id = ?").run(now, found.id);
    return { ...found, revoked: now };
  }

  close(): void {
    this.#database.close();
  }
}

function storedKey(row: StoredKey): StoredKey {
  const { id, name, hash, created, revoked } = row;
  return { id, name, hash: new Uint8Array(hash), created, revoked, ...(Object.fromEntries(terms.map((term) => [term, row[term]])) as unknown as KeyTerms) };
}
