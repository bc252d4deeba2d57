/* One data set: its splits and labels, what a model would read of it, and its examples. */
import { api, count, html, patch, query, setQuery, toast } from "./studio.js";
import { balanceTable, histogram, option, pageHead, problem, runsText, setHref, settle } from "./data_parts.js";

const SPLITS = ["train", "dev", "test"];
const BATCHES = [4, 8, 16, 32];
const DEFAULTS = { backbone: "minilm", max_tokens: "128", draw: "all", k: "16", dev: "full", seed: "0", size: "8" };
const DRAWS = { all: "all of train", per_label: "k of each label", in_all: "k in all", fewglue: "FewGLUE's 32" };
const STEP = 3;

const value = (name) => query().get(name) || DEFAULTS[name] || "";

function address(data, part, names) {
  const search = new URLSearchParams();
  if (data.version) search.set("version", data.version);
  for (const name of ["template", ...names]) if (value(name)) search.set(name, value(name));
  return `/api/data/sets/${encodeURIComponent(data.name)}/${part}?${search}`;
}

/* ---- what it is ---- */

const fact = (term, text, small = "") => html`<div class="fact"><dt>${term}</dt><dd>${text}${small && html`<small>${small}</small>`}</dd></div>`;

function head(data) {
  const use = data.can_train && html`<a class="btn btn-primary" href="/new?task=${encodeURIComponent(data.name)}${data.version && `@${data.version}`}">Use in a new experiment</a>`;
  const lead = html`<a href="/data">Data</a> / <span class="mono">${data.name}${data.version && ` @ ${data.version}`}</span>`;
  return pageHead(data.title, lead, html`${use}${data.version && html`<button type="button" class="btn" data-remove>Delete …</button>`}`);
}

function removal(data, asking) {
  if (!asking) return "";
  const rows = SPLITS.map((split) => data.versions.find(({ version }) => version === data.version)?.counts[split] || 0).reduce((a, b) => a + b, 0);
  if (data.runs)
    return html`<div class="notice notice-warn" role="alert" data-key="removal"><p><strong>${data.name} @ ${data.version} cannot be deleted:</strong> ${runsText(data.runs)} ${data.runs === 1 ? "uses" : "use"} it,
      and their numbers could not be repeated without it.</p><p><button type="button" class="btn btn-small" data-keep-it>Close</button></p></div>`;
  return html`<div class="notice notice-bad" role="alertdialog" aria-label="Delete this version" data-key="removal"><p><strong>Delete ${data.name} @ ${data.version}?</strong>
    Its ${count(rows)} rows and its card are lost for good; no run uses them. Your own file is not touched.</p>
    <p class="page-actions"><button type="button" class="btn btn-small btn-danger" data-remove-now>Delete this version</button>
    <button type="button" class="btn btn-small" data-keep-it>Keep it</button></p></div>`;
}

function about(data) {
  const versions = data.versions.length > 1 && html`<label class="inline-label muted small">Version <select data-version>${data.versions.map((one) =>
    option(one.version, `${one.version}${one.is_latest ? " (latest)" : ""}`, data.version))}</select></label>`;
  return html`<section class="card" data-key="about"><div class="section-head"><h2>Splits</h2>${versions}</div>
    <dl class="facts">${data.splits.map((split) => fact(split.name, count(split.examples), split.source))}
      ${data.extra.map(([title, size]) => fact(title, count(size), "scored once, at the end"))}
      ${data.labels.length > 0 && fact(data.kind === "choices" ? "choices" : "labels", data.labels.length, data.metrics.join(", "))}
      ${fact("runs", count(data.runs), data.runs ? "use these files" : "none uses it yet")}</dl>
    ${data.notes.length > 0 && html`<ul class="set-notes">${data.notes.map((note) => html`<li>${note}</li>`)}</ul>`}
    ${data.note && html`<p>${data.note}</p>`}${data.source && html`<p class="muted small">Source: ${data.source}</p>`}
    ${data.data_version && !data.version && html`<p class="muted small">Runs record these files as <span class="mono">${data.data_version}</span>.</p>`}
    ${data.datasheet && html`<details data-key="sheet"><summary>Datasheet</summary><div class="datasheet" tabindex="0">${data.datasheet}</div></details>`}</section>`;
}

