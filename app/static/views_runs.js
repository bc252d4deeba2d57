/* The table of runs: a row is a config, unfolded to its seeds; filters live in the address. */

import {
  register, api, poll, html, patch, query, setQuery, percent, duration, ago, count, stateChip, toast,
} from "./studio.js";
import { swatch } from "./methods.js";
import {
  continuesText, endedBadly, isResumed, metricNote, progress, scoringText, seedText, stalledChip, taskText,
} from "./views_home.js";

const OPEN = new Set(["queued", "starting", "running"]);
const LIVE = new Set(["starting", "running", "stopping"]);
const STEP = 60;
const MOST_AT_ONCE = 200;
const STATE_NAMES = ["queued", "running", "succeeded", "failed", "cancelled"];

function moments(values) {
  const n = values.length;
  if (!n) return null;
  const mean = values.reduce((a, b) => a + b, 0) / n;
  const std = n > 1 ? Math.sqrt(values.reduce((a, b) => a + (b - mean) ** 2, 0) / (n - 1)) : 0;
  return { mean, std, n };
}

function stateSummary(rows) {
  const counts = {};
  for (const row of rows) counts[row.state] = (counts[row.state] || 0) + 1;
  const names = Object.keys(counts);
  if (names.length === 1 && rows.length === 1) return stateChip(names[0]);
  return names.map((name) => html`<span class="chip state-${name}" title="${counts[name]} ${name}">
    ${counts[name]} ${name}</span> `);
}

function groupProgress(rows) {
  const done = rows.reduce((total, row) => total + row.share_done, 0) / rows.length;
  const failed = rows.filter((row) => row.state === "failed").length / rows.length;
  const live = rows.filter((row) => LIVE.has(row.state));
  const left = live.map((row) => row.seconds_left).filter((s) => typeof s === "number");
  const ended = rows.every((row) => ["succeeded", "failed", "cancelled"].includes(row.state));
  const scoring = live.map(scoringText).filter(Boolean);
  const resumed = rows.filter(isResumed);
  const text = scoring.length && scoring.length === live.length ? scoring[0]
    : !live.length && resumed.length ? (rows.length === 1 ? continuesText(resumed[0])
    : `${resumed.length} continue from a checkpoint`)
    : left.length ? `${duration(Math.max(...left))} left` : live.length ? "starting" : "";
  return html`<div class="group-progress"><span class="bar bar-many" role="progressbar" aria-valuemin="0"
    aria-valuemax="100" aria-valuenow="${Math.round(100 * done)}" aria-label="${Math.round(100 * done)} % trained"><i
    class="${ended ? "bar-done" : ""}" style="width:${(100 * done).toFixed(1)}%"></i><i class="bar-failed"
    style="width:${(100 * failed).toFixed(1)}%"></i></span><span class="muted small nowrap">${text}</span>${rows
    .filter((row) => row.is_stalled).slice(0, 1).map(stalledChip)}</div>`;
}

function score(rows, titles) {
  const done = rows.filter((row) => row.state === "succeeded" && typeof row.score === "number");
  const numbers = moments(done.map((row) => row.score));
  if (!numbers) return html`<span class="muted">–</span>`;
  const [{ metric }] = done;
  const spread = numbers.n > 1 ? html` <span class="muted">± ${percent(numbers.std)}</span>` : "";
  return html`<span title="Mean ${titles[metric] || metric} on dev at the best checkpoint, over ${numbers.n}
    seeds"><strong>${percent(numbers.mean)}</strong>${spread} % <span class="muted small">n=${numbers.n}</span></span>
    ${metricNote(metric, titles)}`;
}

const parameters = (row) =>
  count(Object.values(row.num_trainable).reduce((a, b) => a + b, 0) || undefined);

function flags(rows) {
  const found = [...new Set(rows.flatMap((row) => row.flags))];
  const chips = found.map((flag) => html`<span class="chip chip-warn">${flag}</span> `);
  return found.length > 0 && html`<div class="row-flags">${chips}</div>`;
}

function action(row) {
  if (OPEN.has(row.state)) return button("cancel", row, "Cancel");
  if (row.state === "failed" || row.state === "cancelled") return button("retry", row, "Retry");
  return "";
}

const button = (verb, row, text) => html`<button type="button" class="btn btn-small"
  data-run="${row.id}" data-verb="${verb}" aria-label="${text} ${row.slug}">${text}</button>`;

