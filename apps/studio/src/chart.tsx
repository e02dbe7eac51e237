import { useEffect, useRef, useState } from "preact/hooks";
import uPlot from "uplot";
import { smooth, type Point } from "./run-log.ts";

/** One line of a chart: the first of `names` that a run has. */
export interface Line {
  readonly names: readonly string[];
  readonly label?: string;
}

export interface ChartSpec {
  readonly title: string;
  readonly unit: string;
  readonly lines: readonly Line[];
  readonly format: (value: number) => string;
  /** Widens the axis to these. */
  readonly range?: readonly [number | null, number | null];
  /** One minus the logged value. */
  readonly inverted?: true;
}

const height = 150;
// With fewer points there is nothing to smooth, and a dot says more than a line.
const fewPoints = 12;
/** Points on either side that are averaged: the more there are, the more are one pixel. */
const radiusFor = (points: number): number => (points < fewPoints ? 0 : Math.ceil(points / 40));
const wholeSteps = [1, 10, 100, 1000, 10_000, 100_000].flatMap((unit) => [unit, 2 * unit, 5 * unit]);
const colors = ["--leaf", "--amber"] as const;

interface Drawn {
  readonly steps: number[];
  /** For each line: as logged, and smoothed. */
  readonly raw: (number | null)[][];
  readonly even: (number | null)[][];
}

function draw(points: readonly Point[], { lines, inverted }: ChartSpec): Drawn {
  const raw = lines.map(({ names }) =>
    points.map(({ values }) => {
      const name = names.find((candidate) => values[candidate] !== undefined);
      const value = name === undefined ? null : (values[name] ?? null);
      return value !== null && inverted ? 1 - value : value;
    }),
  );
  return { steps: points.map(({ step }) => step), raw, even: raw.map((values) => smooth(values, radiusFor(points.length))) };
}

/** Whether a run has anything that the chart shows. */
export function hasData(points: readonly Point[], { lines }: ChartSpec): boolean {
  return points.some(({ values }) => lines.some(({ names }) => names.some((name) => values[name] !== undefined)));
}

/** A figure with its last value, and under the pointer the value there. */
export function Chart({ spec, points }: { readonly spec: ChartSpec; readonly points: readonly Point[] }) {
  const box = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const [pointed, setPointed] = useState<number | null>(null);
  const [theme, setTheme] = useState(0);
  const drawn = draw(points, spec);
  const few = points.length < fewPoints;

  useEffect(() => {
    const dark = matchMedia("(prefers-color-scheme: dark)");
    const repaint = () => setTheme((count) => count + 1);
    addEventListener("themechange", repaint);
    dark.addEventListener("change", repaint);
    return () => {
      removeEventListener("themechange", repaint);
      dark.removeEventListener("change", repaint);
    };
  }, []);

  useEffect(() => {
    const target = box.current as HTMLDivElement;
    const chart = new uPlot(options(spec, target, few, setPointed), dataOf(drawn), target);
    plot.current = chart;
    const resize = new ResizeObserver(() => chart.setSize({ width: target.clientWidth, height }));
    resize.observe(target);
    return () => {
      resize.disconnect();
      chart.destroy();
    };
  }, [spec, few, theme]);
  useEffect(() => plot.current?.setData(dataOf(drawn)), [points]);

  const at = pointed !== null && pointed < points.length ? pointed : points.length - 1;
  const values = drawn.even.map((line) => line[at] ?? line.findLast((value) => value !== null) ?? null);
  return (
    <figure class="chart" aria-label={`${spec.title}: ${values.map((value) => (value === null ? "no value" : spec.format(value))).join(", ")}`}>
      <figcaption>
        <span class="chart-title">{spec.title}</span>
        <span class="chart-values">
          {values.map((value, line) => value !== null && <span key={line} class={`series-${line}`}>{spec.lines[line]?.label ? `${spec.lines[line].label} ` : ""}<b>{spec.format(value)}</b></span>)}
        </span>
        <span class="chart-unit">{spec.unit}</span>
        <span class="chart-unit">{pointed !== null && points[at] ? `step ${points[at].step}` : ""}</span>
      </figcaption>
      <div ref={box} class="plot" style={{ height: `${height}px` }} aria-hidden="true" />
    </figure>
  );
}

function dataOf({ steps, raw, even }: Drawn): uPlot.AlignedData {
  return [steps, ...raw, ...even] as uPlot.AlignedData;
}

function options(spec: ChartSpec, target: HTMLElement, few: boolean, onPoint: (at: number | null) => void): uPlot.Options {
  const css = (name: string) => resolveColor(target, name);
  const font = `11px ${getComputedStyle(target).fontFamily}`;
  const axis = { stroke: css("--muted"), font, grid: { stroke: css("--line"), width: 1 }, ticks: { show: false } };
  const line = (index: number, raw: boolean): uPlot.Series => {
    const color = css(colors[index] ?? "--leaf");
    return raw
      ? { stroke: color, width: 1, alpha: few ? 0 : 0.25, points: { show: false } }
      : { stroke: color, width: 2, spanGaps: true, points: { show: few, size: 6, fill: color, stroke: color } };
  };
  return {
    width: target.clientWidth,
    height,
    legend: { show: false },
    cursor: { y: false, drag: { x: false, y: false }, points: { size: 7 } },
    scales: { x: { time: false, range: (_, low, high) => (low === high ? [low - 1, high + 1] : [low, high]) }, y: { range: (_, low, high) => yRange(spec, low, high) } },
    axes: [
      { ...axis, size: 26, grid: { show: false }, space: 60, incrs: wholeSteps },
      { ...axis, size: 46, space: 34, values: (_, ticks) => ticks.map((tick) => spec.format(tick)) },
    ],
    series: [{}, ...spec.lines.map((_, index) => line(index, true)), ...spec.lines.map((_, index) => line(index, false))],
    hooks: { setCursor: [(plot) => onPoint(plot.cursor.idx ?? null)] },
    padding: [10, 8, 0, 0],
  };
}

/** Keeps a margin, so that a flat line is a line in the middle and not a border. */
function yRange({ range }: ChartSpec, low: number | null, high: number | null): [number, number] {
  const [least, most] = [Math.min(low ?? 0, range?.[0] ?? Infinity), Math.max(high ?? 1, range?.[1] ?? -Infinity)];
  const margin = (most - least || Math.abs(most) || 1) * 0.08;
  return [least === range?.[0] ? least : least - margin, most === range?.[1] ? most : most + margin];
}

/** The value of a custom property as a canvas understands it: `light-dark()` is settled by the cascade only. */
function resolveColor(target: HTMLElement, name: string): string {
  const probe = document.createElement("i");
  probe.style.color = `var(${name})`;
  target.append(probe);
  const { color } = getComputedStyle(probe);
  probe.remove();
  return color;
}