const balance = (data) => data.splits.length > 0 && html`<section class="card" data-key="balance"><h2>Label balance</h2>
  ${balanceTable(data.splits)}</section>`;

/* ---- what a model reads ---- */

function controls(data) {
  const draws = Object.entries(DRAWS).filter(([name]) => name !== "fewglue" || data.suite === "superglue");
  const isDrawn = value("draw") !== "all", hasK = isDrawn && value("draw") !== "fewglue";
  const field = (name, title, most) => html`<label>${title} <input type="number" data-choice="${name}" min="${name === "seed" ? 0 : name === "k" ? 1 : 8}" max="${most}" value="${value(name)}"></label>`;
  return html`<section class="card controls" data-key="controls" aria-label="What a model reads"><h2>What a model reads</h2><div class="selects">
    ${data.templates.length > 1 && html`<label>Template <select data-choice="template">${data.templates.map((name) => option(name, name, data.template))}</select></label>`}
    <label>Tokenizer of <select data-choice="backbone">${data.backbones.map(({ name, title }) => option(name, title, value("backbone")))}</select></label>
    ${field("max_tokens", "Longest input", 8192)}
    <label>Train on <select data-choice="draw">${draws.map(([name, text]) => option(name, text, value("draw")))}</select></label>
    ${hasK && field("k", "k", 10000)}
    ${isDrawn && html`<label>Dev <select data-choice="dev">${option("full", "the task's own", value("dev"))}${option("same_size", "as small as train", value("dev"))}</select></label>`}
    ${isDrawn && field("seed", "Data seed", 2147483646)}</div></section>`;
}

const lengthCard = (part) => html`<section class="card" data-key="lengths-card"><h2>Length of the inputs</h2><p class="muted small">Tokens of an input, special ones counted; the prompt is not.</p>
  ${part.error ? problem(part.error) : part.value ? histogram(part.value) : html`<p class="loading" role="status">Counting tokens …</p>`}</section>`;

function drawCard(data, part) {
  const found = part.value;
  if (value("draw") === "all") return html`<section class="card" data-key="draw"><h2>Few-shot draw</h2><p class="muted">Runs train on all ${count(data.splits[0].examples)} examples.
    Choose “${DRAWS.per_label}” above to see which examples a data seed draws.</p></section>`;
  if (part.error) return html`<section class="card" data-key="draw"><h2>Few-shot draw</h2>${problem(part.error)}</section>`;
  if (!found) return html`<section class="card" data-key="draw"><h2>Few-shot draw</h2><p class="loading" role="status">Drawing …</p></section>`;
  return html`<section class="card" data-key="draw"><h2>Few-shot draw</h2>
    <p class="small">Data seed ${found.seed} draws <strong>${count(found.total)}</strong> training examples: ${found.counts.map(([label, n], i) => html`${i > 0 && ", "}${n} ${label}`)}.
      Dev has ${count(found.dev)}. ${value("draw") !== "fewglue" && found.again !== null && html`Seed ${found.seed + 1} draws ${count(found.again)} of them again.`}</p>
    <div class="table-scroll plain short" tabindex="0" role="region" aria-label="Drawn examples"><table class="table compact"><thead><tr><th scope="col">Label</th><th scope="col">Text</th></tr></thead>
      <tbody>${found.examples.map((one) => html`<tr><td class="nowrap">${one.label}</td><td class="words">${one.texts.map((text, i) => html`${i > 0 && html`<br>`}${text}`)}</td></tr>`)}</tbody></table></div>
    ${found.examples.length < found.total && html`<p class="muted small">The first ${found.examples.length} are shown.</p>`}</section>`;
}

