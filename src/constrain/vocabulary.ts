import { LongjingError } from "../errors/index.ts";

/**
 * A vocabulary's tokens as a trie of their bytes, its nodes numbered in the order of a walk from the root: a subtree is a
 * range of numbers.
 */
export interface Vocabulary {
  readonly size: number;
  /** Bytes of each token; null for one that stands for no text. */
  readonly tokens: readonly (Uint8Array | null)[];
  /** Byte that leads to each node; node 0 is the root. [nodes] */
  readonly byte: Uint8Array;
  /** [nodes] */
  readonly depth: Uint16Array;
  /** First node after each node's subtree. [nodes] */
  readonly after: Int32Array;
  /** Tokens of node n are entries tokensFrom[n] to tokensFrom[n + 1] of `tokenIds`. [nodes + 1] */
  readonly tokensFrom: Int32Array;
  readonly tokenIds: Int32Array;
  readonly maxDepth: number;
  /** 1 for bytes that are a token by themselves: what can be written whatever else is missing. [256] */
  readonly single: Uint8Array;
}

const longestToken = 0xffff;

/** @param tokens bytes of each token by id; null for a token that stands for no text, as end-of-sequence does */
export function createVocabulary(tokens: readonly (Uint8Array | null)[]): Vocabulary {
  const used = tokens.flatMap((bytes, id) => (bytes === null || bytes.length === 0 ? [] : [{ id, bytes }])).sort((a, b) => compareBytes(a.bytes, b.bytes) || a.id - b.id);
  let total = 1;
  for (const { bytes } of used) total += bytes.length;
  const byte = new Uint8Array(total);
  const depth = new Uint16Array(total);
  const after = new Int32Array(total);
  const counts = new Int32Array(total + 1);
  const single = new Uint8Array(256);
  const path = [0]; // nodes from the root to the last token
  let nodes = 1;
  let previous: Uint8Array = new Uint8Array();
  let maxDepth = 0;
  for (const { id, bytes } of used) {
    if (bytes.length > longestToken) throw new LongjingError("unsupported", "A token is too long", { got: `${bytes.length} bytes`, expected: `at most ${longestToken}`, where: `token ${id}` });
    let shared = 0;
    while (shared < previous.length && previous[shared] === bytes[shared]) shared++;
    while (path.length > shared + 1) after[path.pop() as number] = nodes;
    for (let i = shared; i < bytes.length; i++) {
      byte[nodes] = bytes[i] as number;
      depth[nodes] = i + 1;
      path.push(nodes++);
    }
    const node = path.at(-1) as number;
    counts[node + 1] = (counts[node + 1] as number) + 1;
    if (bytes.length === 1) single[bytes[0] as number] = 1;
    maxDepth = Math.max(maxDepth, bytes.length);
    previous = bytes;
  }
  for (const node of path) after[node] = nodes;
  for (let n = 0; n < nodes; n++) counts[n + 1] = (counts[n + 1] as number) + (counts[n] as number);
  return {
    size: tokens.length,
    tokens,
    byte: byte.slice(0, nodes),
    depth: depth.slice(0, nodes),
    after: after.slice(0, nodes),
    tokensFrom: counts.slice(0, nodes + 1),
    // Sorted by bytes is sorted by node.
    tokenIds: Int32Array.from(used, ({ id }) => id),
    maxDepth,
    single,
  };
}

function compareBytes(a: Uint8Array, b: Uint8Array): number {
  const length = Math.min(a.length, b.length);
  for (let i = 0; i < length; i++) if (a[i] !== b[i]) return (a[i] as number) - (b[i] as number);
  return a.length - b.length;
}
