/* The comparison page: table, charts, differences. The address holds the whole question. */
import {
  api, copyText, count, html, patch, percent, poll, query, register, setQuery, signed, toast,
} from "./studio.js";
import { swatch } from "./methods.js";
import { draw } from "./charts.js";

const PARTS = ["study", "task", "metric", "split", "baseline", "extra"];
const listed = (name) => (query().get(name) || "").split(",").filter(Boolean);
const asked = () => {
  const search = new URLSearchParams();
  for (const name of PARTS) if (query().get(name)) search.set(name, query().get(name));
  return search.toString();
};
/* A row's method, and below it what sets its settings apart: the last part in square brackets. */
const named = (label) => {
  const [, method, apart] = /^(.*?)(?: (\[.*\]))?$/.exec(label);
  return html`${swatch(label)}${method}${apart && html` <small class="apart">${apart}</small>`}`;
};
const pValue = (p) => (typeof p !== "number" ? "–" : p < 0.001 ? "< 0.001" : p.toFixed(3));

/* ---- choosing ---- */

const option = (value, text, chosen) =>
  html`<option value="${value}"${chosen && html` selected`}>${text}</option>`;

const box = (name, value, text, checked, title = "") =>
  html`<label class="pick" title="${title}"><input type="checkbox" data-list="${name}" value="${value}"${checked && html` checked`}> <span>${text}</span></label>`;

function controls(data) {
  const chosen = new Set(data.studies.map((study) => study.id));
  const tasks = listed("task");
  const isOpen = data.studies.every((study) => study.is_test_open);
  const names = data.studies.map((study) => `${study.slug} ${study.name}`).join(", ");
  return html`<section class="card controls" data-key="controls" aria-label="What is compared">
    <details class="picker" data-key="studies"><summary><span class="muted">Studies</span> <strong>${names || "none"}</strong></summary>
      <div class="picks">${data.all_studies.map((study) => box("study", study.slug, `${study.slug} ${study.name}`, chosen.has(study.id), study.question))}</div></details>
    ${data.tasks.length > 1 && html`<fieldset class="picks inline"><legend class="muted">Tasks</legend>${data.tasks.map((task) => box("task", task, task, !tasks.length || tasks.includes(task)))}</fieldset>`}
    <div class="selects">
      <label>Metric <select data-choice="metric">${data.metrics.map(({ name, title }) => option(name, title, name === data.metric))}</select></label>
      <label>Split <select data-choice="split">${isOpen ? [option("", "test", data.split === "test"), option("dev", "dev", data.split === "dev")] : option("", "dev (test is sealed)", true)}</select></label>
      <label>Compared with <select data-choice="baseline">${data.rows.map(({ label }) => option(label, label, label === data.baseline))}</select></label>
      ${data.extra_sets.length > 0 && html`<label>Diagnostics <select data-choice="extra">${[option("", "not shown", !data.has_extra), option("1", data.extra_sets.join(" and "), data.has_extra)]}</select></label>`}
    </div></section>`;
}

function sealed(data) {
  const closed = data.studies.filter((study) => !study.is_test_open);
  const opened = data.studies.filter((study) => study.test_openings > 0);
  const times = opened.map((study) => `${study.slug}: opened ${study.test_openings} time${study.test_openings > 1 ? "s" : ""} before its end`).join("; ");
  return html`<div data-key="sealed">${closed.length > 0 && html`<div class="notice notice-info"><p><strong>The test split is sealed</strong> until all runs of
      ${closed.map((study) => study.slug).join(", ")} have ended; numbers are from dev. Opening earlier is recorded and shown beside the table.
      ${closed.map((study) => html`<button type="button" class="btn btn-small" data-open="${study.id}">Open ${study.slug}</button> `)}</p></div>`}
    ${times && html`<p class="muted small">Test split: ${times}.</p>`}</div>`;
}

/* ---- table ---- */

function cellBody(cell) {
  const flags = Object.entries(cell.flags).map(([name, n]) => `${name} ${n}`).join(", ");
  const value = html`<span class="rank-${cell.rank}">${percent(cell.mean)}</span>${cell.n > 1 && html`<span class="spread"> ± ${percent(cell.std)}</span>`}`;
  return html`${cell.n ? value : html`<span class="muted">${cell.waiting ? "waiting" : "–"}</span>`}
    <small>${[cell.n ? `n = ${cell.n}` : "", ...cell.remarks].filter(Boolean).join(" · ")}</small>
    ${flags && html`<small class="warn" title="${flags}">⚠ ${flags}</small>`}`;
}

