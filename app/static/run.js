/* The page of one run: what it is, how it goes, and how it ended. */
import {
  api, ago, count, duration, html, number, patch, percent, plotly, poll, query, register, setQuery,
  stateChip, toast,
} from "./studio.js";
import { methodColor, swatch } from "./methods.js";
import { draw, layout, merge, smooth } from "./charts.js";
import { againButton, attemptsCard, endNote, readLogs, stalledNote } from "./run_attempts.js";
import { continuesText, isResumed, scoringText, taskText } from "./views_home.js";
import { auditCards, drawAudits } from "./run_audit.js";
import { placesCard, readPlaces } from "./run_places.js";
import { extraCard, metricTitle, taskColors, tasksCard } from "./run_tasks.js";

const ACTIVE = ["starting", "running", "stopping"];
const ENDED = ["succeeded", "failed", "cancelled"];
/* What a dynamic prompt may choose: heading of the chart, and what it shows of the dev examples. */
const CHOICES = {
  cut: ["Where the prompt goes", "Share of the dev examples for which each cut was chosen, at every evaluation."],
  slot: ["Where the prompt goes", "Share of the dev examples for which each place was chosen, at every evaluation."],
  length: ["How long the prompt is", "Share of the dev examples for which each length (vectors used) was chosen, at every evaluation."],
  pool: ["Which prompts are mixed", "Mean weight of each prompt of the pool over the dev examples, at every evaluation."],
};
const unseen = () => Object.fromEntries(Object.keys(CHOICES).map((name) => [name, -1]));
const SKIPPED = new Set(["schema_version"]);
const total = (counts) => Object.values(counts || {}).reduce((sum, n) => sum + n, 0);
/* Short runs need less smoothing, or the average lags behind the whole curve. */
const usualWeight = (updates) => (updates > 1000 ? 0.95 : updates > 250 ? 0.85 : 0.6);
/* The metric that chooses the checkpoint comes first. */
const devNames = (curves, view) =>
  Object.keys(curves).filter((name) => name.startsWith("dev/") && !name.endsWith("loss"))
    .sort((a, b) => (b === `dev/${view.criterion}`) - (a === `dev/${view.criterion}`));

/* ---- pieces ---- */

function actions(view) {
  const { row } = view;
  const button = (name, text, extra = "") =>
    html`<button type="button" class="btn ${extra}" data-action="${name}">${text}</button>`;
  const stoppable = row.state === "queued" || ["starting", "running"].includes(row.state);
  return html`
    ${stoppable && button("cancel", "Cancel")}
    ${againButton(view)}
    <a class="btn" href="/new?clone=${row.id}">Clone</a>
    <a class="btn" href="/compare?study=S${row.study_number}">Compare</a>
    ${row.state === "succeeded" && html`<a class="btn btn-primary" href="/try?task=${encodeURIComponent(row.task.split("+")[0])}&runs=${row.id}">Try it</a>`}`;
}

function head(view) {
  const { row, study } = view;
  return html`<header class="page-head" data-key="head"><div>
    <p class="crumbs"><a href="/runs?study=${study.id}">${study.slug} ${study.name}</a> › ${row.slug}</p>
    <h1>${swatch(row.method_label)}${row.method_label} <span class="muted">on ${taskText(row)}</span>${study.selection === "paper_practice" && html` <span class="chip chip-warn" title="Checkpoints are chosen on the reported split itself">paper practice</span>`}</h1>
    <p>${view.sentence}</p>
    <p class="small">${row.backbone} · ${row.regime} · data seed ${row.data_seed}, init seed ${row.init_seed}${row.role === "trial" && " · trial of the tuning"}</p>
    <p class="small muted">${view.about.join(" · ")}${view.config.init_from && html`${view.about.length > 0 && " · "}starts from <a href="/run?run=${view.config.init_from}">a trained run</a>`}</p>
    </div><div class="page-actions">${actions(view)}</div></header>`;
}

