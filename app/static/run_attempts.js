/* How a run ended and what to do next; every attempt with its worker, its notice and its log. */

import { ago, count, duration, html } from "./studio.js";
import { stalledText } from "./views_home.js";

const TONE = { succeeded: "good", failed: "bad", crashed: "warn", lost: "warn", stalled: "warn", out_of_memory: "warn", "": "info" };

const upper = (text) => text[0].toUpperCase() + text.slice(1);
const retryButton = (text) => html`<button type="button" class="btn btn-primary" data-action="retry">${text}</button>`;
const cloneLink = (row, text) => html`<a class="btn btn-primary" href="/new?clone=${row.id}">${text}</a>`;

/* Of a failed run: what happened, what that means, and the button that helps most. */
export function endNote({ row, ended }) {
  const way = ended || { title: row.state, advice: "", action: "retry", button: "Retry" };
  const button = way.action === "clone" ? cloneLink(row, way.button) : way.action === "retry" ? retryButton(way.button) : "";
  return html`<div class="notice notice-bad" role="alert"><p><strong>${way.title}.</strong> ${row.exit_detail}</p>
    ${way.advice && html`<p>${way.advice}</p>`}${button}</div>`;
}

/* The button on top of the page; where a retry is the advice it stands beside the reason. */
export function againButton({ row, ended }) {
  if (row.state === "cancelled") return retryButton("Retry");
  return row.state === "failed" && ended?.action === "clone"
    ? html`<button type="button" class="btn" data-action="retry">Retry</button>` : "";
}

export const stalledNote = ({ row }) => row.is_stalled && html`<div class="notice notice-warn" role="status">
  <p><strong>${upper(stalledText(row))}.</strong> The trainer lives but tells nothing new. When that goes on it is ended, and the
  run continues from its newest checkpoint; nothing needs to be done.</p></div>`;

function steps(one, row) {
  const last = one.outcome === "" ? Math.max(row.last_step, one.resumed_from_step) : one.last_step;
  const gone = one.discarded_points > 0 ? `, ${count(one.discarded_points)} points above that dropped` : "";
  return one.resumed_from_step > 0
    ? `continued from update ${one.resumed_from_step}${gone}, reached ${last}`
    : `from the beginning to update ${last}`;
}

function attempt(one, row, logs) {
  const lives = one.outcome === "";
  const log = logs[one.attempt];
  return html`<li data-key="attempt-${one.attempt}"><div class="attempt-head"><strong>Attempt ${one.attempt}</strong>
    <span class="chip chip-${TONE[one.outcome] || "neutral"}">${lives ? "Running" : one.title}</span>
    <span class="muted small">${one.worker_name} (${one.device}) · ${ago(one.started_at)}, ${duration(one.seconds)}</span></div>
    <p class="small">${steps(one, row)}${one.kind && one.kind !== one.outcome && html` <span class="muted mono">${one.kind}</span>`}</p>
    ${one.detail && html`<p class="small">${one.detail}</p>`}
    ${one.notice && html`<div class="notice notice-warn">${one.notice.split("\n").map((line) => html`<p>${line}</p>`)}</div>`}
    ${one.has_log && html`<details data-key="log-${one.attempt}" data-log="${one.attempt}"><summary>Log of attempt ${one.attempt}</summary>
      <pre class="log" tabindex="0" aria-label="Log of attempt ${one.attempt}">${log ?? "Loading …"}</pre></details>`}</li>`;
}

/* All attempts, newest first. */
export const attemptsCard = ({ attempts, row }, logs) => attempts.length > 0
  && html`<section class="card" data-key="attempts"><h2>${attempts.length === 1 ? "Attempt" : `${attempts.length} attempts`}</h2>
  <ol class="attempts" reversed>${[...attempts].reverse().map((one) => attempt(one, row, logs))}</ol></section>`;

/* Reads the logs that are open; those of ended attempts once.
   logs: text by attempt; done: attempts whose text does not change any more. */
export async function readLogs(element, { attempts, row }, logs, done) {
  const open = new Set([...element.querySelectorAll("[data-log]")].filter((one) => one.open).map((one) => Number(one.dataset.log)));
  await Promise.all(attempts.filter((one) => open.has(one.attempt)).map(async (one) => {
    if (done.has(one.attempt)) return;
    const answer = await fetch(`/api/runs/${row.id}/attempts/${one.attempt}/log`);
    logs[one.attempt] = answer.ok ? (await answer.text()) || "Nothing was kept of it." : "The log cannot be read now.";
    if (answer.ok && one.outcome !== "") done.add(one.attempt);
  }));
}
