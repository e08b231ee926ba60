// The report's style sheet. Colours: Okabe & Ito's palette, which differs for the colour-blind, darkened or lightened
// where a line of the original would be too faint on the page; curves differ in their dashes, too. A printed page is
// always light. No character here needs escaping in XML.
#pragma once

namespace crisp::page {

inline constexpr const char* style_sheet = R"css(
:root { color-scheme: light dark;
  --page: #fff; --text: #1b1f24; --soft: #57606a; --line: #d8dee4; --panel: #f6f8fa; --mark: #fff4d6;
  --accent: #0072b2; --base: #3d444d; --lost: #b3261e; --heat: #0b4f8a;
  --c0: #3d444d; --c1: #0072b2; --c2: #c04f00; --c3: #007f5c; --c4: #a8487f; }
@media screen and (prefers-color-scheme: dark) { :root {
  --page: #0f1318; --text: #e6e9ed; --soft: #9ba5b0; --line: #323a44; --panel: #181e26; --mark: #3a3216;
  --accent: #56b4e9; --base: #d0d7de; --lost: #ff8a80; --heat: #7cc7f5;
  --c0: #d0d7de; --c1: #56b4e9; --c2: #e69f00; --c3: #2ec49a; --c4: #e39ac4; } }
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body { margin: 0; background: var(--page); color: var(--text); line-height: 1.55;
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "DejaVu Sans", sans-serif; }
main, header, footer { max-width: 68rem; margin: 0 auto; padding: 0 1.25rem; }
header { padding-top: 2rem; } footer { padding-bottom: 3rem; color: var(--soft); font-size: .875rem; }
h1 { font-size: 1.75rem; line-height: 1.25; margin: 0 0 .5rem; overflow-wrap: anywhere; }
h2 { font-size: 1.3rem; margin: 2.75rem 0 .75rem; padding-top: 1rem; border-top: 1px solid var(--line); }
h3 { font-size: 1.05rem; margin: 1.75rem 0 .5rem; } h4 { font-size: .875rem; margin: 0 0 .25rem; overflow-wrap: anywhere; }
p, ul, ol { max-width: 46rem; margin: .6rem 0; } li { margin: .3rem 0; overflow-wrap: anywhere; }
a { color: var(--accent); } nav ul { list-style: none; padding: 0; display: flex; flex-wrap: wrap; gap: .25rem 1.1rem; max-width: none; }
nav li { margin: 0; } .lead { color: var(--soft); } .small, figcaption { color: var(--soft); font-size: .875rem; }
.summary { background: var(--panel); border: 1px solid var(--line); border-radius: 8px; padding: .25rem 1.25rem .75rem; }
.summary h2 { border: 0; margin: .5rem 0 0; padding-top: .25rem; } .summary p, .summary ul { max-width: none; }
.tag { display: inline-block; font-size: .8rem; line-height: 1.3; padding: 0 .4em; border: 1px solid currentColor; border-radius: 4px; white-space: nowrap; }
.tag.bad { color: var(--lost); } .nowrap { white-space: nowrap; }
code, pre { font: .85em/1.5 ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace; }
code { overflow-wrap: anywhere; }
pre { background: var(--panel); border: 1px solid var(--line); border-radius: 6px; padding: .75rem 1rem; white-space: pre-wrap; overflow-wrap: anywhere; }
.scroll { overflow-x: auto; margin: .75rem 0; } .scroll:focus-visible { outline: 2px solid var(--accent); }
table { border-collapse: separate; border-spacing: 0; font-size: .875rem; font-variant-numeric: tabular-nums; }
.caption { color: var(--soft); font-size: .875rem; margin: 1.1rem 0 -.35rem; }
th, td { padding: .28rem .7rem; text-align: right; border-bottom: 1px solid var(--line); vertical-align: top; white-space: nowrap; }
th { font-weight: 600; } thead th { vertical-align: bottom; border-bottom: 2px solid var(--line); white-space: normal; }
th:first-child { text-align: left; padding-left: .25rem; position: sticky; left: 0; background: var(--page); min-width: 6.5rem; max-width: 15rem; white-space: normal; overflow-wrap: break-word; } tbody th { font-weight: 500; }
td.text, th.text { text-align: left; white-space: normal; }
tr.base > * { background: var(--panel); font-weight: 600; }
.wide th, .wide td { white-space: normal; text-align: left; } .wide td { overflow-wrap: anywhere; min-width: 9rem; } .wide th { min-width: 8rem; overflow-wrap: anywhere; }
.said { display: block; min-width: 14rem; text-align: left; white-space: normal; overflow-wrap: anywhere; } td .shade { display: block; padding: 0 .25rem; }
details { margin: .75rem 0; } summary { cursor: pointer; color: var(--accent); }
figure { margin: 1rem 0 1.25rem; break-inside: avoid; } figcaption { max-width: 46rem; margin-top: .4rem; }
svg { overflow: visible; display: block; } svg text { fill: var(--text); font-size: 12px; }
svg .title { fill: var(--soft); } svg .number { font-size: 11px; font-weight: 600; }
.rows .row { display: grid; grid-template-columns: var(--label) 1fr 13.5rem; align-items: center; column-gap: 1rem; break-inside: avoid; }
.rows { display: grid; } .rows .row { grid-column: 1; }
.rows .value { font-size: .8125rem; font-variant-numeric: tabular-nums; line-height: 1.3; }
.rows .label { font-size: .875rem; line-height: 1.25; overflow-wrap: anywhere; text-align: right; }
.row.base .label { font-weight: 700; } .plot { padding: 0 14px; min-width: 0; }
.grid { stroke: var(--line); stroke-width: 1; } .reference { stroke: var(--base); stroke-width: 1.5; stroke-dasharray: 5 4; }
.dot { fill: var(--accent); fill-opacity: .75; stroke: var(--page); stroke-width: 1; } .row.base .dot, .dot.base { fill: var(--base); }
.run { fill: var(--accent); fill-opacity: .28; } .run.base { fill: var(--base); }
.mean { stroke: var(--accent); stroke-width: 3; } .interval { stroke: var(--accent); stroke-width: 2; }
.row.base .mean, .row.base .interval { stroke: var(--base); }
.thin { stroke: var(--soft); stroke-width: 1.5; } .two { stroke-dasharray: 3 2; } .bar { stroke: var(--accent); stroke-width: 12; } .row.base .bar { stroke: var(--base); }
.lost { stroke: var(--lost); stroke-width: 2; fill: none; } .leader { stroke: var(--soft); stroke-width: .75; }
.frame { padding: 0 14px 44px 3.6rem; } .ytitle { color: var(--soft); font-size: 12px; margin: 0 0 .6rem -3.6rem; }
.curve { fill: none; stroke-width: 2; vector-effect: non-scaling-stroke; stroke-linejoin: round; } .band { fill-opacity: .16; stroke: none; }
.curve.c0 { stroke: var(--c0); stroke-dasharray: 6 3; } .curve.c1 { stroke: var(--c1); } .curve.c2 { stroke: var(--c2); stroke-dasharray: 10 3 2 3; }
.curve.c3 { stroke: var(--c3); stroke-dasharray: 3 2; } .curve.c4 { stroke: var(--c4); stroke-dasharray: 12 4; }
.curve.c9 { stroke: var(--lost); stroke-width: 1.5; } .mark.c9 { fill: var(--lost); }
.band.c0, .mark.c0 { fill: var(--c0); } .band.c1, .mark.c1 { fill: var(--c1); } .band.c2, .mark.c2 { fill: var(--c2); } .band.c3, .mark.c3 { fill: var(--c3); } .band.c4, .mark.c4 { fill: var(--c4); }
.legend { list-style: none; padding: 0; display: flex; flex-wrap: wrap; gap: .2rem 1.25rem; font-size: .875rem; max-width: none; }
.legend li { display: flex; align-items: center; gap: .4rem; margin: 0; }
.numbers { columns: 17rem auto; column-gap: 2rem; font-size: .875rem; max-width: none; padding-left: 2rem; } .numbers li { margin: 0; break-inside: avoid; }
.panels { display: grid; grid-template-columns: repeat(auto-fill, minmax(15rem, 1fr)); gap: 1.1rem 1.25rem; }
.panels > * { min-width: 0; break-inside: avoid; } .panels .frame { padding: .5rem 12px 24px 2.6rem; } .panels .ytitle { display: none; }
.heatplot { padding-left: 1.4rem; } .cell { fill: var(--heat); stroke: var(--page); stroke-width: 1; } .cell.none { fill: none; stroke: var(--line); }
.key { display: flex; align-items: center; gap: .5rem; font-size: .8125rem; color: var(--soft); margin: .25rem 0 .75rem; }
@media (max-width: 40rem) {
  body { font-size: 15px; } main, header, footer { padding-left: 1rem; padding-right: 1rem; } h1 { font-size: 1.4rem; }
  .rows .row { grid-template-columns: 1fr auto; row-gap: 0; padding-top: .35rem; } .rows .label { text-align: left; grid-column: 1; grid-row: 1; align-self: end; }
  .rows .value { width: auto; text-align: right; grid-column: 2; grid-row: 1; align-self: end; } .rows .plot { grid-column: 1 / 3; grid-row: 2; }
  .row.axis .label, .row.axis .value { display: none; } .panels { grid-template-columns: repeat(auto-fill, minmax(9.5rem, 1fr)); gap: .9rem .75rem; } .frame { padding-left: 3.1rem; } .ytitle { margin-left: -3.1rem; }
  th, td { padding: .25rem .45rem; } th:first-child { max-width: 8rem; } .summary { padding: .25rem .9rem .6rem; } }
@media print { @page { margin: 16mm 14mm; } body { font-size: 10.5pt; } nav { display: none; } main, header, footer { max-width: none; padding: 0; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; } table { font-size: 8.5pt; } th, td { padding: .15rem .4rem; } .scroll { overflow: visible; } th:first-child { position: static; }
  h2, h3, h4, summary, .key, .caption, p:has(+ figure) { break-after: avoid; } tr { break-inside: avoid; } details::details-content { content-visibility: visible; block-size: auto; }
  p, li { orphans: 3; widows: 3; } }
)css";

}  // namespace crisp::page
