// npm test [-- vitest's arguments]: installs what is missing, runs the tests, ends with a line `N passed, N failed`.
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ensureInstalled, root } from "./install.mjs";
import { compileKernels, translateSources } from "./translate.mjs";

ensureInstalled();
// Once, before tests start the command line many times at once.
await translateSources();
await compileKernels();
const folder = mkdtempSync(join(tmpdir(), "longjing-test-"));
const results = join(folder, "results.json");
const vitest = join(root, "node_modules", "vitest", "vitest.mjs");
const args = ["run", "--reporter=default", "--reporter=json", `--outputFile.json=${results}`, ...process.argv.slice(2)];
const { status } = spawnSync(process.execPath, [vitest, ...args], { cwd: root, stdio: "inherit" });

const { passed, failed } = count(existsSync(results) ? JSON.parse(readFileSync(results, "utf8")) : { testResults: [] });
rmSync(folder, { recursive: true });
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed === 0 ? 0 : 1;

/** A file that could not be loaded has no tests and counts as one failure; so does an error outside of every test. */
function count({ numPassedTests = 0, numFailedTests = 0, testResults }) {
  const broken = testResults.filter(({ status: state, assertionResults }) => state === "failed" && assertionResults.length === 0).length;
  const found = numFailedTests + broken;
  return { passed: numPassedTests, failed: status !== 0 && found === 0 ? 1 : found };
}
