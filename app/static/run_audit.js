/* What a run's choices are worth: its own beside others put in their place on dev. */
import { api, count, html, percent, signed } from "./studio.js";
import { draw } from "./charts.js";

const CORRELATIONS = new Set(["matthews"]);
const shown = (one, value) => `${percent(value)}${CORRELATIONS.has(one.metric) ? "" : " %"}`;
const chartName = (place) => `audit-${place}`;

const gain = (view, one, [label, value, low, high]) => html`<div class="fact"><dt>Own minus ${label}</dt>
  <dd>${signed(value)}<small>points of ${view.titles[one.metric] || one.metric}, 95 % interval ${signed(low)} to ${signed(high)}</small></dd></div>`;

function rowsTable(view, one) {
  const names = [one.metric, ...Object.keys(one.lines[0].metrics).filter((name) => name !== one.metric)];
  const row = (line) => html`<tr><th scope="row">${line.label}${line.note && html` <div class="muted small">${line.note}</div>`}</th>
    ${names.map((name) => html`<td class="num">${percent(line.metrics[name])}</td>`)}</tr>`;
  return html`<details><summary>All rows as a table</summary><div class="table-scroll plain"><table class="table compact">
    <thead><tr><th>Choice</th>${names.map((name) => html`<th class="num">${view.titles[name] || name}, %</th>`)}</tr></thead>
    <tbody>${one.lines.map(row)}${one.fixed.map(row)}</tbody></table></div></details>`;
}

/* Choices that no example took are left out: with 20 vectors most columns would be empty. */
function classTable(one) {
  const taken = one.names.map((name, place) => place).filter((place) => one.by_class.some((counts) => counts[place]));
  return html`<h3>Choices by class</h3><div class="table-scroll plain"><table class="table compact">
    <thead><tr><th>Class</th>${taken.map((place) => html`<th class="num">${one.fixed[place].label}</th>`)}</tr></thead>
    <tbody>${one.classes.map((name, i) => html`<tr><th scope="row">${name}</th>
      ${taken.map((place) => html`<td class="num">${count(one.by_class[i][place])}</td>`)}</tr>`)}</tbody></table></div>
    <p class="muted small">${one.told}</p>`;
}

const biased = (one) => one.lines.find((line) => line.kind === "best_each");

const card = (view, one, place) => html`<section class="card audit" data-key="audit-${place}">
  <div class="section-head"><h2>What the choice is worth <span class="muted">${one.title}</span></h2></div>
  <p class="muted small">${one.about} Striped: ${shown(one, biased(one)?.metrics[one.metric])} is ${biased(one)?.note}.</p>
  <div data-keep><div class="chart" data-chart="${chartName(place)}" role="img" aria-label="What the choice is worth: ${one.title}"></div></div>
  <dl class="facts">${one.gains.map((found) => gain(view, one, found))}</dl>
  <p class="small audit-meaning">${view.audit_meaning}</p>
  ${classTable(one)}${rowsTable(view, one)}
</section>`;

export const auditCards = (view) => (view.audit || []).map((one, place) => card(view, one, place));

/* The numbers of a finished run never change, so each figure is fetched once. */
const fetched = new Map();
export async function drawAudits(view, chart) {
  for (const place of (view.audit || []).keys()) {
    const key = `${view.row.id}-${chartName(place)}`;
    const element = chart(chartName(place));
    if (!element || element.dataset.drawn) continue;
    if (!fetched.has(key)) fetched.set(key, (await api(`/api/runs/${view.row.id}/audit/${place}`)).figure);
    if (fetched.get(key)) await draw(element, fetched.get(key), key);
  }
}
