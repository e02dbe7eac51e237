/** The page's own style, in the colours of the studio, for light and dark. */
export const reportStyle = `
:root {
  color-scheme: light dark;
  --paper: light-dark(#faf9f4, #151914);
  --surface: light-dark(#ffffff, #1c211b);
  --ink: light-dark(#22281f, #e5e8e0);
  --muted: light-dark(#687062, #98a191);
  --line: light-dark(#e3e1d6, #2e352c);
  --leaf: light-dark(#4f7f38, #a5cb86);
  --mark-0: light-dark(#2f5fa8, #8fb4ec);
  --mark-1: light-dark(#b06a12, #e0b15a);
  --mark-2: light-dark(#9a3a7a, #e59ccb);
  --serif: "Iowan Old Style", "Palatino Linotype", Palatino, "Noto Serif", "Songti SC", "Noto Serif CJK SC", Georgia, serif;
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", "Noto Sans", "PingFang SC", "Noto Sans CJK SC", sans-serif;
  color: var(--ink);
  background: var(--paper);
}
* { box-sizing: border-box; }
body { margin: 0; }
main { max-width: 70rem; margin-inline: auto; padding: 2.2rem 1.1rem 3rem; display: grid; grid-template-columns: minmax(0, 1fr); gap: 1.2rem; }
h1, h2 { font-family: var(--serif); font-weight: 600; line-height: 1.25; margin: 0; text-wrap: balance; overflow-wrap: anywhere; }
h1 { font-size: 1.8rem; }
h2 { font-size: 1.1rem; }
p { margin: 0.3rem 0 0; }
.kind { color: var(--leaf); font-weight: 600; font-size: 0.86rem; margin: 0; }
dl { margin: 0.9rem 0 0; display: grid; gap: 0.15rem; font-size: 0.9rem; }
dl div { display: grid; grid-template-columns: 5.5rem minmax(0, 1fr); gap: 0.6rem; }
dt { color: var(--muted); }
dd { margin: 0; overflow-wrap: anywhere; }
ul { list-style: none; margin: 0; padding: 0; }
.card { background: var(--surface); border: 1px solid var(--line); border-radius: 14px; padding: 1rem 1.1rem 1.1rem; }
.reached { display: grid; gap: 0.5rem; }
.reached ul { display: flex; flex-wrap: wrap; gap: 0.7rem; }
.reached li { flex: 1 1 11rem; background: var(--surface); border: 1px solid var(--line); border-radius: 14px; padding: 0.6rem 0.9rem; }
.reached li > span { display: block; }
.reached b { font-family: var(--serif); font-size: 1.5rem; font-weight: 600; color: var(--leaf); }
.quiet { color: var(--muted); font-size: 0.84rem; }
.legend { display: flex; flex-wrap: wrap; gap: 0.2rem 1.1rem; margin: 0.5rem 0 0.8rem; font-size: 0.88rem; color: var(--muted); }
.sign { width: 14px; height: 14px; vertical-align: -2px; overflow: visible; }
.line, .axis { display: grid; grid-template-columns: minmax(7rem, 17rem) minmax(0, 1fr); column-gap: 1.2rem; align-items: center; padding-right: 0.9rem; }
.line { border-top: 1px solid var(--line); padding-block: 0.2rem; }
.label { font-size: 0.9rem; line-height: 1.3; min-width: 0; overflow-wrap: anywhere; }
.detail { display: block; color: var(--muted); font-size: 0.78rem; font-weight: 400; line-height: 1.3; overflow-wrap: anywhere; }
.line .detail { white-space: nowrap; overflow: hidden; text-overflow: ellipsis; }
.plot { display: block; width: 100%; height: 1.9rem; overflow: visible; }
.scale { position: relative; height: 1.4rem; font-size: 0.78rem; color: var(--muted); font-variant-numeric: tabular-nums; }
.scale i { position: absolute; transform: translateX(-50%); font-style: normal; white-space: nowrap; }
.grid { stroke: var(--line); stroke-width: 1; }
.interval-line { stroke: var(--leaf); stroke-width: 3; stroke-linecap: round; opacity: 0.55; }
.dot { fill: var(--leaf); }
.mark { fill: var(--surface); fill-opacity: 0.75; stroke-width: 1.7; stroke-linejoin: round; }
.mark-0 { stroke: var(--mark-0); }
.mark-1 { stroke: var(--mark-1); }
.mark-2 { stroke: var(--mark-2); }
.scroll { overflow-x: auto; margin-top: 0.5rem; }
table { border-collapse: collapse; width: 100%; font-size: 0.88rem; font-variant-numeric: tabular-nums; }
thead th { color: var(--muted); font-weight: 500; font-size: 0.82rem; vertical-align: bottom; text-align: left; white-space: nowrap; padding: 0.25rem 0.8rem 0.25rem 0; }
.groups th { border-bottom: 1px solid var(--line); }
tbody th { font-weight: 600; min-width: 9rem; max-width: 17rem; }
tbody th, thead tr > :first-child { position: sticky; left: 0; background: var(--surface); }
tbody td, tbody th { padding: 0.4rem 0.8rem 0.4rem 0; border-top: 1px solid var(--line); text-align: left; vertical-align: top; }
tbody td { white-space: nowrap; }
tbody td.published { color: var(--muted); }
.nowrap { white-space: nowrap; }
.interval { color: var(--muted); font-size: 0.82em; }
footer { color: var(--muted); font-size: 0.86rem; }
@media (max-width: 44rem) {
  main { padding-top: 1.2rem; }
  .line, .axis { grid-template-columns: minmax(0, 1fr); padding-inline: 0.6rem; }
  .axis span { display: none; }
  .card { padding-inline: 0.8rem; }
  .line .detail { white-space: normal; }
  tbody th { min-width: 7.5rem; max-width: 7.5rem; overflow-wrap: anywhere; }
  tbody th .detail { display: -webkit-box; -webkit-box-orient: vertical; -webkit-line-clamp: 2; overflow: hidden; }
 
}
@media print { .card, .reached li { break-inside: avoid; } }
`;