function progress(view) {
  const { row, worker } = view;
  const width = percent(row.share_done, 1);
  const scoring = scoringText(row);
  const left = row.seconds_left === null || scoring ? "" : ` · about ${duration(row.seconds_left)} left`;
  const words = scoring || {
    queued: row.not_before && new Date(row.not_before) > new Date()
      ? "waits a moment before the next attempt" : isResumed(row) ? continuesText(row) : "waits for a worker",
    starting: "loading backbone and data", stopping: "stops at the next update",
  }[row.state] || row.phase || row.state;
  const silent = worker && worker.seconds_silent > 20
    ? html`<span class="chip chip-warn">worker silent for ${duration(worker.seconds_silent)}</span>` : "";
  /* The size of its last group stays in the row; a run that waits is in none. */
  const group = row.group_size > 1 && ACTIVE.includes(row.state)
    ? ` · trains together with ${row.group_size - 1} other${row.group_size > 2 ? "s" : ""}` : "";
  return html`<section class="card" data-key="progress" aria-label="Progress">
    <div class="run-progress">${stateChip(row.state)}
      <span class="bar bar-live" role="progressbar" aria-valuemin="0" aria-valuemax="100" aria-valuenow="${Math.round(100 * row.share_done)}" aria-label="Updates done"><i style="width:${width}%"></i></span>
      <span class="num">${row.total_steps ? `${isResumed(row) ? row.checkpoint_step : row.last_step} / ${row.total_steps} updates` : ""}</span></div>
    <p class="muted small">${words}${row.attempt > 1 && ` · attempt ${row.attempt}`}${left}${group}${worker && ` · on ${worker.name} (${worker.device})`} ${silent}</p>${stalledNote(view)}
  </section>`;
}

const fact = (name, value, note = "") =>
  html`<div class="fact"><dt>${name}</dt><dd>${value}${note && html`<small>${note}</small>`}</dd></div>`;

function testFact(view) {
  const { result, study } = view;
  const times = study.test_openings
    ? `opened ${study.test_openings} time${study.test_openings > 1 ? "s" : ""}` : "";
  if (view.is_test_open && result.test)
    return Object.entries(result.test).map(([name, value]) =>
      fact(`Test ${metricTitle(view, name)}`, `${percent(value)} %`, [result.test_source, times].filter(Boolean).join(", ")));
  return fact("Test", html`sealed <button type="button" class="btn btn-small" data-action="open-test">Open</button>`,
    "shown when all runs of the study have ended; opening earlier is recorded");
}

function resultCard(view) {
  const { row, result } = view;
  const took = duration(view.seconds_at_work);
  const spent = [
    row.state === "cancelled" && row.total_steps > 0 && `${count(row.last_step)} of ${count(row.total_steps)} updates`,
    view.attempts.length > 0 && `${took} of work`,
  ].filter(Boolean).join(" and ");
  const majority = result.majority?.dev;
  const bad = row.state === "failed";
  return html`<section class="card result" data-key="result" aria-label="Result">
    <div class="result-head">${stateChip(row.state)} <strong>${{ succeeded: "Finished", failed: "Ended with an error", cancelled: "Stopped on request" }[row.state]}</strong>
      <span class="muted">${spent && `after ${spent}, `}${ago(row.ended_at)}</span>
      ${(result.flags || []).map((flag) => html`<span class="chip chip-warn" title="${view.flags[flag] || ""}">${flag}</span>`)}</div>
    ${bad && endNote(view)}
    ${!bad && row.exit_detail && html`<p class="muted small">${row.exit_detail}</p>`}
    ${row.state === "succeeded" && html`<dl class="facts">
      ${view.config.selection === "refit" && fact("Dev", "none", "trained on all of train; the last checkpoint is kept")}
      ${Object.entries(result.dev || {}).map(([name, value], i) => fact(`Dev ${metricTitle(view, name)}`, `${percent(value)} %`,
        i === 0 ? `best checkpoint, update ${result.best_step ?? "–"}${majority !== undefined && majority !== null ? `; majority ${percent(majority)} %` : ""}; last ${percent(result.dev_last?.[name])} %` : ""))}
      ${testFact(view)}
      ${fact("Train loss", number(result.train_loss, 3), "mean of the last updates")}
      ${fact("Updates", count(result.updates), `${count(result.examples)} examples`)}
      ${fact("Trainable", count(total(result.num_trainable || row.num_trainable)), Object.entries(result.num_trainable || row.num_trainable || {}).map(([name, n]) => `${name} ${count(n)}`).join(" · "))}
      ${fact("Time", took, result.cpu_seconds ? `${duration(result.cpu_seconds)} of processor time` : "")}
    </dl>`}
    ${(result.flags || []).length > 0 && html`<ul class="small muted flags">${result.flags.map((flag) => html`<li><strong>${flag}</strong>: ${view.flags[flag] || ""}</li>`)}</ul>`}
    ${result.tasks && tasksCard(view)}${result.extra && extraCard(view, result.extra)}
  </section>`;
}

