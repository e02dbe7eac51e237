import { expect, test } from "vitest";
import { openBackendWith } from "./backend.ts";

test("a backend with a number of threads finds our own functions when the one without does", async () => {
  const backends = [await openBackendWith({}), await openBackendWith({ threads: 2 })] as const;
  await backends[0].hasOwnKernels();
  expect(backends[1].ownFunctions()).toBe(backends[0].ownFunctions());
});