function cellOf(data, row, r, c, open) {
  const cell = row.cells[c];
  if (!cell) return html`<td class="num muted">–</td>`;
  const name = `${r}.${c}`;
  return html`<td class="num cell"><button type="button" data-cell="${name}" aria-expanded="${open === name ? "true" : "false"}" aria-label="${row.label}, ${data.columns[c].title}: ${percent(cell.mean)} percent, n = ${cell.n}. Show its runs">${cellBody(cell)}</button></td>`;
}

function runsOf(data, open) {
  const [r, c] = open.split(".").map(Number);
  const row = data.rows[r], cell = row?.cells[c];
  if (!cell) return "";
  return html`<div class="card runs-of" data-key="runs-of"><div class="section-head"><h3>${swatch(row.method_label)}${row.label}, ${data.columns[c].title}</h3>
    <button type="button" class="btn btn-small" data-cell="${open}">Close</button></div>
    <ul>${cell.runs.map(({ run_id, seed, value }) => html`<li><a href="/run?run=${run_id}">${seed}</a> <span class="num">${value === null ? "no result" : percent(value)}</span></li>`)}</ul></div>`;
}

const SELECTION_NOTES = {
  paper_practice: "Checkpoints are chosen on the reported split itself",
  fold: "Trained without one fold of train, which chose the checkpoint",
  refit: "Settings were chosen over five folds, then trained on all of train; the last checkpoint is kept",
};

function columnHead(column, { columns }) {
  const isOne = new Set(columns.map(({ backbone }) => backbone)).size < 2;
  const isOneMeasure = new Set(columns.map(({ measure }) => measure).filter(Boolean)).size < 2;
  const selection = column.selection !== "dev" && html` <span class="chip chip-warn" title="${SELECTION_NOTES[column.selection]}">${column.selection_title}</span>`;
  const joint = column.is_joint && html` <span class="chip" title="One run trained on ${column.trained_on.replaceAll("+", ", ")}">joint</span>`;
  return html`${column.task}${joint}${selection}<small>${column.is_extra ? `scored by runs of ${column.trained_on || column.task}` : column.regime}</small>${isOne ? "" : html`<small>${column.backbone}</small>`}
    ${!isOneMeasure && column.measure && html`<small>${column.measure}</small>`}
    ${column.examples > 0 && html`<small>${column.examples.toLocaleString("en")} examples</small>`}`;
}

/* Runs of one method differ where tasks have different heads: then the smallest and the largest. */
function trainable({ num_trainable: counts }) {
  const ends = new Set([counts[0], counts.at(-1)].map(count));
  return counts.length ? `${[...ends].join(" – ")} trainable` : "";
}

function table(data) {
  const open = query().get("cell") || "";
  const average = data.rows.some((row) => typeof row.average === "number");
  const rows = data.rows.map((row, r) => html`<tr data-key="row-${row.label}"><th scope="row">${named(row.label)}<small>${trainable(row)}</small></th>
    ${row.cells.map((_, c) => cellOf(data, row, r, c, open))}
    ${average && html`<td class="num"><span class="rank-${row.average_rank}">${percent(row.average)}</span></td>`}</tr>`);
  return html`<section class="stack" data-key="table"><div class="section-head"><h2>Table</h2><div class="page-actions">
      <button type="button" class="btn btn-small" data-copy="md">Copy Markdown</button>
      <button type="button" class="btn btn-small" data-copy="tex">Copy LaTeX</button>
      <button type="button" class="btn btn-small" data-copy="csv">Copy CSV</button>
      <a class="btn btn-small" href="/api/compare.csv?${asked()}" download="comparison.csv">Download</a></div></div>
    <div class="table-scroll" tabindex="0" role="region" aria-label="Comparison table"><table class="table comparison"><thead><tr><th scope="col">Method</th>
      ${data.columns.map((column) => html`<th scope="col" class="num" title="${column.task}, ${column.regime}, ${column.backbone}">${columnHead(column, data)}</th>`)}
      ${average && html`<th scope="col" class="num" title="Mean of the tasks in this table">average</th>`}</tr></thead>
      <tbody>${rows}<tr class="majority" data-key="majority"><th scope="row">majority class</th>${data.columns.map((column) => html`<td class="num">${percent(column.majority)}</td>`)}${average && html`<td></td>`}</tr></tbody></table></div>
    ${open && runsOf(data, open)}
    <p class="muted small">${data.caption} Best <strong>bold</strong>, second <u>underlined</u>, among cells with at least two seeds.</p></section>`;
}

/* ---- joint training, averages ---- */

const meanOf = ({ mean, std, n }) =>
  n ? html`${percent(mean)}${n > 1 && html`<span class="spread"> ± ${percent(std)}</span>`}` : html`<span class="muted">–</span>`;
