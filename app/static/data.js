/* Data: the list of all sets. One set: data_detail.js; an upload: data_upload.js.
 * The address says what is shown: nothing, ?set=name, ?add=1 or ?upload=id. */
import { ago, api, count, html, patch, poll, query, register, toast } from "./studio.js";
import { pageHead, setHref, size } from "./data_parts.js";
import { mountSet } from "./data_detail.js";
import { mountAdd, mountUpload } from "./data_upload.js";

const SUITES = [
  ["superglue", "SuperGLUE", "Official files, their examples counted. A set is partial when files or examples are missing."],
  ["diagnostic", "Diagnostics", "Never trained on: scored once by runs of RTE."],
  ["bundled", "Bundled", "Written for this studio: for learning how it works, no benchmarks."],
  ["other", "Further sets", ""],
];
const TONES = { official: "good", derived: "info", bundled: "good", complete: "good", partial: "warn", absent: "neutral", wrong: "bad" };

/* ---- list ---- */

function fileCount({ file, split, count: found, official }) {
  const here = typeof found === "number" ? count(found) : "absent";
  const wanted = typeof official === "number" && official !== found ? html` <span class="muted">of ${count(official)}</span>` : "";
  return html`<span class="file-count" title="${file}"><span class="muted">${split}</span> ${here}${wanted}</span> `;
}

const knownRow = (row) => html`<tr data-key="known-${row.name}"><th scope="row"><a href="${setHref(row.name)}">${row.title}</a>
    <small class="mono">${row.name}</small></th>
  <td><span class="chip chip-${TONES[row.state] || "neutral"}">${row.state}</span></td>
  <td>${row.files.map(fileCount)}${row.notes.length > 0 && html`<ul class="set-notes">${row.notes.map((note) => html`<li>${note}</li>`)}</ul>`}</td>
  <td class="num">${row.runs ? count(row.runs) : html`<span class="muted">–</span>`}</td></tr>`;

function knownTable([suite, title, lead], rows) {
  const known = new Set(SUITES.map(([name]) => name));
  const own = rows.filter((row) => (known.has(row.suite) ? row.suite === suite : suite === "other"));
  if (!own.length) return "";
  return html`<section class="stack-tight" data-key="suite-${suite}"><h2>${title}</h2>${lead && html`<p class="muted small">${lead}</p>`}
    <div class="table-scroll"><table class="table sets-table"><thead><tr><th scope="col">Data set</th><th scope="col">Files</th>
      <th scope="col">Examples</th><th scope="col" class="num">Runs</th></tr></thead><tbody>${own.map(knownRow)}</tbody></table></div></section>`;
}

const sizes = (counts) => ["train", "dev", "test"].filter((split) => counts[split])
  .map((split) => html`<span class="file-count"><span class="muted">${split}</span> ${count(counts[split])}</span> `);

const ownRow = (row, version) => html`<tr data-key="own-${row.name}-${version.version}"><th scope="row">
    <a href="${setHref(row.name, version.version)}">${row.name}</a><small class="mono">${version.version}</small></th>
  <td>${version.is_latest ? html`<span class="chip chip-info">latest</span>` : html`<span class="chip">earlier</span>`}</td>
  <td>${sizes(version.counts)}<span class="file-count"><span class="muted">labels</span> ${version.num_labels}</span>
    <div class="muted small">from ${version.source} · ${ago(version.added_at)}${version.warnings.length > 0 && html`
      · <span class="warn-text">${version.warnings.length} ${version.warnings.length === 1 ? "warning" : "warnings"}</span>`}</div></td>
  <td class="num">${version.runs ? count(version.runs) : html`<span class="muted">–</span>`}</td></tr>`;

function ownTable(rows) {
  if (!rows.length)
    return html`<section class="card empty" data-key="own"><p class="empty-title">No data of your own yet</p>
      <p>Add a CSV, TSV, JSONL or Parquet file with one or two texts and a label on each row.</p></section>`;
  return html`<section class="stack-tight" data-key="own"><h2>Your data</h2><div class="table-scroll"><table class="table sets-table"><thead><tr>
    <th scope="col">Data set</th><th scope="col">Version</th><th scope="col">Examples</th><th scope="col" class="num">Runs</th></tr></thead>
    <tbody>${rows.flatMap((row) => row.versions.map((version) => ownRow(row, version)))}</tbody></table></div></section>`;
}

const waiting = (uploads) => uploads.length > 0 && html`<section class="card" data-key="uploads"><div class="section-head"><h2>Waiting to be added</h2>
    ${uploads.length > 1 && html`<button type="button" class="btn btn-small" data-discard-all>Discard all</button>`}</div>
  <ul class="plain-list">${uploads.map((one) => html`<li data-key="upload-${one.id}"><span><span class="file-name">${one.file_name}</span> <small class="muted">${size(one.size)} · ${ago(one.at)}</small></span><span class="page-actions"><a class="btn btn-small" href="/data?upload=${one.id}">Continue</a>
    <button type="button" class="btn btn-small" data-discard="${one.id}" aria-label="Discard ${one.file_name}">Discard</button></span></li>`)}</ul>
  <p class="muted small">Kept for a day, then thrown away.</p></section>`;

function list(data) {
  return html`<div class="stack data-page">${pageHead("Data", "Every data set that experiments can use, and your own.",
    html`<a class="btn btn-primary" href="/data?add=1">Add data</a>`)}
    ${waiting(data.uploads)}${ownTable(data.own)}${SUITES.map((suite) => knownTable(suite, data.known))}
    <p class="muted small" data-key="hint">Official files are found in the folders given with <code>--data</code> or <code>STUDIO_DATA_DIR</code>,
      laid out as SuperGLUE is: <code>CB/train.jsonl</code>, <code>CB/val.jsonl</code>. On the command line: <code>studio data list</code>.</p></div>`;
}

function mountList(element) {
  const timer = poll(async () => {
    patch(element, list(await api("/api/data")));
    return 30000;
  }, 5000);
  async function click(event) {
    const id = event.target.closest("[data-discard]")?.dataset.discard;
    const all = event.target.closest("[data-discard-all]");
    if (!id && !all) return;
    if (all && !window.confirm("Discard all files that wait to be added?")) return;
    try {
      await api(`/api/data/uploads${all ? "" : `/${id}`}`, { method: "DELETE" });
    } catch (error) {
      toast(error.message, "bad");
    }
    await timer.now();
  }
  element.addEventListener("click", click);
  return () => {
    timer.stop();
    element.removeEventListener("click", click);
  };
}

function mountData(element) {
  let end = () => {};
  const show = () => {
    end();
    const search = query();
    const start = search.get("upload") ? mountUpload : search.get("add") ? mountAdd : search.get("set") ? mountSet : mountList;
    end = start(element, show) || (() => {});
  };
  show();
  return () => end();
}

register("data", mountData);
