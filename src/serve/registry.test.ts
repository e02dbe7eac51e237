import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { fakeModel } from "../../test/fake-model.ts";
import { ModelRegistry, type Lease, type ModelSource, type RegistryLimits } from "./registry.ts";

interface Watched extends ModelSource {
  loads: number;
  /** Loaded and not disposed. */
  resident: boolean;
}

/** A source that knows what has become of its model. */
function source(id: string, bytes = 1, fails: () => boolean = () => false): Watched {
  const watched: Watched = {
    id,
    created: 0,
    bytes,
    max_model_len: 16,
    examples: [],
    loads: 0,
    resident: false,
    async load() {
      watched.loads++;
      await Promise.resolve();
      if (fails()) throw new Error("cannot be read");
      watched.resident = true;
      const model = fakeModel({ id });
      return { ...model, engine: { ...model.engine, dispose: () => void (watched.resident = false) } };
    },
  };
  return watched;
}

const registryOf = (sources: readonly ModelSource[], limits?: RegistryLimits) => new ModelRegistry(sources, limits);

test("a model loads when it is asked for, once for all who wait for it", async () => {
  const [a, b] = [source("a"), source("b")];
  const registry = registryOf([a, b]);
  expect([a.loads, b.loads]).toEqual([0, 0]);
  const leases = await Promise.all([registry.acquire("a"), registry.acquire("a"), registry.acquire("a")]);
  expect(new Set(leases.map(({ model }) => model)).size).toBe(1);
  expect([a.loads, b.loads]).toEqual([1, 0]);
  expect(registry.list().map(({ id }) => id)).toEqual(["a", "b"]);
});

test("a name that is unknown, or given twice, is refused", async () => {
  await expect(registryOf([source("a")]).acquire("b")).rejects.toMatchObject({ code: "not_found" });
  expect(() => registryOf([source("a"), source("a")])).toThrow(expect.objectContaining({ code: "bad_argument" }));
});

test("a load that fails is tried again by the next request, and fails no other model", async () => {
  let broken = true;
  const [a, b] = [source("a", 1, () => broken), source("b")];
  const registry = registryOf([a, b]);
  const [first, other] = await Promise.allSettled([registry.acquire("a"), registry.acquire("b")]);
  expect([first.status, other.status]).toEqual(["rejected", "fulfilled"]);
  broken = false;
  expect((await registry.acquire("a")).model.id).toBe("a");
});

test("whatever comes, the limits hold, nothing in use is unloaded, and what is refused could not have been placed", async () => {
  const step = fc.oneof(fc.record({ acquire: fc.nat(4) }), fc.record({ release: fc.nat(20) }));
  await fc.assert(
    fc.asyncProperty(fc.array(fc.integer({ min: 1, max: 5 }), { minLength: 5, maxLength: 5 }), fc.integer({ min: 1, max: 3 }), fc.integer({ min: 4, max: 9 }), fc.array(step, { maxLength: 40 }), async (sizes, maxModels, maxBytes, steps) => {
      const sources = sizes.map((bytes, at) => source(`m${at}`, bytes));
      const registry = registryOf(sources, { maxModels, maxBytes });
      const held: Lease[] = [];
      const usedBytes = (): number => [...new Set(held.map(({ model }) => model.id))].reduce((sum, id) => sum + sources.find((s) => s.id === id)!.bytes, 0);
      for (const step of steps) {
        if ("release" in step) {
          held.splice(step.release % Math.max(1, held.length), 1).forEach(({ release }) => release());
        } else {
          const wanted = sources[step.acquire]!;
          const inUse = new Set(held.map(({ model }) => model.id));
          try {
            held.push(await registry.acquire(wanted.id));
          } catch (error) {
            expect(error).toMatchObject({ code: "busy" });
            expect(inUse.has(wanted.id)).toBe(false);
            expect(inUse.size >= maxModels || usedBytes() + wanted.bytes > maxBytes).toBe(true);
          }
        }
        for (const { model } of held) expect(sources.find(({ id }) => id === model.id)!.resident).toBe(true);
        const resident = sources.filter((s) => s.resident);
        expect(resident.length).toBeLessThanOrEqual(maxModels);
        if (resident.length > 1) expect(resident.reduce((sum, { bytes }) => sum + bytes, 0)).toBeLessThanOrEqual(maxBytes);
      }
    }),
    { numRuns: 200 },
  );
});

test("the one that was used longest ago makes room", async () => {
  const [a, b, c] = [source("a"), source("b"), source("c")];
  const registry = registryOf([a, b, c], { maxModels: 2 });
  for (const id of ["a", "b", "a", "c"]) (await registry.acquire(id)).release();
  expect([a.resident, b.resident, c.resident]).toEqual([true, false, true]);
});

describe("age", () => {
  beforeEach(() => void vi.useFakeTimers());
  afterEach(() => void vi.useRealTimers());

  test("unloads a model that nobody has used, and no other", async () => {
    const [a, b] = [source("a"), source("b")];
    const registry = registryOf([a, b], { maxIdleMs: 1000 });
    const unloaded: string[] = [];
    registry.onUnload(({ id }) => unloaded.push(id));
    (await registry.acquire("a")).release();
    const lease = await registry.acquire("b");
    vi.advanceTimersByTime(999);
    expect([a.resident, b.resident]).toEqual([true, true]);
    vi.advanceTimersByTime(1);
    expect([a.resident, b.resident]).toEqual([false, true]);
    lease.release();
    lease.release();
    vi.advanceTimersByTime(500);
    (await registry.acquire("b")).release();
    vi.advanceTimersByTime(999);
    expect(b.resident).toBe(true);
    vi.advanceTimersByTime(1);
    expect(b.resident).toBe(false);
    expect(unloaded).toEqual(["a", "b"]);
    expect((await registry.acquire("a")).model.id).toBe("a");
  });
});
