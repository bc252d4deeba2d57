/* Queue & workers: who works with how much memory, and what waits in which order and why. */

import { register, api, poll, html, patch, ago, duration, percent, toast } from "./studio.js";
import { swatch } from "./methods.js";
import { stalledChip, taskText } from "./views_home.js";

const ROLE = { train: "trains", predict: "answers texts" };
const GONE = { lost: ["bad", "lost"], stopped: ["neutral", "stopped"] };
const PLACES = [["first", "First"], ["normal", "In turn"], ["later", "Later"]];

const gigabytes = (bytes) => `${(bytes / 1e9).toFixed(bytes < 1e10 ? 1 : 0)} GB`;
const placeOf = (priority) => (priority > 0 ? "first" : priority < 0 ? "later" : "normal");
const runLink = (run) => html`<a href="/run?run=${run.id}">${run.slug}</a>`;

/* ---- workers ---- */

function memory(worker) {
  if (!worker.memory_bytes) return html`<span class="muted">not known</span>`;
  const share = Math.min(1, worker.memory_used / worker.memory_bytes);
  const text = `${gigabytes(worker.memory_used)} of ${gigabytes(worker.memory_bytes)}`;
  return html`<span class="bar ${share > 0.9 ? "bar-tight" : ""}" role="meter" aria-valuemin="0" aria-valuemax="100"
    aria-valuenow="${Math.round(100 * share)}" aria-label="Memory in use: ${text}"><i
    style="width:${percent(share)}%"></i></span><span class="small nowrap">${text}</span>`;
}

function beat(worker, view) {
  if (GONE[worker.state]) {
    const [tone, word] = GONE[worker.state];
    return html`<span class="chip chip-${tone}">${word}</span>`;
  }
  const age = duration(worker.seconds_silent);
  return worker.seconds_silent > view.silent_after
    ? html`<span class="chip chip-warn" title="Without a beat for ${duration(view.lost_after)} its runs go to another worker">silent for ${age}</span>`
    : html`<span class="chip chip-good">alive</span> <span class="muted small nowrap">${age} ago</span>`;
}

function heldRun(run) {
  const at = run.total_steps ? `update ${run.last_step} of ${run.total_steps}` : run.phase || "starting";
  const share = run.total_steps ? Math.min(1, run.last_step / run.total_steps) : 0;
  const speed = run.seconds_per_step ? ` · ${run.seconds_per_step < 10 ? run.seconds_per_step.toFixed(2) : Math.round(run.seconds_per_step)} s an update` : "";
  return html`<li data-key="${run.id}">${runLink(run)} <span class="muted small">${swatch(run.method_label)}${run.method_label}</span>
    ${stalledChip(run)}${run.state === "stopping" && html`<span class="chip state-stopping">Stopping</span>`}
    <span class="bar" role="progressbar" aria-valuemin="0" aria-valuemax="100" aria-valuenow="${Math.round(100 * share)}"
      aria-label="${run.slug}: ${at}"><i style="width:${percent(share)}%"></i></span>
    <span class="muted small held-at">${at}${speed}</span></li>`;
}

const queueNames = (worker) => worker.role !== "train" ? html`<span class="muted">–</span>`
  : worker.queues.map((name) => html`<span class="chip">${name}</span> `);

function workerRow(worker, view) {
  return html`<tr data-key="${worker.id}"><td><span class="strong">${worker.name}</span>
    <div class="muted small">${ROLE[worker.role] || worker.role} · ${worker.device} · ${worker.host.split(" ")[0]}</div></td>
    <td data-label="Queues"><div>${queueNames(worker)}</div></td><td data-label="Memory"><div class="memory">${memory(worker)}</div></td>
    <td data-label="Runs">${worker.runs.length ? html`<ul class="held">${worker.runs.map(heldRun)}</ul>`
    : html`<span class="muted">${worker.role === "train" && worker.state === "alive" ? "idle" : "–"}</span>`}</td>
    <td data-label="Last beat"><div>${beat(worker, view)}</div></td></tr>`;
}

const workerTable = (rows, view, label) => html`<div class="table-scroll"><table class="table queue-table workers-table" aria-label="${label}"><thead><tr>
  <th scope="col">Worker</th><th scope="col">Queues</th><th scope="col">Memory</th><th scope="col">Runs</th>
  <th scope="col">Last beat</th></tr></thead><tbody>${rows.map((worker) => workerRow(worker, view))}</tbody></table></div>`;

function workers(view) {
  const gone = view.gone.length > 0 && html`<details class="gone" data-key="gone"><summary>${view.gone.length} gone within the last
    hour</summary>${workerTable(view.gone, view, "Workers that are gone")}</details>`;
  return html`<section class="stack tight-stack" data-key="workers"><div class="section-head"><h2>Workers</h2></div>
    ${view.workers.some((worker) => worker.role === "train") ? "" : html`<div class="notice notice-warn" data-key="none">No worker trains now,
      so queued runs wait. <code>./studio up</code> starts one; <code>./studio worker</code> adds one on any machine.</div>`}
    ${view.workers.length > 0 && workerTable(view.workers, view, "Workers")}${gone}</section>`;
}

