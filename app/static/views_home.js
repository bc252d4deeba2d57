/* Home, and the chip in the bar that tells how many runs go on. */

import { register, api, poll, html, patch, raw, ago, duration, percent } from "./studio.js";
import { swatch } from "./methods.js";

const ACTIVE = ["starting", "running", "stopping"];
const sum = (states, names) => names.reduce((total, name) => total + (states[name] || 0), 0);

/* Stands under the bar of every page while the disk is nearly full. */
function diskNote(disk) {
  const place = document.getElementById("studio-disk");
  if (!place) return;
  if (!disk || disk.level === "ok") return patch(place, "");
  const free = disk.free >= 1e9 ? `${(disk.free / 1e9).toFixed(1)} GB` : `${Math.round(disk.free / 1e6)} MB`;
  const full = disk.level === "full";
  patch(place, html`<div class="notice ${full ? "notice-bad" : "notice-warn"}" role="${full ? "alert" : "status"}"><p><strong>The
    disk of the studio is ${full ? "full" : "nearly full"}: ${free} free, ${percent(disk.share)} %.</strong> ${full
    ? "Nothing new is queued, and runs may not be able to save. Free some space."
    : "Below 2 % or 200 MB nothing new is queued. Free some space soon."}</p></div>`);
}

register("queue-chip", (element) => {
  const timer = poll(async () => {
    const { states, trainers, disk } = await api("/api/status");
    diskNote(disk);
    const running = sum(states, ACTIVE);
    const waiting = states.queued || 0;
    const text = running || waiting
      ? [running && `${running} running`, waiting && `${waiting} waiting`].filter(Boolean).join(" · ")
      : "Nothing running";
    const current = location.pathname === "/queue" ? raw(' aria-current="page"') : "";
    const dot = running ? "dot dot-live" : !trainers && waiting ? "dot dot-warn" : "dot";
    patch(element, html`<a class="queue-chip" href="/queue" title="Queue & workers: ${trainers} training
      worker${trainers === 1 ? "" : "s"}"${current}><span class="${dot}"></span>${text}</a>`);
    return running || waiting ? 3000 : 8000;
  }, 4000);
  return () => timer.stop();
});

const runName = (run) => html`<span class="nowrap">${swatch(run.method_label)}<a
  href="/run?run=${run.id}">${run.method_label}</a></span>
  <span class="muted small">${taskText(run)} · ${seedText(run)}</span>`;

/* A joint run names all its tasks. */
export const taskText = (run) => run.task.split("+").join(" + ");

/* Accuracy goes without saying; any other metric is named. */
export const metricNote = (metric, titles) =>
  metric && metric !== "accuracy" ? html`<div class="muted small">${titles[metric] || metric}</div>` : "";

export const seedText = (run) =>
  run.data_seed ? `seed ${run.init_seed}, data seed ${run.data_seed}` : `seed ${run.init_seed}`;

/* Runs of a study that ended without a result. */
export const endedBadly = ({ states }) =>
  ["failed", "cancelled"].filter((state) => states[state]).map((state) => `, ${states[state]} ${state}`).join("");

export function progress(run) {
  const share = run.share_done;
  const done = isResumed(run) ? run.checkpoint_step : run.last_step;
  const text = run.total_steps ? `${done} of ${run.total_steps} updates` : run.phase || "starting";
  return html`<span class="bar" role="progressbar" aria-valuemin="0" aria-valuemax="100"
    aria-valuenow="${Math.round(100 * share)}" aria-label="${text}" title="${text}"><i
    style="width:${(100 * share).toFixed(1)}%"></i></span>`;
}

/* After the last update a run scores its best checkpoint, which no estimate covers. */
export const scoringText = (run) => run.state !== "running" ? ""
  : { evaluating: "scoring dev …", testing: "scoring dev and test …", auditing: "auditing its choices …" }[run.phase?.split(" ")[0]] || "";

/* A waiting run with a checkpoint, for example after its worker was stopped. */
export const isResumed = (run) => run.state === "queued" && run.checkpoint_step > 0;
export const continuesText = (run) => `continues from update ${run.checkpoint_step}`;

/* A trainer that lives but tells nothing; it is ended and tried again when that goes on. The time
   is what this page has seen of it. */
const stalledSince = new Map();
export function stalledText(run) {
  const key = `${run.id} ${run.last_step} ${run.phase}`;
  if (!stalledSince.has(key)) stalledSince.set(key, Date.now());
  const seconds = (Date.now() - stalledSince.get(key)) / 1000;
  return seconds < 5 ? "no progress" : `no progress for ${duration(seconds)}`;
}
export const stalledChip = (run) => run.is_stalled && html`<span class="chip chip-warn nowrap"
  title="Its trainer lives but tells no progress; when that goes on it is ended and tried again">${stalledText(run)}</span>`;

function activeRow(run) {
  const left = run.is_stalled ? stalledChip(run) : scoringText(run) ? scoringText(run)
    : run.seconds_left === null || run.seconds_left === undefined
    ? run.phase || "starting" : `${duration(run.seconds_left)} left`;
  return html`<li data-key="${run.id}"><div class="live-name">${runName(run)}</div>
    <div class="live-bar">${progress(run)}<span class="muted small nowrap">${left}</span></div></li>`;
}