const tokenOf = ({ text, segment, special }) => {
  const isGlued = text.length > 2 && text.startsWith("##");
  return html`<span class="token segment-${segment}${special && " special"}${isGlued && " glued"}">${isGlued ? text.slice(2) : text}</span>`;
};

function batchRow(row) {
  const cut = row.total > row.tokens.length;
  return html`<li><div class="batch-head"><span class="chip chip-info">${row.label}</span>
    <span class="muted small">example ${row.example} · ${row.tokens.length} tokens${cut ? html` · <strong>cut: the text has ${count(row.total)}</strong>` : ""}</span></div>
    <p class="sentence">${row.tokens.map(tokenOf)}${cut && html`<span class="token cut-mark" title="The rest of the text is cut">✂</span>`}${row.padding > 0 && html`<span class="token pad">[PAD] × ${row.padding}</span>`}</p></li>`;
}

function batchCard(part) {
  const found = part.value;
  const sizes = html`<label class="inline-label muted small">Examples <select data-choice="size">${BATCHES.map((n) => option(String(n), n, value("size")))}</select></label>`;
  return html`<section class="card" data-key="batch"><div class="section-head"><h2>A batch as the model sees it</h2>${sizes}</div>
    ${part.error ? problem(part.error) : !found ? html`<p class="loading" role="status">Making tokens …</p>` : html`<p class="muted small">The first drawn training examples, padded to a length class of ${found.length}:
      ${count(found.used)} of ${count(found.length * found.rows.length)} places hold tokens. <span class="token segment-0">first segment</span> <span class="token segment-1">second segment</span>
      <span class="token special">added by the tokenizer</span> <span class="token pad">padding</span>. A run orders its batches by its data seed.</p><ol class="batch">${found.rows.map(batchRow)}</ol>`}</section>`;
}

/* ---- examples ---- */

function examplesCard(data, part) {
  const file = value("file") || data.files[0], at = Number(value("at")) || 0;
  const select = data.files.length > 1 && html`<label class="inline-label muted small">File <select data-choice="file">${data.files.map((name) => option(name, name, file))}</select></label>`;
  const field = ([name, text]) => html`<div><dt>${name}</dt><dd>${text}</dd></div>`;
  const rendering = (one) => html`<div class="rendering"><h4>${one.template} <span class="muted small">template${one.template === data.template ? ", chosen" : ""}</span></h4>
    ${one.rows.map((row) => html`<p class="row-text">${row.map((segment, i) => html`<span class="segment segment-${i}">${segment}</span>`)}</p>`)}
    ${one.hidden_rows > 0 && html`<p class="muted small">and ${one.hidden_rows} more rows, one a choice</p>`}</div>`;
  const body = part.error ? problem(part.error) : !part.value ? html`<p class="loading" role="status">Reading …</p>`
    : !part.value.examples.length ? html`<p class="muted">The file has no more examples.</p>`
    : part.value.examples.map((one) => html`<article class="example-card" data-key="example-${one.number}"><p class="muted small">${file}, line ${one.line}, example ${one.number}</p>
      <div class="example-parts"><dl class="fields">${one.fields.map(field)}</dl><div>${one.renderings.map(rendering)}</div></div></article>`);
  return html`<section class="card" data-key="examples"><div class="section-head"><h2>Examples</h2>${select}</div><div class="stack-tight">${body}</div>
    <p class="page-actions"><button type="button" class="btn btn-small" data-at="${Math.max(0, at - STEP)}"${at === 0 && html` disabled`}>Earlier</button>
      <button type="button" class="btn btn-small" data-at="${at + STEP}"${part.value && part.value.examples.length < STEP && html` disabled`}>Later</button></p></section>`;
}

/* ---- view ---- */