const interval = ({ low, high }) => (typeof low === "number" ? `${signed(low)} … ${signed(high)}` : "–");

function jointGains(data) {
  if (!data.gains.length) return "";
  const isOne = new Set(data.gains.map(({ study }) => study)).size < 2;
  const hasControl = data.gains.some(({ control }) => control.n);
  return html`<section class="card" data-key="gains"><h2>Joint training, task by task</h2>
    <p class="muted small">In points, paired by seed: joint minus the same task trained alone with as many updates as it got jointly; mean and 95 % interval (Student).${!hasControl && html` <strong>No control has a result here</strong>, so nothing can be said about what joint training adds.`}</p>
    <div class="table-scroll plain" tabindex="0" role="region" aria-label="Joint training and its control"><table class="table compact"><thead><tr><th>Method</th><th>Task</th><th class="num">Joint</th><th class="num">Control</th><th class="num">Difference</th><th class="num">95 % interval</th><th class="num">Pairs</th><th class="num">p</th></tr></thead>
      <tbody>${data.gains.map((gain) => html`<tr><th scope="row">${named(gain.label)}</th><td title="${gain.title}">${gain.task}${!isOne && html` <small class="muted">${gain.study}</small>`}</td><td class="num">${meanOf(gain.joint)}</td><td class="num">${meanOf(gain.control)}</td>
        <td class="num">${signed(gain.mean)}</td><td class="num">${interval(gain)}</td><td class="num">${gain.n}</td><td class="num">${pValue(gain.p)}</td></tr>`)}</tbody></table></div></section>`;
}

/* Of one setting: a line a method, or one line for all where none has a number for the same reason. */
function averageOf(rows, setting) {
  const own = rows.filter((row) => row.setting === setting);
  if (own.every(({ n, reason }) => !n && reason === own[0].reason))
    return html`<p class="small table-note"><strong>${setting}</strong>: no number, ${own[0].reason}.</p>`;
  const hasRemark = own.some(({ reason }) => reason);
  return html`<p class="small table-note"><strong>${setting}</strong></p><div class="table-scroll plain"><table class="table compact"><thead><tr><th>Method</th><th class="num">Average</th><th class="num">Seeds</th>${hasRemark && html`<th>Remark</th>`}</tr></thead>
    <tbody>${own.map((row) => html`<tr><th scope="row">${named(row.label)}</th><td class="num">${meanOf(row)}</td><td class="num">${row.n || "–"}</td>${hasRemark && html`<td class="muted small">${row.reason}</td>`}</tr>`)}</tbody></table></div>`;
}

function averagesOf(data) {
  if (!data.averages.length) return "";
  return html`<section class="card" data-key="averages"><h2>Averages over tasks</h2>
    ${data.averages.map(({ title, note, rows }) => html`<h3>${title}, ${data.split}</h3><p class="muted small">This is ${note}. All of its tasks or no number.</p>
      ${[...new Set(rows.map(({ setting }) => setting))].map((setting) => averageOf(rows, setting))}`)}</section>`;
}

/* ---- differences ---- */

function differences(data) {
  const found = data.columns.map((column, c) => ({ column, part: data.differences[c] })).filter(({ part }) => part.rows.length);
  if (!found.length) return "";
  const isOne = new Set(found.map(({ part }) => part.sentence)).size < 2;
  const canShow = (sentence) => html`<p class="small table-note"><strong>What this can show.</strong> ${sentence}</p>`;
  return html`<section class="card" data-key="differences"><h2>Differences from ${data.baseline}</h2>
    <p class="muted small">In points, paired by seed: mean, 95 % interval (Student), exact sign-flip p, and p corrected for the number of methods (Holm).</p>
    ${found.map(({ column, part }) => html`<h3>${column.title}</h3><div class="table-scroll plain" tabindex="0" role="region" aria-label="Differences on ${column.title}"><table class="table compact"><thead><tr><th>Method</th><th class="num">Difference</th><th class="num">95 % interval</th><th class="num">Pairs</th><th class="num">p</th><th class="num">p (Holm)</th></tr></thead>
      <tbody>${part.rows.map((row) => html`<tr><th scope="row">${named(row.label)}</th><td class="num">${signed(row.mean)}</td>
        <td class="num">${interval(row)}</td><td class="num">${row.n}</td><td class="num">${pValue(row.p)}</td><td class="num">${pValue(row.p_holm)}</td></tr>`)}</tbody></table></div>
      ${!isOne && canShow(part.sentence)}`)}${isOne && canShow(found[0].part.sentence)}</section>`;
}

/* ---- page ---- */

