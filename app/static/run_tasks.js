/* Parts of a run's result: the tasks of a joint training, and the sets scored once at its end. */
import { count, html, percent } from "./studio.js";

/* A correlation is no share, so it carries no percent sign. */
const CORRELATIONS = new Set(["matthews"]);
const shown = (name, value) => `${percent(value)}${CORRELATIONS.has(name) ? "" : " %"}`;

/* ``accuracy``, or ``cb/accuracy`` for one task of several. */
export function metricTitle(view, name) {
  const [metric, task] = name.split("/").reverse();
  const title = view.titles[metric] || metric;
  return task ? `${task}: ${title}` : title;
}

/* Hues of tasks; the one that is nearest the method's own is left to the mean over tasks. */
const TASK_COLORS = [
  "#2b7fc4", "#d0406f", "#5f8a3a", "#8b6bd6", "#bf8300", "#2f9aa6", "#c46a9b", "#a0785a", "#7f7f7f",
];
const parts = (color) => [1, 3, 5].map((place) => parseInt(color.slice(place, place + 2), 16));
const distance = (one, other) => Math.hypot(...parts(one).map((x, i) => x - parts(other)[i]));

/* Colour of each task of a joint run, never like the method's, which the mean over tasks has. */
export function taskColors(tasks, methodColor) {
  const nearest = Math.min(...TASK_COLORS.map((color) => distance(color, methodColor)));
  const free = TASK_COLORS.filter((color) => distance(color, methodColor) > nearest);
  return Object.fromEntries(tasks.map((task, i) => [task, free[i % free.length]]));
}

const numbers = (view, values) => Object.entries(values || {}).map(([name, value]) =>
  html`<div>${metricTitle(view, name)} <strong>${shown(name, value)}</strong></div>`);

const setRows = (view, sets, task = "") => Object.entries(sets).map(([set, values]) => html`<tr>
  <td><strong>${set}</strong>${task && html` <span class="muted small">of ${task}</span>`}</td>
  <td class="num">${numbers(view, values)}</td></tr>`);

const setTable = (rows) => html`<h3>Scored once, never trained on</h3><div class="table-scroll plain">
  <table class="table compact"><thead><tr><th>Set</th><th class="num">Score</th></tr></thead>
  <tbody>${rows}</tbody></table></div>`;

export const extraCard = (view, sets) => setTable(setRows(view, sets));

export function tasksCard(view) {
  const tasks = Object.entries(view.result.tasks);
  const rows = tasks.map(([task, part]) => html`<tr><td><strong>${task}</strong>
    <div class="muted small">${part.template && `template ${part.template}`}</div></td>
    <td class="num">${numbers(view, part.dev)}</td>
    <td class="num">${part.test ? numbers(view, part.test) : "sealed"}</td>
    <td class="num muted">${percent(part.majority?.dev)} %</td><td class="num">${count(part.updates)}</td>
    <td class="num">${count(part.counts?.train)}</td></tr>`);
  const sets = tasks.flatMap(([task, part]) => (part.extra ? setRows(view, part.extra, task) : []));
  return html`<h3>Each task</h3><div class="table-scroll plain"><table class="table compact"><thead><tr><th>Task</th>
    <th class="num">Dev</th><th class="num">Test</th><th class="num">Majority, dev</th>
    <th class="num">Updates</th><th class="num">Train</th></tr></thead><tbody>${rows}</tbody></table></div>
    ${sets.length > 0 && setTable(sets)}`;
}
