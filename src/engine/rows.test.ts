import fc from "fast-check";
import { expect, test } from "vitest";
import { Rows, type Occupant } from "./rows.ts";

class Item implements Occupant {
  readonly adapter: string;
  readonly computed = 1;
  row = -1;
  constructor(adapter: string) {
    this.adapter = adapter;
  }
}

test("whatever comes and goes, rows are dense, adapters stand together, and every row's content is its occupant's", () => {
  const arrival = fc.record({ adapter: fc.constantFrom("", "a", "b", "c"), count: fc.integer({ min: 1, max: 4 }) });
  const departure = fc.record({ leave: fc.nat() });
  fc.assert(
    fc.property(fc.array(fc.oneof(arrival, departure), { maxLength: 40 }), (events) => {
      const memory: (Item | undefined)[] = [];
      const rows = new Rows<Item>((from, to) => (memory[to] = memory[from]));
      const alive = new Set<Item>();
      for (const event of events) {
        if ("leave" in event) {
          const leaving = [...alive][event.leave % Math.max(alive.size, 1)];
          if (!leaving) continue;
          rows.remove(leaving);
          alive.delete(leaving);
        } else {
          const newcomers = Array.from({ length: event.count }, () => new Item(event.adapter));
          rows.insert(event.adapter, newcomers);
          newcomers.forEach((item, i) => expect(item.row).toBe(newcomers[0]!.row + i));
          for (const item of newcomers) alive.add((memory[item.row] = item));
        }
        expect(new Set(rows.all)).toEqual(alive);
        rows.all.forEach((item, row) => {
          expect(item.row).toBe(row);
          expect(memory[row]).toBe(item);
        });
        const groups = rows.groups();
        expect(new Set(groups.map((g) => g.adapter)).size).toBe(groups.length);
      }
    }),
  );
});