const chartCard = (name, title, note, tools = "") => html`<section class="card" data-key="card-${name}"><div class="section-head"><h2>${title}</h2>${tools}</div>
  <p class="muted small">${note}</p><div data-keep><div class="chart" data-chart="${name}" role="img" aria-label="${title}; the numbers are in the table"></div></div></section>`;

function page(data) {
  if (!data.studies.length)
    return html`<div class="card empty"><p class="empty-title">Nothing to compare yet</p><p>Queue a study with two methods and a few seeds; its table fills while the runs end.</p><a class="btn btn-primary" href="/new">New experiment</a></div>`;
  const column = Math.min(Number(query().get("column")) || 0, data.columns.length - 1);
  const columns = data.columns.length > 1 && html`<label class="inline-label muted small">of <select data-choice="column">${data.columns.map(({ title }, c) => option(String(c), title, c === column))}</select></label>`;
  if (!data.rows.length)
    return html`<div class="stack">${controls(data)}<div class="card empty"><p class="empty-title">No final runs here yet</p><p>Trials of the tuning are not compared; final runs follow them.</p></div></div>`;
  return html`<div class="stack">${controls(data)}${sealed(data)}
    ${data.warnings.length > 0 && html`<div class="notice notice-warn" data-key="warnings"><ul>${data.warnings.map((text) => html`<li>${text}</li>`)}</ul></div>`}
    ${table(data)}
    ${jointGains(data)}${averagesOf(data)}
    ${chartCard("comparison_bars", "Means and seeds", "Bars are means, marks are single seeds, the dotted line is the majority class.")}
    <div class="grid-2 even" data-key="pair">
      ${chartCard("learning_curve", "Learning curves", "Mean ± standard deviation over seeds.", columns)}
      ${chartCard("accuracy_parameters", "Accuracy and trainable parameters", `Mean ± standard deviation on ${data.columns[column].title}; parameters on a logarithmic axis.`)}</div>
    ${differences(data)}</div>`;
}

/* Attributes do not move a box or list that was touched; the answer of the server does. */
function settle(element) {
  for (const one of element.querySelectorAll("[data-list]")) one.checked = one.hasAttribute("checked");
  for (const one of element.querySelectorAll("select[data-choice]")) {
    const chosen = one.querySelector("option[selected]");
    if (chosen) one.value = chosen.value;
  }
}

function mountCompare(element) {
  let data = null, drawnFor = "";

  async function charts() {
    const state = JSON.stringify([asked(), query().get("column"), data.rows]);
    if (state === drawnFor || !data.rows.length) return;
    drawnFor = state;
    for (const node of element.querySelectorAll("[data-chart]")) {
      const name = node.dataset.chart;
      const column = query().get("column") || "0";
      const { figure } = await api(`/api/compare/charts/${name}?${asked()}&column=${encodeURIComponent(column)}`);
      await draw(node, figure, `${name}-${asked()}-${name === "comparison_bars" ? "" : column}`);
    }
  }

  async function refresh() {
    try {
      data = await api(`/api/compare?${asked()}`);
    } catch (error) {
      if (error.status !== 404) throw error;
      patch(element, html`<div class="card empty"><p class="empty-title">${error.message}</p><a class="btn btn-primary" href="/compare">Compare the newest study</a></div>`);
      return 60000;
    }
    patch(element, page(data));
    settle(element);
    await charts();
    return data.rows.some((row) => row.cells.some((cell) => cell?.waiting)) ? 4000 : 30000;
  }

  const timer = poll(refresh, 5000);

  async function copy(form) {
    const answer = await fetch(`/api/compare.${form}?${asked()}`);
    if (answer.ok) await copyText(await answer.text());
    else toast("The table could not be read.", "bad");
  }

  async function open(id) {
    try {
      await api(`/api/studies/${id}/open-test`, { method: "POST", body: {} });
      toast("The test is open; this was recorded.", "good");
    } catch (error) {
      toast(error.message, "bad");
    }
    await timer.now();
  }

  element.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    const { cell, copy: form, open: study } = button.dataset;
    if (cell) {
      setQuery({ cell: query().get("cell") === cell ? "" : cell });
      patch(element, page(data));
    } else if (form) copy(form);
    else if (study) open(study);
  });
  element.addEventListener("change", (event) => {
    const { choice, list } = event.target.dataset;
    if (choice) setQuery({ [choice]: event.target.value });
    if (list) {
      const boxes = [...element.querySelectorAll(`[data-list="${list}"]`)];
      const chosen = boxes.filter((one) => one.checked).map((one) => one.value);
      setQuery({ [list]: list === "task" && chosen.length === boxes.length ? "" : chosen.join(","), cell: "", column: "" });
    }
    if (choice || list) timer.now();
  });
  return () => timer.stop();
}

register("compare", mountCompare);