function seedRow(row, group) {
  const detail = row.state === "failed" ? row.exit_detail || row.exit_kind
    : isResumed(row) ? continuesText(row)
    : row.state === "queued" && row.queue_position ? `number ${row.queue_position} in the queue`
    : scoringText(row) ? scoringText(row)
    : LIVE.has(row.state) && typeof row.seconds_left === "number" ? `${duration(row.seconds_left)} left`
    : row.ended_at ? ago(row.ended_at) : row.phase;
  return html`<tr class="seed-row" data-key="${row.id}"><td><a href="/run?run=${row.id}">${row.slug}</a>
    <span class="muted small">${seedText(row)}${row.role === "trial" && " · trial"}</span></td>
    <td>${stateChip(row.state)}${stalledChip(row)}</td><td>${(LIVE.has(row.state) || isResumed(row)) && progress(row)}
    ${(!LIVE.has(row.state) || scoringText(row)) && html`<span
    class="muted small cut detail" title="${detail}">${detail}</span>`}</td>
    <td class="num">${percent(row.score)}${flags([row])}</td><td class="num muted">${parameters(row)}</td>
    <td class="num">${action(row)}</td></tr>`;
}

const groupKey = (group) => `${group.study_id}-${group.config_hash}`;

function groupRows(group, unfolded, titles) {
  const [first] = group.rows;
  const key = groupKey(group);
  const single = group.rows.length === 1;
  const open = !single && unfolded.has(key);
  const fold = single ? "" : html`<button type="button" class="fold" data-fold="${key}"
    aria-expanded="${open}" aria-label="${open ? "Hide" : "Show"} the ${group.rows.length} seeds of
    ${first.method_label}">${open ? "▾" : "▸"}</button>`;
  const name = single ? html`<a href="/run?run=${first.id}">${first.method_label}</a>` : first.method_label;
  const head = html`<tr class="group-row" data-key="${key}"><td><div class="group-name">${fold}
    ${swatch(first.method_label)}<div><span class="strong">${name}</span><div class="muted small">
    ${taskText(first)} · ${first.regime} · ${first.backbone}${single ? html` · ${seedText(first)}`
    : html` · ${group.rows.length} seeds`}</div></div></div></td>
    <td>${stateSummary(group.rows)}</td><td>${groupProgress(group.rows)}</td>
    <td class="num">${score(group.rows, titles)}${flags(group.rows)}</td>
    <td class="num muted">${parameters(first)}</td>
    <td class="num">${single ? action(first) : ""}</td></tr>`;
  return open ? [head, ...group.rows.map((row) => seedRow(row, group))] : [head];
}

function studyBlock(study, groups, unfolded, titles) {
  const open = (study.states.queued || 0) + (study.states.starting || 0) + (study.states.running || 0);
  const failed = study.states.failed || 0;
  const done = study.states.succeeded || 0;
  return html`<section class="study" data-key="study-${study.id}"><div class="study-head"><div>
    <h2><span class="muted">${study.slug}</span> ${study.name}
    ${study.is_demo && html`<span class="chip">demo</span>`}
    ${study.selection === "paper_practice" && html`<span class="chip chip-warn" title="Checkpoints are chosen on the reported split itself">paper practice</span>`}</h2>
    <p class="muted small">${study.question ? html`${study.question} · ` : ""}${done} of ${study.num_runs} run${study.num_runs === 1 ? "" : "s"}
    done${endedBadly(study)} · ${ago(study.created_at)}</p></div><div class="page-actions">
    ${done > 0 && html`<a class="btn btn-small" href="/compare?study=${study.id}">Compare</a>`}
    <a class="btn btn-small" href="/new?clone_study=${study.id}">Clone</a>
    ${failed > 0 && html`<button type="button" class="btn btn-small" data-study="${study.id}"
      data-verb="retry">Retry ${failed} failed</button>`}
    ${open > 0 && html`<button type="button" class="btn btn-small" data-study="${study.id}"
      data-verb="cancel">Cancel ${open}</button>`}
    </div></div><div class="table-scroll"><table class="table runs-table"><thead><tr><th scope="col">Method</th>
    <th scope="col">State</th><th scope="col">Progress</th><th scope="col" class="num">On dev</th>
    <th scope="col" class="num">Parameters</th><th scope="col"><span class="visually-hidden">Actions</span></th>
    </tr></thead><tbody>${groups.flatMap((group) => groupRows(group, unfolded, titles))}</tbody></table></div></section>`;
}

const option = (value, text, chosen) =>
  html`<option value="${value}" ${value === chosen ? "selected" : ""}>${text}</option>`;

function filterBar(view) {
  const search = query();
  const states = STATE_NAMES.map((name) => option(name,
    `${name[0].toUpperCase()}${name.slice(1)} (${view.states[name] || 0})`, search.get("state")));
  return html`<form class="filters" role="search" aria-label="Filter runs">
    <label>Study<select name="study">${option("", "All", search.get("study") || "")}
      ${view.all_studies.map((s) => option(s.id, `${s.slug} ${s.name}`, search.get("study")))}</select></label>
    <label>Task<select name="task">${option("", "All", search.get("task") || "")}
      ${view.tasks.map((name) => option(name, name, search.get("task")))}</select></label>
    <label>Method<select name="method">${option("", "All", search.get("method") || "")}
      ${view.methods.map((name) => option(name, name, search.get("method")))}</select></label>
    <label>State<select name="state">${option("", "All", search.get("state") || "")}${states}</select></label>
    <label class="grow">Search<input name="q" type="search" placeholder="Name, task, method …"
      value="${search.get("q") || ""}"></label>
    <button type="reset" class="btn btn-small">Clear</button></form>`;
}