function activity(view) {
  const waiting = view.states.queued || 0;
  if (!view.active.length && !waiting) {
    return html`<div class="empty"><p class="empty-title">Nothing is running</p>
      <p>Queue a study; it is trained in the background and survives closing this page.</p></div>`;
  }
  const next = view.waiting.slice(0, 4).map((run) => html`<li data-key="${run.id}"><div class="live-name">${runName(run)}</div><div class="live-bar">${isResumed(run) && progress(run)}<span class="muted small">
    ${isResumed(run) ? continuesText(run) : run.queue_position ? `number ${run.queue_position} in the queue` : "waiting"}</span></div></li>`);
  const more = waiting - Math.min(4, view.waiting.length);
  return html`<ul class="live-list">${view.active.map(activeRow)}${next}</ul>
    ${more > 0 && html`<p class="muted small more-line"><a href="/queue">and ${more} more waiting</a></p>`}`;
}

function demoNote({ demo, states }) {
  if (!demo) return "";
  const done = demo.states.succeeded || 0;
  const open = sum(demo.states, [...ACTIVE, "queued"]);
  if (open) {
    return html`<div class="notice notice-info" data-key="demo">Training a small demo study now, so that no
      page stays empty: <a href="/runs?study=${demo.id}">${done} of ${demo.num_runs} runs done</a>.
      Your own runs go first.</div>`;
  }
  if (done && done === sum(states, ["succeeded"])) {
    return html`<div class="notice notice-good" data-key="demo">The demo study is trained:
      <a href="/compare?study=${demo.id}">compare its methods</a> or <a href="/try">try them on a
      sentence</a>.</div>`;
  }
  return "";
}

const ROLE = { train: "Trains", predict: "Answers texts" };

function workerRow(worker) {
  const silent = worker.seconds_silent;
  const state = worker.state !== "alive" ? ["bad", "lost"]
    : silent > 15 ? ["warn", `silent for ${duration(silent)}`] : ["good", "alive"];
  const busy = worker.run_ids.length;
  return html`<li data-key="${worker.id}"><div><strong>${ROLE[worker.role] || worker.role}</strong>
    <span class="muted small">${worker.device} · ${worker.host.split(" ")[0]}</span></div>
    <div class="nowrap"><span class="chip chip-${state[0]}">${state[1]}</span>
    ${busy > 0 && html`<span class="muted small">${busy} run${busy === 1 ? "" : "s"}</span>`}</div></li>`;
}

/* Those that work and those that were lost; one that was stopped in order is no news here. */
function workers(list) {
  const shown = list.filter((worker) => worker.state !== "stopped");
  const isIdle = !list.some((worker) => worker.state === "alive");
  return html`${shown.length > 0 && html`<ul class="plain-list">${shown.map(workerRow)}</ul>`}
    ${isIdle && html`<div class="notice notice-warn">No worker is running, so queued runs wait. <code>./studio up</code>
      starts one.</div>`}`;
}

function resultRow(run, titles) {
  return html`<tr data-key="${run.id}"><td>${runName(run)}
    <div class="muted small">S${run.study_number} · ${run.regime}</div></td>
    <td class="num"><strong>${percent(run.score)} %</strong>${metricNote(run.metric, titles)}</td>
    <td class="num muted only-wide">${ago(run.ended_at)}</td></tr>`;
}

const results = (rows, titles) => rows.length
  ? html`<div class="table-scroll"><table class="table"><thead><tr><th>Run</th>
      <th class="num">On dev</th><th class="num only-wide">Ended</th></tr></thead>
      <tbody>${rows.slice(0, 8).map((run) => resultRow(run, titles))}</tbody></table></div>`
  : html`<div class="card empty"><p class="empty-title">No results yet</p>
      <p>They appear here as runs end.</p></div>`;

const failed = (rows, kinds) => rows.length > 0 && html`<section class="notice notice-bad" aria-label="Failed runs">
  <strong>${rows.length} run${rows.length === 1 ? "" : "s"} failed</strong><ul class="tight">
  ${rows.slice(0, 4).map((run) => html`<li><a href="/run?run=${run.id}">${run.slug} ${run.method_label}</a>:
  ${kinds[run.exit_kind] && html`<strong>${kinds[run.exit_kind]}.</strong> `}${run.exit_detail || run.exit_kind}</li>`)}</ul></section>`;

register("home", (element) => {
  const timer = poll(async () => {
    const view = await api("/api/home");
    patch(element, html`<div class="stack">${demoNote(view)}${failed(view.attention, view.kinds)}
      <div class="grid-2">
        <section class="stack" aria-labelledby="now-title">
          <div class="card"><div class="section-head"><h2 id="now-title">Running and waiting</h2>
          <a href="/runs">All runs</a></div>${activity(view)}</div>
          <div><div class="section-head"><h2>Latest results</h2><a href="/compare">Compare</a></div>
          ${results(view.finished, view.titles)}</div>
        </section>
        <section class="stack">
          <div class="card"><div class="section-head"><h2>Workers</h2><a href="/queue">Queue & workers</a></div>${workers(view.workers)}</div>
          <div class="card"><div class="section-head"><h2>Studies</h2></div>${studies(view.studies)}</div>
        </section>
      </div></div>`);
    return view.active.length || view.states.queued ? 2000 : 5000;
  }, 3000);
  return () => timer.stop();
});

function studies(rows) {
  if (!rows.length) return html`<p class="muted">None yet.</p>`;
  return html`<ul class="plain-list">${rows.slice(0, 6).map((study) => html`<li data-key="${study.id}">
    <div class="cut"><a href="/runs?study=${study.id}">${study.name}</a></div>
    <div class="nowrap muted small">${study.states.succeeded || 0} of ${study.num_runs} done${endedBadly(study)}</div></li>`)}</ul>`;
}