function configRows(value, path = []) {
  return Object.entries(value).flatMap(([name, part]) => {
    if (SKIPPED.has(name) || part === null || part === "") return [];
    const isNested = part && typeof part === "object" && (!Array.isArray(part) || typeof part[0] === "object");
    if (isNested) return configRows(part, [...path, name]);
    if (Array.isArray(part) && !part.length) return [];
    return [[[...path, name].join("."), Array.isArray(part) ? part.join(", ") : String(part)]];
  });
}

const configTable = (config) => html`<section class="card" data-key="config"><h2>Configuration</h2>
  <dl class="settings">${configRows(config).map(([name, value]) => html`<div><dt>${name}</dt><dd class="mono">${value}</dd></div>`)}</dl></section>`;

function timeline({ events }) {
  const moves = events.map((event) => html`<li data-key="${event.at}${event.after}"><time datetime="${event.at}" title="${event.at}">${ago(event.at)}</time>
    <span><strong>${event.after}</strong>${event.reason && `: ${event.reason}`}${event.actor && html` <span class="muted">(${event.actor})</span>`}</span></li>`);
  return html`<section class="card" data-key="timeline"><h2>What happened</h2><ol class="timeline">${moves}</ol></section>`;
}

const chartCard = (name, title, note = "", tools = "") => html`<section class="card" data-key="card-${name}">
  <div class="section-head"><h2>${title}</h2>${tools}</div>${note && html`<p class="muted small">${note}</p>`}
  <div data-keep><div class="chart" data-chart="${name}" role="img" aria-label="${title}"></div></div></section>`;

function evaluations(curves, view) {
  const names = ["dev/loss", ...devNames(curves, view)].filter((name) => curves[name]);
  const steps = [...new Set(names.flatMap((name) => curves[name].steps))].sort((a, b) => a - b);
  if (!steps.length) return "";
  const at = (name, step) => curves[name].values[curves[name].steps.indexOf(step)];
  return html`<details data-key="evaluations"><summary>Evaluations as a table</summary><div class="table-scroll plain"><table class="table compact">
    <thead><tr><th class="num">Update</th>${names.map((name) => html`<th class="num">${name}</th>`)}</tr></thead>
    <tbody>${steps.slice(-100).map((step) => html`<tr><td class="num">${step}</td>${names.map((name) => html`<td class="num">${number(at(name, step), 4)}</td>`)}</tr>`)}</tbody></table></div></details>`;
}

/* ---- charts ---- */

function joins(attempts) {
  const later = attempts.filter((one) => one.attempt > 1 && one.resumed_from_step > 0);
  return {
    shapes: later.map(({ resumed_from_step: x }) => ({ type: "line", x0: x, x1: x, yref: "paper", y0: 0, y1: 1, line: { color: "#7d8592", width: 1, dash: "dash" } })),
    annotations: later.map(({ resumed_from_step: x, attempt }) => ({ x, yref: "paper", y: 1, yanchor: "top", xanchor: "left", text: `attempt ${attempt}`, showarrow: false, font: { size: 11 } })),
  };
}

/* A single point has no line. */
const drawn = (curve) => (curve.steps.length > 1 ? "lines" : "markers");

/* Tasks of a joint run in the order of their curves; a run of one task has none. */
const tasksOf = (curves) => [...new Set(Object.keys(curves)
  .map((name) => /^(?:train|dev)\/(.+)\/[^/]+$/.exec(name)?.[1]).filter(Boolean))].sort();

