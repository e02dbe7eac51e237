import { reportFailure } from "./failure.ts";
import { createProgram } from "./program.ts";
import { openTerminal } from "./terminal.ts";

try {
  await createProgram().parseAsync();
} catch (error) {
  process.exitCode = reportFailure(error, openTerminal(), process.argv.includes("--json"));
}
