import { createHash, randomBytes, timingSafeEqual } from "node:crypto";

/** What a key may do, and what its tokens cost. Null is no limit. */
export interface KeyTerms {
  readonly requests_per_minute: number | null;
  /** Prompt and completion tokens together. */
  readonly tokens_per_minute: number | null;
  /** Requests at once. */
  readonly max_concurrency: number | null;
  /** Tokens in all, from the creation of the key on. */
  readonly quota_tokens: number | null;
  /** USD in all. */
  readonly quota_usd: number | null;
  /** USD per million tokens of prompt that were computed, of prompt that came from the cache, and of completion. */
  readonly input_price: number;
  readonly cached_input_price: number;
  readonly output_price: number;
}

export interface ApiKey extends KeyTerms {
  /** Public: it begins the key and names it in logs and metrics. */
  readonly id: string;
  readonly name: string;
}

/** A key as it is stored: of the secret only its hash. */
export interface StoredKey extends ApiKey {
  /** Unix time in milliseconds. */
  readonly created: number;
  readonly revoked: number | null;
  /** SHA-256 of the whole key. 256 random bits need no slower hash. */
  readonly hash: Uint8Array;
}

export const freeTerms: KeyTerms = {
  requests_per_minute: null,
  tokens_per_minute: null,
  max_concurrency: null,
  quota_tokens: null,
  quota_usd: null,
  input_price: 0,
  cached_input_price: 0,
  output_price: 0,
};

/** The operator's, given by `--api-key`. No key that is made has such an id. */
export const serverKey: ApiKey = { id: "server", name: "--api-key", ...freeTerms };

/** A new key, `lj-ID-SECRET`: the only time that it is whole. */
export function generateKey(): { readonly id: string; readonly key: string; readonly hash: Uint8Array } {
  const id = randomBytes(5).toString("hex");
  const key = `lj-${id}-${randomBytes(32).toString("base64url")}`;
  return { id, key, hash: hashOf(key) };
}

/** The id in a key, or null for a text that is no key of ours. */
export function keyId(text: string): string | null {
  return /^lj-([0-9a-f]{10})-[\w-]{43}$/.exec(text)?.[1] ?? null;
}

const nobody = Buffer.alloc(32);

/** Whether `text` is the key with this hash; takes the same time whatever the answer. */
export function isKey(text: string, hash: Uint8Array | undefined): boolean {
  return timingSafeEqual(hashOf(text), hash ?? nobody);
}

function hashOf(text: string): Buffer {
  return createHash("sha256").update(text).digest();
}

/** Whether two secrets are one; takes the same time wherever they differ. */
export function sameSecret(a: string, b: string): boolean {
  return timingSafeEqual(hashOf(a), hashOf(b));
}

/** What tokens cost, in 1e-12 USD: a whole number, so that sums are exact. */
export function costOf(terms: KeyTerms, usage: { readonly prompt_tokens: number; readonly cached_tokens: number; readonly completion_tokens: number }): number {
  const perToken = (usdPerMillion: number): number => Math.round(usdPerMillion * 1e6);
  return (
    (usage.prompt_tokens - usage.cached_tokens) * perToken(terms.input_price) +
    usage.cached_tokens * perToken(terms.cached_input_price) +
    usage.completion_tokens * perToken(terms.output_price)
  );
}
