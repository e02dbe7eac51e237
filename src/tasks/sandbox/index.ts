export { codeReward } from "./code-reward.ts";
export { parseExactJson } from "./exact-json.ts";
export { openPythonSandbox, type PythonSandboxOptions } from "./python-sandbox.ts";
export { openSandbox, type Sandbox, type SandboxOptions } from "./sandbox.ts";
export { verifyCode, type CodeTest, type CodeVerdict } from "./verify-code.ts";
export type { Limits, Outcome, Program } from "./program.ts";
