import { LongjingError } from "../errors/index.ts";

/** Bytes at random offsets: a file, or memory. */
export interface ByteSource {
  /** Names the source in messages: a path. */
  readonly label: string;
  /** In bytes. */
  readonly size: number;
  /**
   * Fills `target` from `offset`.
   * @throws LongjingError "bad_file" when the source ends before.
   */
  readInto(target: Uint8Array, offset: number): Promise<void>;
  /** Of a file: what the system calls it until it is closed. */
  readonly descriptor?: number | undefined;
  close(): Promise<void>;
  /** Of a file that has been closed. @throws LongjingError "not_found"; "bad_file" where it is another one now */
  readonly reopen?: () => Promise<void>;
}

/** A source over memory. */
export function bytesSource(bytes: Uint8Array, label: string): ByteSource {
  return {
    label,
    size: bytes.byteLength,
    readInto: async (target, offset) => {
      if (offset + target.byteLength > bytes.byteLength)
        throw endsEarly(label, bytes.byteLength, offset + target.byteLength);
      target.set(bytes.subarray(offset, offset + target.byteLength));
    },
    close: async () => {},
  };
}

export function endsEarly(label: string, size: number, needed: number): LongjingError {
  return new LongjingError("bad_file", "The file ends early", {
    got: `${size} bytes`,
    expected: `${needed} bytes or more`,
    where: label,
    hint: "It is truncated: copy or download it again.",
  });
}
