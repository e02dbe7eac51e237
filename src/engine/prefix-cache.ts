interface Block {
  readonly id: number;
  readonly key: string;
  readonly data: Float32Array;
}

/** What is not written yet of a piece of memory takes none. */
const pieceBytes = 2 ** 25;

export interface PrefixCacheOptions {
  /** Tokens in a block. */
  readonly block_size: number;
  /** Numbers that the cache holds for one token. */
  readonly floatsPerToken: number;
  /** Memory that blocks may take. */
  readonly bytes: number;
}

/**
 * Keys and values of token sequences that were computed before, in blocks. A block is named by the block before it and its own
 * tokens, the first by its namespace and its tokens: equal names mean equal prefixes, with no hash that could collide. Of all
 * blocks the one that was used longest ago goes first; a block is never younger than the one before it, so no chain breaks.
 */
export class PrefixCache {
  readonly block_size: number;
  readonly #capacity: number;
  readonly #floats: number;
  /** Least recently used first. */
  readonly #blocks = new Map<string, Block>();
  #free: Float32Array[] = [];
  /** Blocks that there is memory for. */
  #made = 0;
  #ids = 0;

  constructor({ block_size, floatsPerToken, bytes }: PrefixCacheOptions) {
    this.block_size = block_size;
    this.#floats = block_size * floatsPerToken;
    this.#capacity = Math.floor(bytes / (this.#floats * Float32Array.BYTES_PER_ELEMENT));
  }

  get blocks(): number {
    return this.#blocks.size;
  }

  /** Data of the longest cached prefix of `tokens`, block after block. */
  match(namespace: string, tokens: readonly number[]): Float32Array[] {
    const found = this.#chain(namespace, tokens, () => null);
    this.#touch(found);
    return found.map(({ data }) => data);
  }

  /** Keeps the whole blocks of `tokens`; `read(start, into)` fills a block with those from token `start` on. */
  store(namespace: string, tokens: readonly number[], read: (start: number, into: Float32Array) => void): void {
    const chain = this.#chain(namespace, tokens.slice(0, this.#capacity * this.block_size), (key, start) => {
      const data = this.#take();
      read(start, data);
      return { id: this.#ids++, key, data };
    });
    this.#touch(chain);
  }

  /** Forgets everything: the parameters have changed. */
  clear(): void {
    for (const { data } of this.#blocks.values()) this.#free.push(data);
    this.#blocks.clear();
  }

  /** The blocks of a prefix; `absent` may make one that is missing. */
  #chain(namespace: string, tokens: readonly number[], absent: (key: string, start: number) => Block | null): Block[] {
    const chain: Block[] = [];
    let parent = JSON.stringify(namespace); // begins with a quote, which no id does
    for (let start = 0; start + this.block_size <= tokens.length; start += this.block_size) {
      const key = `${parent} ${tokens.slice(start, start + this.block_size).join()}`;
      // To be the youngest while the chain grows keeps it from being dropped to make room for its own end.
      const block = this.#blocks.get(key) ?? absent(key, start);
      if (!block) break;
      this.#renew(block);
      chain.push(block);
      parent = String(block.id);
    }
    return chain;
  }

  /** Makes a chain the youngest, its first block most of all. */
  #touch(chain: readonly Block[]): void {
    for (const block of chain.toReversed()) this.#renew(block);
  }

  #renew(block: Block): void {
    this.#blocks.delete(block.key);
    this.#blocks.set(block.key, block);
  }

  #take(): Float32Array {
    if (this.#blocks.size >= this.#capacity) {
      const [oldest] = this.#blocks.values();
      this.#blocks.delete(oldest!.key);
      return oldest!.data;
    }
    if (this.#free.length === 0) this.#make();
    return this.#free.pop()!;
  }

  /** Memory for many blocks at once: V8 looks for garbage after so many bytes of new arrays, for as long as a step takes. */
  #make(): void {
    const count = Math.min(this.#capacity - this.#made, Math.max(1, Math.floor(pieceBytes / (this.#floats * Float32Array.BYTES_PER_ELEMENT))));
    const piece = new Float32Array(count * this.#floats);
    for (let i = count - 1; i >= 0; i--) this.#free.push(piece.subarray(i * this.#floats, (i + 1) * this.#floats));
    this.#made += count;
  }
}
