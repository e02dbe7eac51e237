import type { ErrorCode } from "../errors/index.ts";

/** What the process says to a script. 0 is success; 128 + N is the signal N that ended it. */
export const exitCodes = {
  /** A defect of ours. */
  defect: 1,
  /** The command line, a file, a configuration or a model is not acceptable. */
  input: 2,
  /** Something exists that would be overwritten, a lock is held, a port is in use. */
  conflict: 3,
  /** The machine: disk, memory, network, the execution provider. */
  machine: 4,
} as const;

export const exitCodesHelp = `
Exit codes: 0 success · 1 defect · 2 bad arguments, file, configuration or model · 3 something is in the way (port, lock,
existing folder) · 4 the machine (disk, memory, network, execution provider) · 130 interrupted (SIGINT),
143 terminated (SIGTERM); a training run has then saved its last step`;

export function exitCodeOf(code: ErrorCode): number {
  switch (code) {
    case "conflict":
      return exitCodes.conflict;
    case "disk":
    case "network":
    case "busy":
    case "runtime":
      return exitCodes.machine;
    case "bad_argument":
    case "bad_file":
    case "bad_config":
    case "unsupported":
    case "not_found":
    case "shape_mismatch":
    case "too_large":
      return exitCodes.input;
  }
}