function lossFigure(curves, view, weight) {
  const color = methodColor(view.row.method_label);
  const train = curves["train/loss"], dev = curves["dev/loss"];
  const data = [];
  if (train) {
    data.push({ x: train.steps, y: train.values, name: "train, each update", mode: drawn(train), marker: { color }, line: { color, width: 1 }, opacity: 0.4, hoverinfo: "skip" });
    data.push({ x: train.steps, y: smooth(train.values, weight), name: "train, smoothed", mode: drawn(train), marker: { color }, line: { color, width: 3 }, hovertemplate: "%{y:.4f}" });
  }
  const colors = taskColors(tasksOf(curves), color);
  /* Of a joint training each task's own loss can be switched on in the legend. */
  for (const [name, curve] of Object.entries(curves)) {
    const task = /^train\/(.+)\/loss$/.exec(name)?.[1];
    if (task) data.push({ x: curve.steps, y: smooth(curve.values, weight), name: `train, ${task}`, mode: drawn(curve), marker: { color: colors[task] }, line: { color: colors[task], width: 2 }, visible: "legendonly", hovertemplate: "%{y:.4f}" });
  }
  if (dev) data.push({ x: dev.steps, y: dev.values, name: "dev", mode: "lines+markers", line: { color: "#7d8592", width: 2, dash: "dash" }, marker: { size: 6, symbol: "diamond" }, hovertemplate: "%{y:.4f}" });
  return { data, layout: layout("updates", "loss (nats)", joins(view.attempts)) };
}

function devFigure(curves, view) {
  const color = methodColor(view.row.method_label);
  const names = devNames(curves, view);
  const dashes = ["solid", "dash", "dot"], symbols = ["circle", "square", "diamond"];
  const tasks = tasksOf(curves), colors = taskColors(tasks, color);
  const data = names.map((name, i) => {
    const task = name.split("/").length > 2 ? name.split("/")[1] : "";
    // Curves of one task share a colour; the mean over tasks is the thick one in the method's own.
    const line = task ? { color: colors[task], width: 1.5 } : { color, width: tasks.length ? 3 : 2 };
    return { x: curves[name].steps, y: curves[name].values, name: metricTitle(view, name.slice(4)), mode: "lines+markers", line: { ...line, dash: dashes[i % 3] }, marker: { size: 6, symbol: symbols[i % 3], color: line.color }, hovertemplate: "%{y:.1%}" };
  });
  // One metric names the axis; several stand in the legend.
  const yTitle = names.length === 1 ? data[0].name : "score on dev";
  const marks = joins(view.attempts);
  const majority = view.result.majority?.dev;
  if (typeof majority === "number") {
    marks.shapes.push({ type: "line", xref: "paper", x0: 0, x1: 1, y0: majority, y1: majority, line: { color: "#7d8592", width: 1.5, dash: "dot" } });
    marks.annotations.push({ xref: "paper", x: 1, xanchor: "right", y: majority, yanchor: "bottom", text: "majority class", showarrow: false, font: { size: 11 } });
  }
  const best = view.summaries[names[0]];
  if (best && best.max_step !== null)
    data.push({ x: [best.max_step], y: [best.max_value], name: "best update", mode: "markers", marker: { symbol: "circle-open", size: 14, color: "#7d8592", line: { width: 3 } }, hovertemplate: "best %{y:.1%}" });
  return { data, layout: layout("updates", yTitle, { ...marks, yaxis: { tickformat: ".0%" } }) };
}

/* ---- the view ---- */

function body(view, curves, ui) {
  const { row } = view;
  const hasTrain = curves["train/loss"]?.steps.length > 0;
  const waiting = row.state === "queued" ? "Curves appear when a worker takes the run." : "Curves appear with the first updates.";
  const slider = html`<label class="small muted smoothing">Smoothing <input type="range" min="0" max="0.99" step="0.01" value="${ui.weight}" data-smoothing></label>`;
  return html`<div class="stack">${head(view)}
    ${ENDED.includes(row.state) ? resultCard(view) : progress(view)}
    ${hasTrain ? html`<div class="charts" data-key="charts">
      ${chartCard("loss", "Loss", "", slider)}
      ${devNames(curves, view).length ? chartCard("dev", "On dev") : ""}
      ${Object.entries(CHOICES).map(([name, [title, note]]) => view.histograms.includes(name) && chartCard(name, title, note))}
    </div>${evaluations(curves, view)}` : !ENDED.includes(row.state) && html`<section class="card empty" data-key="wait"><p>${waiting}</p></section>`}
    ${placesCard(ui)}${auditCards(view)}${attemptsCard(view, ui.logs)}${timeline(view)}${configTable(view.config)}
  </div>`;
}

