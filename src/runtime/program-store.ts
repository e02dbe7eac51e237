import { createHash, randomUUID } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { mkdir, readdir, rename, rm, stat, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { LoweredProgram, ProgramStore } from "./backend.ts";
import { cacheFolder } from "./ort-library.ts";

/** Bytes of the programs that are kept, those used last. */
const defaultBytes = 2 ** 27;

/**
 * Lowered programs in the user's cache. A file is named by the digest of its key and of the code that has made it, so that another
 * version's are never taken; a file that is not whole counts as none. Somebody's home that cannot be written to keeps nothing.
 */
export function programStore(folder: string = join(cacheFolder(), "programs"), mostBytes: number = defaultBytes): ProgramStore {
  const pathOf = (key: string): string => join(folder, `${createHash("sha256").update(codeDigest()).update(key).digest("hex").slice(0, 32)}.bin`);
  return {
    read(key) {
      const path = pathOf(key);
      try {
        const program = parse(readFileSync(path));
        void utimes(path, new Date(), new Date()).catch(ifOfTheSystem);
        return program;
      } catch (error) {
        return ifOfTheSystem(error);
      }
    },
    async write(key, program) {
      try {
        await mkdir(folder, { recursive: true });
        const [path, scratch] = [pathOf(key), join(folder, `${randomUUID()}.part`)];
        await writeFile(scratch, serialized(program));
        await rename(scratch, path);
        await dropOldest(folder, mostBytes);
      } catch (error) {
        ifOfTheSystem(error);
      }
    },
  };
}

// A file: the digest of all that follows it; the length of the head in four bytes; the head, as JSON; the model.
const digestBytes = 32;

function serialized({ model, ...rest }: LoweredProgram): Uint8Array {
  const head = Buffer.from(JSON.stringify(rest));
  const length = Buffer.alloc(4);
  length.writeUInt32LE(head.length);
  const body = Buffer.concat([length, head, model]);
  return Buffer.concat([digestOf(body), body]);
}

function parse(bytes: Buffer): LoweredProgram | null {
  const body = bytes.subarray(digestBytes);
  if (!digestOf(body).equals(bytes.subarray(0, digestBytes))) return null;
  const end = 4 + body.readUInt32LE();
  return { ...(JSON.parse(body.toString("utf8", 4, end)) as Omit<LoweredProgram, "model">), model: body.subarray(end) };
}

const digestOf = (bytes: Uint8Array): Buffer => createHash("sha256").update(bytes).digest();

let code: string | undefined;

/** Of all that says what a program is: the layers from tensors to the engine, as they run. */
function codeDigest(): string {
  if (code !== undefined) return code;
  const hash = createHash("sha256");
  for (const layer of ["engine", "model", "nn", "onnx", "runtime", "tensor"]) {
    const folder = fileURLToPath(new URL(`../${layer}/`, import.meta.url));
    for (const name of readdirSync(folder, { recursive: true, encoding: "utf8" }).sort()) if (/(?<!\.test)\.[jt]s$/.test(name)) hash.update(name).update(readFileSync(join(folder, name)));
  }
  return (code = hash.digest("hex"));
}

async function dropOldest(folder: string, mostBytes: number): Promise<void> {
  const files = await Promise.all((await readdir(folder)).map(async (name) => ({ path: join(folder, name), ...(await stat(join(folder, name))) })));
  let left = mostBytes;
  for (const { path, size } of files.toSorted((a, b) => b.mtimeMs - a.mtimeMs)) if ((left -= size) < 0) await rm(path, { force: true });
}

/** What the system does not allow, or another process has taken away, is as good as absent. */
function ifOfTheSystem(error: unknown): null {
  if ((error as NodeJS.ErrnoException).code === undefined) throw error;
  return null;
}