/* ---- what waits ---- */

function studyRow(study) {
  const now = placeOf(study.priority);
  return html`<li data-key="${study.id}"><div class="cut"><a href="/runs?study=${study.id}&state=queued">${study.slug} ${study.name}</a>
    ${study.is_demo && html`<span class="chip">demo</span>`} <span class="muted small nowrap">${study.num_waiting} waiting</span></div>
    <div class="places" role="group" aria-label="When ${study.slug} runs">${PLACES.map(([place, text]) => html`<button type="button"
      class="btn btn-small" data-study="${study.id}" data-place="${place}" aria-pressed="${place === now}">${text}</button>`)}</div></li>`;
}

function why(run) {
  if (run.reason) return html`<span class="warn-text">${run.reason}</span>`;
  /* Behind a run that has done its updates and is being scored nobody knows the time. */
  if (run.starts_in !== null) return run.starts_in < 1 ? "next" : html`next, in about ${duration(run.starts_in)}`;
  return html`<span class="muted">waits for its turn</span>`;
}

function waitingRow(run) {
  const kept = run.checkpoint_step > 0 ? ` · continues from update ${run.checkpoint_step}` : "";
  return html`<tr data-key="${run.id}"><td class="num place-number">${run.position}</td>
    <td>${runLink(run)} ${swatch(run.method_label)}${run.method_label}
    <div class="muted small">${taskText(run)}${run.memory_bytes > 0 && ` · needs about ${gigabytes(run.memory_bytes)}`}${kept}</div></td>
    <td data-label="Queue"><div><span class="chip">${run.queue}</span>${run.priority !== 0 && html` <span class="muted small nowrap">priority ${run.priority}</span>`}</div></td>
    <td data-label="Queued" class="nowrap"><time datetime="${run.waits_since}" title="${run.waits_since}">${ago(run.waits_since)}</time></td>
    <td data-label="Why"><div>${why(run)}</div></td>
    <td class="row-actions">${run.position > 1 && html`<button type="button" class="btn btn-small" data-run="${run.id}" data-verb="to-front"
      aria-label="To the front: ${run.slug}">To the front</button>`}<button type="button" class="btn btn-small" data-run="${run.id}" data-verb="cancel"
      aria-label="Cancel ${run.slug}">Cancel</button></td></tr>`;
}

function waiting(view) {
  if (!view.num_waiting) {
    return html`<section class="card empty" data-key="waiting"><p class="empty-title">Nothing waits</p>
      <p>Queued runs stand here in the order in which workers take them.</p></section>`;
  }
  const names = Object.entries(view.queues);
  const byQueue = names.length > 1 || names[0][0] !== "default"
    ? html` <span class="muted small">${names.map(([name, n]) => `${n} in ${name}`).join(" · ")}</span>` : "";
  const more = view.num_waiting - view.waiting.length;
  return html`<section class="card" data-key="studies"><div class="section-head"><h2>Studies that wait</h2></div>
      <ul class="plain-list studies-list">${view.studies.map(studyRow)}</ul></section>
    <section class="stack tight-stack" data-key="waiting"><div class="section-head"><h2>${view.num_waiting.toLocaleString("en")} waiting${byQueue}</h2>
      <a href="/runs?state=queued">As a list of runs</a></div>
    <div class="table-scroll"><table class="table queue-table waiting-table" aria-label="Waiting runs"><thead><tr><th scope="col" class="num">Place</th>
      <th scope="col">Run</th><th scope="col">Queue</th><th scope="col">Queued</th><th scope="col">Why it waits</th>
      <th scope="col"><span class="visually-hidden">Actions</span></th></tr></thead>
      <tbody>${view.waiting.map(waitingRow)}</tbody></table></div>
    ${more > 0 && html`<p class="muted">and ${more.toLocaleString("en")} more</p>`}</section>`;
}

/* ---- the view ---- */

async function act(button, timer) {
  const { run, verb, study, place } = button.dataset;
  button.disabled = true;
  try {
    if (study) await api(`/api/studies/${study}/place`, { method: "POST", body: { place } });
    else {
      const answer = await api(`/api/runs/${run}/${verb}`, { method: "POST" });
      if (answer.moved === false) throw new Error("A worker has taken it already.");
    }
    toast(study ? "Order changed" : verb === "cancel" ? "Cancelled" : "Moved to the front", "good");
  } catch (error) {
    toast(`${error.message} ${error.hint || ""}`, "bad");
  }
  button.disabled = false;
  await timer.now();
}

register("queue", (element) => {
  document.title = "Queue & workers – DP Studio";
  const timer = poll(async () => {
    const view = await api("/api/queue");
    patch(element, html`<div class="stack">${workers(view)}${waiting(view)}</div>`);
    return view.num_waiting || view.workers.some((worker) => worker.runs.length) ? 2000 : 5000;
  }, 3000);
  const click = (event) => {
    const button = event.target.closest("button[data-verb], button[data-place]");
    if (button) act(button, timer);
  };
  element.addEventListener("click", click);
  return () => timer.stop();
});