function mountRun(element) {
  const wanted = query().get("run");
  if (!wanted) {
    patch(element, html`<div class="empty"><p class="empty-title">No run chosen</p><p>Choose one from the list of runs.</p><a class="btn btn-primary" href="/runs">Runs</a></div>`);
    return undefined;
  }
  const ui = { weight: usualWeight(0), isChosen: query().has("smooth"), logs: {}, done: new Set() };
  const seen = unseen();
  let view = null, curves = {}, cursor = "", drawnAt = "";
  if (ui.isChosen) ui.weight = Math.min(0.99, Math.max(0, Number(query().get("smooth")) || 0));

  const chart = (name) => element.querySelector(`[data-chart="${name}"]`);

  async function drawCharts() {
    const state = JSON.stringify([cursor, ui.weight, view.result.majority, view.attempts.length, Boolean(chart("loss"))]);
    if (state === drawnAt) return;
    drawnAt = state;
    if (chart("loss")) await draw(chart("loss"), lossFigure(curves, view, ui.weight), `${view.row.id}-loss`);
    if (chart("dev")) await draw(chart("dev"), devFigure(curves, view), `${view.row.id}-dev`);
  }

  async function drawChoices() {
    for (const name of Object.keys(CHOICES)) {
      if (!chart(name)) continue;
      const page = await api(`/api/runs/${view.row.id}/histograms/${name}?after=${seen[name]}`);
      seen[name] = page.last;
      if (page.figure) await draw(chart(name), page.figure, `${view.row.id}-${name}`);
    }
  }

  async function refresh() {
    try {
      view = await api(`/api/runs/${encodeURIComponent(wanted)}`);
    } catch (error) {
      if (error.status !== 404) throw error;
      patch(element, html`<div class="empty"><p class="empty-title">No run ${wanted}</p><p>${error.message}</p><a class="btn btn-primary" href="/runs">Runs</a></div>`);
      return 60000;
    }
    const page = await api(`/api/runs/${view.row.id}/curves?cursor=${encodeURIComponent(cursor)}`);
    if (page.reset) Object.assign(seen, unseen());
    curves = merge(curves, page);
    cursor = page.cursor;
    if (!ui.isChosen) ui.weight = usualWeight(view.row.total_steps);
    await readLogs(element, view, ui.logs, ui.done);
    await readPlaces(view, ui);
    patch(element, body(view, curves, ui));
    document.title = `${view.row.slug} ${view.row.method_label} – DP Studio`;
    await drawCharts();
    await drawChoices();
    await drawAudits(view, chart);
    return ENDED.includes(view.row.state) ? 20000 : ACTIVE.includes(view.row.state) ? 1500 : 3000;
  }

  const timer = poll(refresh, 2000);

  async function act(button) {
    const name = button.dataset.action;
    button.disabled = true;
    try {
      if (name === "open-test") await api(`/api/studies/${view.study.id}/open-test`, { method: "POST", body: {} });
      else await api(`/api/runs/${view.row.id}/${name}`, { method: "POST", body: {} });
      toast({ cancel: "Cancelling", retry: view.row.exit_kind === "evaluation" ? "Queued for evaluation" : "Queued again", "open-test": "The test is open; this was recorded" }[name], "good");
    } catch (error) {
      toast(error.message, "bad");
    }
    button.disabled = false;
    await timer.now();
  }

  element.addEventListener("click", (event) => {
    const button = event.target.closest("[data-action]");
    if (button) act(button);
  });
  element.addEventListener("input", (event) => {
    if (!event.target.matches("[data-smoothing]")) return;
    Object.assign(ui, { weight: Number(event.target.value), isChosen: true });
    setQuery({ smooth: event.target.value });
    drawCharts();
  });
  element.addEventListener("toggle", (event) => {
    if (event.target.matches("[data-log]") && event.target.open) timer.now();
  }, true);
  plotly();
  return () => timer.stop();
}

register("run", mountRun);
