import fc from "fast-check";
import { afterEach, expect, test, vi } from "vitest";
import { hereIfBrief } from "./brief-run.ts";

afterEach(() => vi.restoreAllMocks());

/** A run that lasts as long as it is told to, by a clock that nothing else moves. */
function fake(): { readonly run: (milliseconds: number) => Promise<string[]> } {
  let [now, lasts] = [0, 0];
  vi.spyOn(performance, "now").mockImplementation(() => now);
  let events: string[] = [];
  const took = (where: string): void => {
    now += lasts;
    events.push(where);
  };
  const work = hereIfBrief(
    () => took("here"),
    async () => took("aside"),
  );
  return {
    run: async (milliseconds) => {
      [events, lasts] = [[], milliseconds];
      setImmediate(() => events.push("turn"));
      await work();
      return events;
    },
  };
}

test("work runs here where it was brief the last time, after a turn of the event loop, and aside otherwise", () =>
  fc.assert(
    fc.asyncProperty(fc.array(fc.nat(40), { minLength: 1, maxLength: 12 }), async (durations) => {
      const { run } = fake();
      for (const [i, milliseconds] of durations.entries()) {
        const events = await run(milliseconds);
        expect(events).toEqual(i > 0 && durations[i - 1]! < 20 ? ["turn", "here"] : ["aside"]);
        await new Promise((resolve) => setImmediate(resolve)); // the turn that the next one counts is its own
      }
    }),
    { numRuns: 50 },
  ));

test("what fails here is told as what fails aside, and the next run is as the last that was whole", async () => {
  let broken = false;
  const where: string[] = [];
  const at = (name: string) => () => {
    if (broken) throw new Error(name);
    where.push(name);
  };
  vi.spyOn(performance, "now").mockReturnValue(0);
  const work = hereIfBrief(at("here"), async () => at("aside")());
  broken = true;
  await expect(work()).rejects.toThrow("aside");
  broken = false;
  await work();
  broken = true;
  await expect(work()).rejects.toThrow("here");
  broken = false;
  await work();
  expect(where).toEqual(["aside", "here"]);
});
