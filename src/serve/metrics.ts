/** Metrics in the text format of Prometheus, version 0.0.4. */
export class Metrics {
  readonly #families: { readonly name: string; readonly head: string; readonly samples: (shown: Shown) => Iterable<string> }[] = [];

  /** Only grows. `name` ends in `_total`. */
  counter<L extends string>(name: string, help: string, labels: readonly L[]): Family<L, Counter> {
    return this.#family(name, help, "counter", labels, () => new Counter());
  }

  /** Observations by size; `bounds` are the upper ends of the buckets, ascending. */
  histogram<L extends string>(name: string, help: string, labels: readonly L[], bounds: readonly number[]): Family<L, Histogram> {
    return this.#family(name, help, "histogram", labels, () => new Histogram(bounds));
  }

  /** Values that are read when they are asked for. */
  observed<L extends string>(name: string, help: string, type: "gauge" | "counter", read: () => Iterable<readonly [Readonly<Record<L, string>>, number]>): void {
    this.#families.push({
      name,
      head: head(name, help, type),
      *samples(shown) {
        for (const [labels, value] of read()) if (shown(labels)) yield sample(name, labels, value);
      },
    });
  }

  /** @param shown which series there are to see; default all */
  text(shown: Shown = () => true): string {
    return this.#families.map(({ head, samples }) => `${head}${[...samples(shown)].join("")}`).join("");
  }

  #family<L extends string, S extends Series>(name: string, help: string, type: string, labels: readonly L[], make: () => S): Family<L, S> {
    const family = new Family<L, S>(name, labels, make);
    this.#families.push({ name, head: head(name, help, type), samples: (shown) => family.samples(shown) });
    return family;
  }
}

type Shown = (labels: Readonly<Record<string, string>>) => boolean;

interface Series {
  samples(name: string, labels: Readonly<Record<string, string>>): Iterable<string>;
}

/** A metric of one name: a series for each combination of label values that has been met. */
export class Family<L extends string, S extends Series> {
  readonly #name: string;
  readonly #labels: readonly L[];
  readonly #make: () => S;
  readonly #series = new Map<string, { readonly labels: Readonly<Record<L, string>>; readonly series: S }>();

  constructor(name: string, labels: readonly L[], make: () => S) {
    this.#name = name;
    this.#labels = labels;
    this.#make = make;
  }

  of(labels: Readonly<Record<L, string>>): S {
    const key = JSON.stringify(this.#labels.map((label) => labels[label]));
    let found = this.#series.get(key);
    if (found === undefined) this.#series.set(key, (found = { labels, series: this.#make() }));
    return found.series;
  }

  *samples(shown: Shown): Iterable<string> {
    for (const { labels, series } of this.#series.values()) if (shown(labels)) yield* series.samples(this.#name, labels);
  }
}

export class Counter implements Series {
  #value = 0;

  add(amount: number): void {
    this.#value += amount;
  }

  *samples(name: string, labels: Readonly<Record<string, string>>): Iterable<string> {
    yield sample(name, labels, this.#value);
  }
}

export class Histogram implements Series {
  readonly #bounds: readonly number[];
  readonly #counts: number[];
  #sum = 0;

  constructor(bounds: readonly number[]) {
    this.#bounds = bounds;
    this.#counts = Array.from({ length: bounds.length + 1 }, () => 0);
  }

  observe(value: number): void {
    let at = 0;
    while (at < this.#bounds.length && value > this.#bounds[at]!) at++;
    this.#counts[at]!++;
    this.#sum += value;
  }

  *samples(name: string, labels: Readonly<Record<string, string>>): Iterable<string> {
    let count = 0;
    for (const [at, bound] of [...this.#bounds, Infinity].entries()) {
      count += this.#counts[at]!;
      yield sample(`${name}_bucket`, { ...labels, le: number(bound) }, count);
    }
    yield sample(`${name}_sum`, labels, this.#sum);
    yield sample(`${name}_count`, labels, count);
  }
}

function head(name: string, help: string, type: string): string {
  return `# HELP ${name} ${help.replaceAll("\\", "\\\\").replaceAll("\n", "\\n")}\n# TYPE ${name} ${type}\n`;
}

function sample(name: string, labels: Readonly<Record<string, string>>, value: number): string {
  const pairs = Object.entries(labels).map(([label, text]) => `${label}="${text.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n")}"`);
  return `${name}${pairs.length === 0 ? "" : `{${pairs.join(",")}}`} ${number(value)}\n`;
}

function number(value: number): string {
  if (Number.isFinite(value)) return String(value);
  return Number.isNaN(value) ? "NaN" : value > 0 ? "+Inf" : "-Inf";
}
