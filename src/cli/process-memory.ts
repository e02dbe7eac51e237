import { totalmem } from "node:os";

/** Bytes that this process may have: the machine's, or what its container grants. */
export function processMemory(): number {
  const limit = process.constrainedMemory();
  return Math.min(totalmem(), limit > 0 ? limit : Infinity);
}