export function mountSet(element) {
  const parts = { lengths: {}, draw: {}, batch: {}, examples: {} };
  const asked = {};
  let data = null, asking = false, starts = 0, stopped = false;

  const page = () => html`<div class="stack data-page">${head(data)}${removal(data, asking)}
    ${query().get("same") && html`<div class="notice notice-info" data-key="same"><p>This content was added before: it is this version, and nothing was stored twice.</p></div>`}
    ${data.error && data.suite !== "diagnostic" && html`<div class="notice notice-warn" data-key="unreadable"><p><strong>${data.error}</strong> ${data.hint}</p></div>`}
    <div class="grid-2 even" data-key="top">${about(data)}${balance(data)}</div>
    ${data.can_train && html`${controls(data)}<div class="grid-2 even" data-key="model">${lengthCard(parts.lengths)}${drawCard(data, parts.draw)}</div>${batchCard(parts.batch)}`}
    ${data.files.length > 0 && examplesCard(data, parts.examples)}</div>`;

  const show = () => {
    if (stopped) return;
    patch(element, page());
    settle(element);
  };

  async function load(name, path) {
    if (asked[name] === path) return;
    asked[name] = path;
    parts[name] = {};
    show();
    let answer;
    try {
      answer = { value: await api(path) };
    } catch (error) {
      answer = { error };
    }
    if (stopped || asked[name] !== path) return;
    parts[name] = answer;
    show();
  }

  function loadAll() {
    const drawn = value("draw") === "all" ? ["draw"] : ["draw", "k", "dev", "seed"];
    if (data.can_train) {
      load("lengths", address(data, "lengths", ["backbone", "max_tokens"]));
      load("batch", address(data, "batch", ["backbone", "max_tokens", "size", ...drawn]));
      if (value("draw") !== "all") load("draw", address(data, "draw", drawn));
    }
    const file = value("file") || data.files[0];
    if (file) load("examples", `${address(data, "examples", ["at"])}&file=${encodeURIComponent(file)}`);
  }

  async function start() {
    const mine = ++starts;
    let answer;
    const search = new URLSearchParams();
    for (const name of ["version", "template"]) if (value(name)) search.set(name, value(name));
    try {
      answer = await api(`/api/data/sets/${encodeURIComponent(query().get("set"))}?${search}`);
    } catch (error) {
      if (stopped || mine !== starts) return;
      patch(element, html`<div class="card empty"><p class="empty-title">${error.message}</p><p>${error.hint}</p><a class="btn" href="/data">All data sets</a></div>`);
      return;
    }
    if (stopped || mine !== starts) return;
    data = answer;
    document.title = `${data.title} – Data – DP Studio`;
    show();
    loadAll();
  }

  async function remove() {
    try {
      await api(`/api/data/sets/${encodeURIComponent(data.name)}/${data.version}`, { method: "DELETE" });
      location.href = "/data";
    } catch (error) {
      toast(`${error.message} ${error.hint}`, "bad");
    }
  }

  const click = (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    if (button.matches("[data-remove-now]")) remove();
    else if (button.matches("[data-remove], [data-keep-it]")) {
      asking = button.matches("[data-remove]");
      show();
    } else if (button.dataset.at !== undefined) {
      setQuery({ at: button.dataset.at === "0" ? "" : button.dataset.at });
      show();
      loadAll();
    }
  };
  const change = (event) => {
    const { choice, version } = event.target.dataset;
    if (version !== undefined) location.href = setHref(data.name, event.target.value);
    if (!choice || !event.target.value) return;
    if (event.target.reportValidity && !event.target.reportValidity()) return;
    setQuery({ [choice]: event.target.value === DEFAULTS[choice] ? "" : event.target.value, ...(choice === "file" && { at: "" }) });
    if (choice === "template") start();
    else {
      show();
      loadAll();
    }
  };
  element.addEventListener("click", click);
  element.addEventListener("change", change);
  start();
  return () => {
    stopped = true;
    element.removeEventListener("click", click);
    element.removeEventListener("change", change);
  };
}
