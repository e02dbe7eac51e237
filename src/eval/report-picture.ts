import type { Estimate } from "./measure.ts";
import { breakable, escaped } from "./report-text.ts";

/** One line of the picture; scores in [0, 1]. */
export interface PictureRow {
  readonly label: string;
  readonly detail: string;
  readonly measured: Estimate;
  readonly published: Readonly<Record<string, number>>;
}

/** Forms, so that nobody has to tell them by colour alone. Each is about 9 pixels wide around the origin. */
const forms = ["M-4 -4H4V4H-4Z", "M0 -5.2L4.8 3.6H-4.8Z", "M0 -5.6L5.2 0L0 5.6L-5.2 0Z", "M0 5.2L4.8 -3.6H-4.8Z", "M-4.5 0H4.5M0 -4.5V4.5", "M-3.8 -3.8L3.8 3.8M-3.8 3.8L3.8 -3.8"];

const form = (i: number): string => `<path class="mark mark-${i % 3}" d="${forms[i % forms.length]}"/>`;

/** The mark of the i-th name, for a line of text. */
export const markOf = (i: number): string => `<svg class="sign" viewBox="-7 -7 14 14" aria-hidden="true">${form(i)}</svg>`;

const percent = (share: number): string => `${(share * 100).toFixed(1)} %`;
const at = (share: number): string => `${Number((share * 100).toFixed(2))}%`;

/** Scores from 0 to 100 % as a line a task: what was measured as a dot on its interval, what was published as hollow marks. */
export function picture(rows: readonly PictureRow[], names: readonly string[], model: string): string {
  const legend = [`<li><svg class="sign" viewBox="-7 -7 14 14" aria-hidden="true"><line class="interval-line" x1="-7" x2="7"/><circle class="dot" r="4.2"/></svg> ${escaped(model)}, measured, with its 95 % interval</li>`, ...names.map((name, i) => `<li>${markOf(i)} ${escaped(name)}, published</li>`)];
  const ticks = [0, 25, 50, 75, 100];
  const axis = `<div class="axis" aria-hidden="true"><span></span><div class="scale">${ticks.map((tick) => `<i style="left:${tick}%">${tick}${tick === 100 ? " %" : ""}</i>`).join("")}</div></div>`;
  return `<ul class="legend">${legend.join("")}</ul><div class="picture">${axis}${rows.map((row) => line(row, names, ticks)).join("")}</div>`;
}

function line({ label, detail, measured, published }: PictureRow, names: readonly string[], ticks: readonly number[]): string {
  const { value, low, high } = measured;
  const others = names.flatMap((name, i) => (published[name] === undefined ? [] : [{ i, name, score: published[name] }]));
  const said = [`measured ${percent(value)}, 95 % interval ${percent(low)} to ${percent(high)}`, ...others.map(({ name, score }) => `${name} published ${percent(score)}`)].join("; ");
  const grid = ticks.map((tick) => `<line class="grid" x1="${tick}%" x2="${tick}%" y1="0" y2="100%"/>`).join("");
  const marks = others.map(({ i, score }) => `<svg x="${at(score)}" y="50%" overflow="visible">${form(i)}</svg>`).join("");
  const own = `<line class="interval-line" x1="${at(low)}" x2="${at(high)}" y1="50%" y2="50%"/><circle class="dot" cx="${at(value)}" cy="50%" r="4.5"/>`;
  const title = escaped(`${label} ${detail}: ${said}`);
  return `<div class="line"><span class="label">${breakable(label)}<span class="detail">${escaped(detail)}</span></span><svg class="plot" role="img" aria-label="${title}"><title>${title}</title>${grid}${marks}${own}</svg></div>`;
}
