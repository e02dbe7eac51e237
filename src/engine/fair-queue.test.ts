import fc from "fast-check";
import { expect, test } from "vitest";
import { FairQueue } from "./fair-queue.ts";

const requests = fc.array(fc.record({ user: fc.constantFrom("a", "b", "c"), id: fc.nat() }), { maxLength: 30 });

test("of n users who wait, each has one of any n turns in a row, and nobody's own order changes", () => {
  fc.assert(
    fc.property(requests, (items) => {
      const queue = new FairQueue<(typeof items)[number]>();
      for (const item of items) queue.push(item);
      const order: typeof items = [];
      const left = new Map<string, number>();
      for (const { user } of items) left.set(user, (left.get(user) ?? 0) + 1);
      while (queue.size > 0) {
        const round = [...left.keys()].filter((user) => left.get(user)! > 0);
        const turn = round.map(() => queue.shift()!);
        expect(new Set(turn.map((t) => t.user))).toEqual(new Set(round));
        for (const { user } of turn) left.set(user, left.get(user)! - 1);
        order.push(...turn);
      }
      for (const user of left.keys()) expect(order.filter((i) => i.user === user)).toEqual(items.filter((i) => i.user === user));
      expect(queue.shift()).toBeUndefined();
    }),
  );
});

test("what is taken out has no turn", () => {
  fc.assert(
    fc.property(requests, fc.func(fc.boolean()), (items, picked) => {
      const queue = new FairQueue<(typeof items)[number]>();
      for (const item of items) queue.push(item);
      const out = items.filter((i) => picked(i));
      expect(new Set(queue.take((i) => picked(i)))).toEqual(new Set(out));
      expect(queue.size).toBe(items.length - out.length);
      const rest = Array.from({ length: queue.size }, () => queue.shift()!);
      expect(new Set(rest)).toEqual(new Set(items.filter((i) => !picked(i))));
    }),
  );
});
