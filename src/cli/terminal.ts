import picocolors from "picocolors";

type Colors = ReturnType<typeof picocolors.createColors>;

/** Where a command writes. `out` is for results, `note` for people; only `out` is read by machines. */
export interface Terminal {
  /** A person watches stderr: lines may be redrawn. */
  readonly interactive: boolean;
  /** Colours for `out`, and for `note`: each only where it is a terminal that wants them. */
  readonly colors: Colors;
  readonly noteColors: Colors;
  out(text: string): void;
  note(text: string): void;
}

export interface Streams {
  readonly stdout: { readonly isTTY?: boolean; write(text: string): unknown };
  readonly stderr: { readonly isTTY?: boolean; write(text: string): unknown };
  readonly env: Readonly<Record<string, string | undefined>>;
}

/** NO_COLOR and FORCE_COLOR as no-color.org and Node have them; under CI nothing is redrawn. */
export function openTerminal({ stdout, stderr, env }: Streams = process): Terminal {
  const forced = env.FORCE_COLOR !== undefined && env.FORCE_COLOR !== "0";
  const colored = (isTTY: boolean | undefined): boolean => !env.NO_COLOR && env.TERM !== "dumb" && (forced || isTTY === true);
  return {
    interactive: stderr.isTTY === true && !env.CI && env.TERM !== "dumb",
    colors: picocolors.createColors(colored(stdout.isTTY)),
    noteColors: picocolors.createColors(colored(stderr.isTTY)),
    out: (text) => void stdout.write(text),
    note: (text) => void stderr.write(text),
  };
}
