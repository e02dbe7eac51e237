import { mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import Sqlite from "libsql";
import { afterAll, expect, test } from "vitest";
import { openAccounts, SqliteAccounts, type UsageEntry } from "./accounts.ts";
import { costOf, freeTerms, isKey, keyId } from "./keys.ts";

const dir = mkdtempSync(join(tmpdir(), "longjing-accounts-"));
afterAll(() => rmSync(dir, { recursive: true, force: true }));
let files = 0;
const newFile = (): string => join(dir, `${files++}`, "server.db");

const entry = (key: string | null, completion_tokens = 1): UsageEntry => ({ time: 1, request: "r", key, model: "m", prompt_tokens: 3, cached_tokens: 2, completion_tokens, cost: 7 });

test("a key is found by its id and known by its hash; the file and its log never hold it", async () => {
  const path = newFile();
  const accounts = await openAccounts(path);
  expect(accounts.asksForKeys()).toBe(false);
  const key = accounts.create("alice", { ...freeTerms, requests_per_minute: 5, quota_usd: 0.25 }, 1000);
  const stored = accounts.key(keyId(key)!)!;
  expect(stored).toMatchObject({ name: "alice", created: 1000, revoked: null, requests_per_minute: 5, tokens_per_minute: null, quota_usd: 0.25 });
  expect(isKey(key, stored.hash)).toBe(true);
  expect(isKey(`${key.slice(0, -1)}${key.endsWith("A") ? "B" : "A"}`, stored.hash)).toBe(false);
  expect(isKey(key, undefined)).toBe(false);
  const secret = key.split("-").slice(2).join("-");
  for (const name of [path, `${path}-wal`]) expect(readFileSync(name).includes(secret.slice(0, 12))).toBe(false);
  if (process.platform !== "win32") expect(statSync(path).mode & 0o77).toBe(0);
  accounts.close();
});

test("what one process does with keys another sees at once, and a revoked key stays a key", async () => {
  const path = newFile();
  const [server, command] = [await openAccounts(path), await openAccounts(path)];
  const id = keyId(command.create("bob", freeTerms, 1))!;
  expect(server.key(id)?.revoked).toBeNull();
  expect(() => command.create("bob", freeTerms, 2)).toThrow(expect.objectContaining({ code: "conflict" }));
  expect(command.revoke("bob", 5).id).toBe(id);
  expect(server.key(id)?.revoked).toBe(5);
  expect(server.asksForKeys()).toBe(true);
  expect(() => command.revoke(id, 6)).toThrow(expect.objectContaining({ code: "not_found" }));
  command.create("bob", freeTerms, 7);
  for (const accounts of [server, command]) accounts.close();
});

test("a key's name can be read, and means no other key", async () => {
  const accounts = await openAccounts(newFile());
  const create = (name: string): string => keyId(accounts.create(name, freeTerms, 1))!;
  for (const name of ["", " ", " a", "a\nb", "\u001B[31m", "a\u2028b", "x".repeat(101)]) expect(() => create(name)).toThrow(expect.objectContaining({ code: "bad_argument" }));
  const id = create("王 & 李");
  expect(() => create(id)).toThrow(expect.objectContaining({ code: "conflict" }));
  expect(accounts.list().map(({ name }) => name)).toEqual(["王 & 李"]);
  accounts.close();
});

test("the sums of a key are those of its entries, whatever was recorded", async () => {
  const path = newFile();
  const accounts = await openAccounts(path);
  const counts = fc.record({ key: fc.constantFrom("a", "b", null), prompt_tokens: fc.nat(1e6), cached_tokens: fc.nat(1e6), completion_tokens: fc.nat(1e6), cost: fc.nat(1e9) });
  const all: UsageEntry[] = [];
  fc.assert(
    fc.property(fc.array(counts, { maxLength: 20 }), (more) => {
      for (const counted of more) {
        const added = { time: 1, request: "r", model: "m", ...counted };
        all.push(added);
        accounts.record(added);
      }
      for (const key of ["a", "b"]) {
        const sum = (field: "prompt_tokens" | "cached_tokens" | "completion_tokens" | "cost") => all.filter((e) => e.key === key).reduce((total, e) => total + e[field], 0);
        expect(accounts.used(key)).toEqual({ prompt_tokens: sum("prompt_tokens"), cached_tokens: sum("cached_tokens"), completion_tokens: sum("completion_tokens"), cost: sum("cost") });
      }
    }),
    { numRuns: 30 },
  );
  accounts.close();
});

test("on a full disk nothing is lost: an entry that cannot be written says so, and is written when there is room", async () => {
  const path = newFile();
  (await openAccounts(path)).close();
  const database = new Sqlite(path);
  const accounts = new SqliteAccounts(database, path);
  const [{ page_count }] = database.pragma("page_count") as [{ page_count: number }];
  database.pragma(`max_page_count = ${page_count}`);
  let recorded = 0;
  const record = (): void => {
    recorded++;
    accounts.record(entry("k", recorded));
  };
  expect(() => {
    for (let i = 0; i < 10_000; i++) record();
  }).toThrow(expect.objectContaining({ code: "disk" }));
  expect(() => accounts.flush()).toThrow(expect.objectContaining({ code: "disk" }));
  database.pragma("max_page_count = 1073741823");
  accounts.flush();
  expect(accounts.used("k")).toEqual({ prompt_tokens: 3 * recorded, cached_tokens: 2 * recorded, completion_tokens: (recorded * (recorded + 1)) / 2, cost: 7 * recorded });
  accounts.close();
});

test("a file of another version is not touched", async () => {
  const path = newFile();
  (await openAccounts(path)).close();
  const database = new Sqlite(path);
  database.pragma("user_version = 99");
  database.close();
  await expect(openAccounts(path)).rejects.toMatchObject({ code: "bad_file" });
});

test("costs are whole, add up, and charge each token once", () => {
  const price = fc.integer({ min: 0, max: 1e6 }).map((millionths) => millionths / 1000);
  const usage = fc.record({ prompt_tokens: fc.nat(1e5), completion_tokens: fc.nat(1e5), share: fc.double({ min: 0, max: 1, noNaN: true }) }).map(({ share, ...u }) => ({ ...u, cached_tokens: Math.floor(share * u.prompt_tokens) }));
  fc.assert(
    fc.property(price, price, price, usage, usage, (input_price, cached_input_price, output_price, a, b) => {
      const terms = { ...freeTerms, input_price, cached_input_price, output_price };
      const both = { prompt_tokens: a.prompt_tokens + b.prompt_tokens, cached_tokens: a.cached_tokens + b.cached_tokens, completion_tokens: a.completion_tokens + b.completion_tokens };
      expect(Number.isInteger(costOf(terms, a))).toBe(true);
      expect(costOf(terms, both)).toBe(costOf(terms, a) + costOf(terms, b));
      const usd = ((a.prompt_tokens - a.cached_tokens) * input_price + a.cached_tokens * cached_input_price + a.completion_tokens * output_price) / 1e6;
      expect(costOf(terms, a) / 1e12).toBeCloseTo(usd, 9);
    }),
  );
});
