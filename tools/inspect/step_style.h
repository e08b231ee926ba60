// Look and behaviour of the page of crisp-inspect step. No character of the style needs escaping in XML.
#pragma once

namespace crisp::inspect {

inline constexpr const char* step_style = R"css(
.no { display: inline-block; min-width: 1.7rem; color: var(--soft); font-weight: 400; font-variant-numeric:
  tabular-nums; }
.place { color: var(--soft); font-weight: 400; font-size: .8125rem; margin-left: .4rem; overflow-wrap: anywhere; }
.controls, .keys { display: none; }
.list { list-style: none; padding: 0; margin: 1rem 0; font-size: .875rem; columns: 17rem auto; max-width: none; }
.list li { margin: 0; break-inside: avoid; } .list a { display: block; padding: .12rem .4rem; color: var(--text);
  text-decoration: none; border-left: 3px solid var(--line); }
.list a:hover { background: var(--panel); } .list .place { display: block; margin: -.2rem 0 0 2rem; font-size: .75rem;
  }
.node { border-top: 1px solid var(--line); padding: .25rem 0 1rem; display: flex; flex-direction: column; }
.node h3 { order: 0; margin: .75rem 0 .25rem; } .node h4 { color: var(--soft); text-transform: uppercase; letter-spacing: .04em;
  font-size: .75rem; margin: .6rem 0 .2rem; }
.formula { margin: .2rem 0 .4rem; max-width: none; }
.matrices { display: flex; flex-wrap: wrap; gap: .75rem 1.25rem; align-items: flex-start; }
.matrix { margin: 0; } .matrix figcaption { margin: 0 0 .2rem; color: var(--text); font-size: .8125rem; line-height:
  1.35; max-width: 22.5rem; } .matrix .small { font-size: .75rem; }
.cells { display: inline-grid; gap: 1px; position: relative; font-size: 10px; line-height: 15px; font-variant-numeric:
  tabular-nums; letter-spacing: -.02em; }
.cells i { font-style: normal; text-align: right; padding: 0 3px; width: 43px; white-space: nowrap; overflow: hidden;
  }
.cells.wide { margin-right: 1.1rem; } .cells.wide::after { content: "\2026"; position: absolute; left: 100%; top: 0;
  padding-left: .3rem; color: var(--soft); }
.cells.high { margin-bottom: 1rem; } .cells.high::before { content: "\22ee"; position: absolute; top: 100%; left:
  .4rem; color: var(--soft); }
.cells .x { color: var(--lost); font-weight: 700; outline: 1px solid var(--lost); outline-offset: -1px; }
.sample { padding: 0 .35rem; } kbd { border: 1px solid var(--line); border-radius: 4px; padding: 0 .35rem; background:
  var(--panel); font: inherit; }
.c1 { grid-template-columns: repeat(1, auto); } .c2 { grid-template-columns: repeat(2, auto); } .c3 {
  grid-template-columns: repeat(3, auto); } .c4 { grid-template-columns: repeat(4, auto); } .c5 {
  grid-template-columns: repeat(5, auto); } .c6 { grid-template-columns: repeat(6, auto); } .c7 {
  grid-template-columns: repeat(7, auto); } .c8 { grid-template-columns: repeat(8, auto); }
.p1 { background: color-mix(in srgb, var(--c1) 8%, transparent); } .n1 { background: color-mix(in srgb, var(--c2) 8%,
  transparent); } .p2 { background: color-mix(in srgb, var(--c1) 14%, transparent); } .n2 { background: color-mix(in
  srgb, var(--c2) 14%, transparent); } .p3 { background: color-mix(in srgb, var(--c1) 20%, transparent); } .n3 {
  background: color-mix(in srgb, var(--c2) 20%, transparent); } .p4 { background: color-mix(in srgb, var(--c1) 26%,
  transparent); } .n4 { background: color-mix(in srgb, var(--c2) 26%, transparent); } .p5 { background: color-mix(in
  srgb, var(--c1) 32%, transparent); } .n5 { background: color-mix(in srgb, var(--c2) 32%, transparent); } .p6 {
  background: color-mix(in srgb, var(--c1) 38%, transparent); } .n6 { background: color-mix(in srgb, var(--c2) 38%,
  transparent); } .p7 { background: color-mix(in srgb, var(--c1) 44%, transparent); } .n7 { background: color-mix(in
  srgb, var(--c2) 44%, transparent); } .p8 { background: color-mix(in srgb, var(--c1) 50%, transparent); } .n8 {
  background: color-mix(in srgb, var(--c2) 50%, transparent); } .p9 { background: color-mix(in srgb, var(--c1) 56%,
  transparent); } .n9 { background: color-mix(in srgb, var(--c2) 56%, transparent); }
@media screen {
  .js .controls { display: flex; flex-wrap: wrap; align-items: center; gap: .35rem; position: sticky; top: 0; z-index:
    1; background: var(--page); padding: .4rem 0; }
  .js .keys { display: block; }
  .controls button { font: inherit; font-size: 1.1rem; min-width: 2.75rem; min-height: 2.4rem; color: var(--accent);
    background: var(--panel); border: 1px solid var(--line); border-radius: 6px; cursor: pointer; }
  .controls button:disabled { color: var(--soft); cursor: default; } .controls input { flex: 1 1 8rem; min-width:
    6rem; accent-color: var(--accent); } .controls output { min-width: 10.5rem; font-size: .875rem; color:
    var(--soft); font-variant-numeric: tabular-nums; }
  .js .node { display: none; border-top: 0; } .js .node.on { display: flex; }
  .js .backward { display: none; } .js .forward { order: 2; } .js.returning .backward { display: block; order: 1; }
  .js .list a.done { border-left-color: var(--accent); } .js .list a.back { border-left-color: var(--c2); }
  .js .list a.on { background: var(--mark); font-weight: 600; }
}
@media screen and (min-width: 56rem) {
  .js .player { display: grid; grid-template-columns: 16rem minmax(0, 1fr); gap: 1.5rem; align-items: start; }
  .js .list { columns: auto; position: sticky; top: .5rem; max-height: calc(100vh - 1rem); overflow-y: auto; margin:
    0; }
}
@media screen and (max-width: 55.99rem) { .js .list { display: none; } .stage { min-height: 90vh; touch-action: pan-y;
  } }
@media (max-width: 40rem) { .cells { font-size: 9.5px; } .cells i { width: 39px; padding: 0 2px; } .matrix figcaption
  { max-width: 20rem; } .controls output { flex-basis: 100%; } }
@media print { .list { display: none; } .node { break-inside: auto; } .matrix { break-inside: avoid; } .cells {
  font-size: 6pt; line-height: 9pt; } .cells i { width: 28px; } h3, h4, .formula { break-after: avoid; } }
)css";

