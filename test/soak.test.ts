import { existsSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { soak } from "../bench/soak.ts";

test.runIf(existsSync(join(import.meta.dirname, "..", "models", "countdown-zero", "config.json")))(
  "256 streams at once are whole, and each is what its request gets alone",
  async () => {
    const { completed, faults } = await soak({ seconds: 15, streams: 256 });
    expect(faults).toEqual([]);
    expect(completed).toBeGreaterThanOrEqual(256);
  },
  120_000,
);
