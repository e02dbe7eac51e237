/** Bytes of a file from an offset on: fewer than asked for at its end. */
export type ReadAt = (offset: number, length: number) => Promise<Uint8Array>;

/** Longer JSON is not parsed for this: a tokenizer with everything in it has some 30 MB. */
const mostJsonBytes = 2 ** 26;
/** No error that a server answers with is longer. */
const longestError = 2 ** 16;

/**
 * Why a file of `size` bytes is not what its path promises, or null. What no digest vouches for must at least not be the page of a
 * proxy or a log-in, nor the error of a server.
 */
export async function contentFault(path: string, size: number, read: ReadAt): Promise<string | null> {
  if (size <= longestError && isError(await read(0, size))) return "an error as JSON";
  if (path.endsWith(".json")) return size > mostJsonBytes || isJson(await read(0, size)) ? null : "no JSON";
  if (path.endsWith(".safetensors")) return (await isSafetensors(size, read)) ? null : "no safetensors header";
  if (path.endsWith(".gguf")) return new TextDecoder().decode(await read(0, 4)) === "GGUF" ? null : "no GGUF header";
  // A template may begin with a tag of its model's, a card with one of HTML's.
  return !/\.(?:jinja|md)$/.test(path) && (await firstCharacter(size, read)) === "<" ? "a page" : null;
}

function parsed(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch {
    return undefined; // which no JSON text stands for
  }
}

const isJson = (bytes: Uint8Array): boolean => parsed(bytes) !== undefined;

function isError(bytes: Uint8Array): boolean {
  const value = parsed(bytes);
  return typeof value === "object" && value !== null && Object.keys(value).join() === "error";
}

/** The length of the header, and the object that it is. */
async function isSafetensors(size: number, read: ReadAt): Promise<boolean> {
  const start = await read(0, 9);
  if (start.length < 9) return false;
  const length = new DataView(start.buffer, start.byteOffset).getBigUint64(0, true);
  return length <= BigInt(size - 8) && start[8] === "{".charCodeAt(0);
}

const pieceBytes = 2 ** 16;

/** The first character that is no white space and no byte order mark; undefined without one. */
async function firstCharacter(size: number, read: ReadAt): Promise<string | undefined> {
  for (let offset = 0; offset < size; offset += pieceBytes) {
    const [character] = new TextDecoder("latin1").decode(await read(offset, pieceBytes)).replace(offset === 0 ? /^\u00ef\u00bb\u00bf/ : "", "").trimStart();
    if (character !== undefined) return character;
  }
  return undefined;
}