inline constexpr const char* step_script = R"js(
(() => {
  const root = document.documentElement, get = id => document.getElementById(id);
  const nodes = [...document.querySelectorAll('.node')], links = [...document.querySelectorAll('#list a')];
  const count = nodes.length, last = 2 * count - 1, slider = get('slider');
  let at = 0;
  root.classList.add('js');
  slider.max = last;

  // Steps 0 .. count - 1 go forward, the others from the last node back to the first.
  const returning = () => at >= count;
  const node = () => returning() ? last - at : at;
  function show(step, remember = true) {
    at = Math.max(0, Math.min(last, step));
    const i = node(), back = returning();
    root.classList.toggle('returning', back);
    nodes.forEach((n, j) => n.classList.toggle('on', j === i));
    links.forEach((a, j) => {
      a.classList.toggle('on', j === i);
      a.classList.toggle('done', back || j <= i);
      a.classList.toggle('back', back && j >= i);
      if (j === i) a.setAttribute('aria-current', 'step'); else a.removeAttribute('aria-current');
    });
    const list = get('list'), link = links[i];
    if (list.scrollHeight > list.clientHeight)
      list.scrollTop = link.offsetTop - list.offsetTop - list.clientHeight / 2;
    slider.value = at;
    get('where').textContent = (back ? 'backward ' : 'forward ') + i + ', step ' + (at + 1) + ' of ' + (last + 1);
    get('first').disabled = get('back').disabled = at === 0;
    get('last').disabled = get('next').disabled = at === last;
    if (remember) history.replaceState(null, '', '#' + (back ? 'backward-' : 'forward-') + i);
  }
  function follow() {
    const found = /^#(node|forward|backward)-(\d+)$/.exec(location.hash);
    if (!found) return false;
    const i = Math.min(Number(found[2]), count - 1);
    show(found[1] === 'backward' || (found[1] === 'node' && returning()) ? last - i : i, found[1] === 'node');
    return true;
  }
  get('first').addEventListener('click', () => show(0));
  get('last').addEventListener('click', () => show(last));
  get('back').addEventListener('click', () => show(at - 1));
  get('next').addEventListener('click', () => show(at + 1));
  slider.addEventListener('input', () => show(Number(slider.value)));
  addEventListener('hashchange', follow);
  addEventListener('keydown', e => {
    if (e.target === slider || e.altKey || e.ctrlKey || e.metaKey || e.shiftKey) return;
    const to = {ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: last}[e.key];
    if (to === undefined) return;
    e.preventDefault();
    show(to);
  });
  let start = null;
  const stage = document.querySelector('.stage');
  stage.addEventListener('touchstart', e => {
    start = e.touches.length === 1 && e.target !== slider ? e.touches[0] : null;
  }, {passive: true});
  stage.addEventListener('touchend', e => {
    if (!start) return;
    const dx = e.changedTouches[0].clientX - start.clientX, dy = e.changedTouches[0].clientY - start.clientY;
    start = null;
    if (Math.abs(dx) > 50 && Math.abs(dx) > 2 * Math.abs(dy)) show(at + (dx < 0 ? 1 : -1));
  }, {passive: true});
  if (!follow()) show(0, false);
})();)js";

}  // namespace crisp::inspect
