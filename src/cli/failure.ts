import { CommanderError } from "commander";
import { LongjingError } from "../errors/index.ts";
import { exitCodeOf, exitCodes } from "./exit-codes.ts";
import type { Terminal } from "./terminal.ts";

/** Tells a failure as one block on stderr, or as one JSON line, and returns the exit code. */
export function reportFailure(error: unknown, terminal: Terminal, json: boolean): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : exitCodes.input; // commander has spoken
  if (json) {
    terminal.note(`${JSON.stringify({ error: jsonOf(error) })}\n`);
  } else {
    const { red, bold } = terminal.noteColors;
    terminal.note(`${red(bold("error"))} ${LongjingError.is(error) ? block(error) : defect(error)}\n`);
  }
  return LongjingError.is(error) ? exitCodeOf(error.code) : exitCodes.defect;
}

/** The message with each fact on a line of its own. */
function block(error: LongjingError): string {
  const { hint } = error.facts;
  const facts = hint === undefined ? error.message : error.message.slice(0, -`; ${hint}`.length);
  const lines = facts.replace(/; (where|got|expected): /g, (_, name: string) => `\n  ${`${name}:`.padEnd(10)}`);
  return hint === undefined ? lines : `${lines}\n  ${hint}`;
}

function defect(error: unknown): string {
  return `Longjing failed in a way that it did not foresee: please report this.\n${error instanceof Error ? error.stack : String(error)}`;
}

function jsonOf(error: unknown): object {
  if (LongjingError.is(error)) return { code: error.code, message: error.message, ...error.facts };
  return { code: "defect", message: error instanceof Error ? error.message : String(error) };
}