function emptyText() {
  const filtered = ["study", "task", "method", "state", "q"].some((name) => query().get(name));
  return filtered
    ? html`<div class="card empty"><p class="empty-title">No run fits these filters</p><p>Clear one of them.</p></div>`
    : html`<div class="card empty"><p class="empty-title">No runs yet</p><p>The first study takes two clicks.</p>
        <a class="btn btn-primary" href="/new">New experiment</a></div>`;
}

function draw(element, view, state) {
  const order = [...new Set(view.groups.map((group) => group.study_id))];
  const blocks = order.map((id) => studyBlock(view.studies[id],
    view.groups.filter((group) => group.study_id === id), state.unfolded, view.titles));
  const shown = view.offset + view.groups.length;
  const more = view.total > shown
    ? html`<p class="muted">Showing ${shown} of ${view.total} settings.
        <button type="button" class="btn btn-small" data-more>Show more</button></p>` : "";
  patch(element, html`${filterBar(view)}<div class="stack runs-stack">${blocks.length ? blocks : emptyText()}${more}</div>`);
}

/* The server gives at most MOST_AT_ONCE settings in one answer; the first page tells the rest. */
async function readPages(search, limit) {
  const page = (offset) => {
    search.set("limit", String(Math.min(MOST_AT_ONCE, limit - offset)));
    search.set("offset", String(offset));
    return api(`/api/runs?${search}`);
  };
  const view = await page(0);
  const groups = new Map(view.groups.map((group) => [groupKey(group), group]));
  for (let offset = MOST_AT_ONCE; offset < Math.min(limit, view.total); offset += MOST_AT_ONCE) {
    const next = await page(offset);
    for (const group of next.groups) groups.set(groupKey(group), group);
    Object.assign(view.studies, next.studies);
  }
  return { ...view, groups: [...groups.values()] };
}

async function act(target, timer) {
  const { run, study, verb } = target.dataset;
  if (study && verb === "cancel" && !window.confirm("Cancel all runs of this study that have not ended?")) return;
  target.disabled = true;
  try {
    await api(run ? `/api/runs/${run}/${verb}` : `/api/studies/${study}/${verb}`, { method: "POST" });
    toast(verb === "cancel" ? "Cancelling" : "Queued again", "good");
  } catch (error) {
    toast(`${error.message} ${error.hint || ""}`, "bad");
  }
  target.disabled = false;
  timer.now();
}

register("runs", (element) => {
  const state = { unfolded: new Set((query().get("open") || "").split(",").filter(Boolean)), limit: STEP, view: null };
  const timer = poll(async () => {
    const search = new URLSearchParams();
    for (const name of ["study", "task", "method", "q"]) if (query().get(name)) search.set(name, query().get(name));
    const wanted = query().get("state");
    if (wanted) search.set("state", wanted === "running" ? "starting,running,stopping" : wanted);
    state.view = await readPages(search, state.limit);
    draw(element, state.view, state);
    const { queued = 0, starting = 0, running = 0, stopping = 0 } = state.view.states;
    const open = queued + starting + running + stopping;
    return (open ? 2000 : 5000) * Math.ceil(state.limit / MOST_AT_ONCE);
  }, 3000);

  const filter = (event) => {
    const field = event.target.closest("select[name], input[name]");
    if (!field) return;
    setQuery({ [field.name]: field.value });
    state.limit = STEP;
    timer.now();
  };
  const click = (event) => {
    const target = event.target.closest("button");
    if (!target) return;
    if (target.dataset.fold) {
      const key = target.dataset.fold;
      if (!state.unfolded.delete(key)) state.unfolded.add(key);
      setQuery({ open: [...state.unfolded].join(",") });
      draw(element, state.view, state);
    } else if (target.dataset.verb) {
      act(target, timer);
    } else if (target.dataset.more !== undefined) {
      state.limit += STEP;
      timer.now();
    }
  };
  const reset = (event) => {
    event.preventDefault();
    setQuery({ study: "", task: "", method: "", state: "", q: "" });
    for (const field of element.querySelectorAll(".filters [name]")) field.value = "";
    timer.now();
  };
  element.addEventListener("change", filter);
  element.addEventListener("input", (event) => event.target.type === "search" && filter(event));
  element.addEventListener("click", click);
  element.addEventListener("reset", reset);
  element.addEventListener("submit", (event) => event.preventDefault());
  return () => timer.stop();
});
