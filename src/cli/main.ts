import { reportFailure } from "./failure.ts";
import { createProgram } from "./program.ts";
import { openTerminal } from "./terminal.ts";

// A reader that has seen enough (`longjing doctor | head -1`) closes the pipe: that is no failure.
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  if (error.code !== "EPIPE") throw error;
  process.exit(0);
});

try {
  await createProgram().parseAsync();
} catch (error) {
  process.exitCode = reportFailure(error, openTerminal(), process.argv.includes("--json"));
}
