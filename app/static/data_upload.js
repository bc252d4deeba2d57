/* Adding data: choose a file, say what its columns are, see what would become of it, add it. */
import { ApiError, api, count, html, patch, query, setQuery, toast } from "./studio.js";
import { balanceTable, histogram, option, pageHead, problem, setHref, settle, size } from "./data_parts.js";

const MOST_BYTES = 50e6;
const WAIT_MS = 350;
const ROLES = { "": "not used", text1: "text", text2: "second text", label: "label", split: "split", group: "group" };
const DELIMITERS = { "": "found by itself", ",": "comma", "\t": "tab", ";": "semicolon", "|": "bar" };

/* ---- choosing a file ---- */

const addPage = (state) => html`<div class="stack data-page">${pageHead("Add data", html`<a href="/data">Data</a> / a file of your own`)}
  ${state.error && problem(state.error)}
  <section class="card" data-key="drop"><label class="drop" aria-busy="${state.busy ? "true" : "false"}"><input class="visually-hidden" type="file" data-file accept=".csv,.tsv,.txt,.jsonl,.json,.parquet"${state.busy && html` disabled`}>
    <svg viewBox="0 0 24 24" fill="none" stroke="currentColor" stroke-width="1.8" stroke-linecap="round" stroke-linejoin="round" aria-hidden="true"><path d="M12 16V4m0 0L7 9m5-5 5 5M4 16v3a1 1 0 0 0 1 1h14a1 1 0 0 0 1-1v-3"/></svg>
    <strong>${state.busy ? `Sending ${state.busy} …` : "Choose a file, or drop it here"}</strong><span class="muted">CSV, TSV, JSONL or Parquet, at most 50 MB, texts in UTF-8</span></label></section>
  <section class="card" data-key="rules"><h2>What a file holds</h2><ul class="set-notes"><li>One example a row: one text or two, and a label. Other columns may stay.</li>
    <li>A column may say which rows are <code>train</code>, <code>dev</code> and <code>test</code>; without one the studio cuts them, always in the same way.</li>
    <li>Rows that belong together (one author, one document) can share a group; the studio never cuts a group apart. Where the file itself names the splits, groups that stand in two of them are told.</li>
    <li>Nothing is guessed or mended silently: what is wrong is told with its line, and nothing is added until you say so. The file stays on this machine.</li></ul>
    <p class="muted small">From the command line: <code>studio data add reviews.csv</code></p></section></div>`;

export function mountAdd(element, show) {
  const state = { busy: "", error: null };
  let stopped = false;
  const draw = () => !stopped && patch(element, addPage(state));

  async function send(file) {
    if (!file || state.busy) return;
    if (file.size > MOST_BYTES) {
      state.error = { message: `${file.name} has ${size(file.size)}, at most 50 MB are taken.`, hint: "Send a part of it, or shorten its texts." };
      return draw();
    }
    Object.assign(state, { busy: file.name, error: null });
    draw();
    try {
      const answer = await fetch(`/api/data/uploads?name=${encodeURIComponent(file.name)}`, {
        method: "POST", body: file, headers: { "Content-Type": "application/octet-stream" },
      });
      // A fault, or what stands before the studio, may answer without JSON.
      const content = await answer.json().catch(() => ({}));
      if (!answer.ok || !content.id) throw new ApiError(answer.status, { message: `The file was not taken (status ${answer.status}).`, hint: "Send it again; the studio's log says more.", ...content });
      setQuery({ add: "", upload: content.id });
      return show();
    } catch (error) {
      Object.assign(state, { busy: "", error });
    }
    draw();
  }

  const change = (event) => event.target.matches("[data-file]") && send(event.target.files[0]);
  const over = (event) => event.target.closest(".drop") && event.preventDefault();
  const drop = (event) => {
    if (!event.target.closest(".drop")) return;
    event.preventDefault();
    send(event.dataTransfer.files[0]);
  };
  element.addEventListener("change", change);
  element.addEventListener("dragover", over);
  element.addEventListener("drop", drop);
  draw();
  return () => {
    stopped = true;
    element.removeEventListener("change", change);
    element.removeEventListener("dragover", over);
    element.removeEventListener("drop", drop);
  };
}

/* ---- what the file is ---- */

function problems(found, title) {
  const place = ({ line, unit }) => (line ? html`<strong>${unit} ${count(line)}</strong>: ` : "");
  const hints = [...new Set(found.problems.map(({ hint }) => hint).filter(Boolean))];
  const more = found.num_problems - found.problems.length;
  return html`<div class="notice notice-bad" role="alert" data-key="problems"><p><strong>${title}</strong></p>
    <ul>${found.problems.map((one) => html`<li>${place(one)}${one.text}</li>`)}${more > 0 && html`<li>and ${count(more)} more</li>`}</ul>
    ${hints.map((hint) => html`<p>${hint}</p>`)}</div>`;
}

function reading(view) {
  const { inspection, choices, encodings } = view;
  const isText = inspection.format !== "parquet";
  return isText && html`<details data-key="reading"${inspection.num_problems > 0 && html` open`}><summary>How it is read</summary><div class="selects">
    <label>Encoding <select data-reading="encoding">${option("", "UTF-8, or as the file is marked", choices.encoding)}${encodings.map((name) => option(name, name, choices.encoding))}</select></label>
    ${inspection.format !== "jsonl" && html`<label>Between cells <select data-reading="delimiter">${Object.entries(DELIMITERS).map(([sign, name]) => option(sign, name, choices.delimiter))}</select></label>
    <label>Double quotes <select data-reading="quotes">${option("yes", "enclose cells", choices.quotes ? "yes" : "no")}${option("no", "are ordinary characters", choices.quotes ? "yes" : "no")}</select></label>`}</div></details>`;
}

function fileCard(view) {
  const { inspection } = view;
  const facts = [inspection.format?.toUpperCase(), size(view.size), inspection.num_rows && `${count(inspection.num_rows)} rows`, inspection.encoding].filter(Boolean).join(" · ");
  return html`<section class="card" data-key="file"><div class="section-head"><h2 class="file-name">${view.file_name}</h2><button type="button" class="btn btn-small" data-discard>Discard</button></div>
    <p class="muted small">${facts}</p>${inspection.num_problems > 0 && problems(inspection, "This file cannot be used as it is.")}
    ${inspection.notes.length > 0 && html`<ul class="set-notes">${inspection.notes.map((note) => html`<li>${note}</li>`)}</ul>`}${reading(view)}</section>`;
}

/* ---- columns ---- */

const roleOf = ({ texts, label, split, group }, name) =>
  texts[0] === name ? "text1" : texts[1] === name ? "text2" : label === name ? "label" : split === name ? "split" : group === name ? "group" : "";

function columnRow(column, choices, i) {
  const role = roleOf(choices, column.name);
  const different = `${count(column.distinct)}${column.distinct_is_capped ? "+" : ""} different`;
  const facts = [different, column.missing && `${count(column.missing)} empty`, column.longest > 40 && `up to ${count(column.longest)} characters`].filter(Boolean).join(" · ");
  return html`<tr data-key="column-${i}" class="${role ? "" : "unused"}"><th scope="row">${column.name}</th>
    <td>${column.refused ? html`<span class="muted small">${column.refused}</span>` : html`<select data-column="${i}" aria-label="What is column ${column.name}">${Object.entries(ROLES).map(([key, title]) => option(key, title, role))}</select>`}</td>
    <td class="words small">${column.samples.map((sample) => html`<span class="sample">${sample}</span>`)}<span class="muted">${facts}</span></td></tr>`;
}

function columnsCard(view) {
  const { inspection, choices } = view;
  return html`<section class="card" data-key="columns"><h2>What is each column?</h2>
    <div class="table-scroll plain"><table class="table columns-table"><thead><tr><th scope="col">Column</th><th scope="col">Is the</th><th scope="col">First values</th></tr></thead>
      <tbody>${inspection.columns.map((column, i) => columnRow(column, choices, i))}</tbody></table></div>
    <div class="selects"><label>Rows without text or label <select data-reading="on_missing">${option("abort", "refuse the file", choices.on_missing)}${option("drop", "are left out and counted", choices.on_missing)}</select></label></div></section>`;
}

/* ---- what would become of it ---- */

function previewCard(part, known) {
  if (part.waiting) return html`<section class="card" data-key="preview"><h2>What would be added</h2><p class="muted">Choose the column of the text and the one of the label.</p></section>`;
  if (part.error) return html`<section class="card" data-key="preview"><h2>What would be added</h2>${problem(part.error)}</section>`;
  if (!part.value) return html`<section class="card" data-key="preview"><h2>What would be added</h2><p class="loading" role="status">Reading the whole file …</p></section>`;
  const { report, examples, lengths, cut_dev } = part.value;
  if (report.num_problems) return html`<section class="card" data-key="preview"><h2>What would be added</h2>${problems(report, "Nothing can be added yet.")}</section>`;
  const splits = Object.entries(report.label_counts).map(([name, counts]) => ({ name, counts, examples: report.counts[name] }));
  return html`<section class="card" data-key="preview"><h2>What would be added</h2>
    ${report.warnings.length > 0 && html`<div class="notice notice-warn" data-key="warnings"><ul>${report.warnings.map((text) => html`<li>${text}</li>`)}</ul></div>`}
    <ul class="set-notes" data-key="notes">${report.dropped > 0 && html`<li>${count(report.dropped)} rows without text or label are left out.</li>`}${cut_dev > 0 && html`<li>About ${count(cut_dev)} of the ${count(report.counts.train)} rows of train become dev, to choose checkpoints on; always the same ones.</li>`}${report.notes.filter((note) => !known.includes(note)).map((note) => html`<li>${note}</li>`)}</ul>
    <div class="grid-2 even" data-key="both"><div><h3>Label balance</h3>${balanceTable(splits)}</div>
      <div><h3>Length of the inputs</h3>${lengths && histogram(lengths, "preview-lengths")}</div></div>
    <h3>First rows</h3><div class="table-scroll plain short" tabindex="0" role="region" aria-label="First rows"><table class="table compact"><thead><tr><th scope="col">Label</th><th scope="col">Text</th></tr></thead>
      <tbody>${examples.map((one) => html`<tr><td class="nowrap">${one.label}</td><td class="words">${one.texts.map((text, i) => html`${i > 0 && html`<br>`}${text}`)}</td></tr>`)}</tbody></table></div></section>`;
}

const nameCard = (view, part, state) => html`<section class="card" data-key="name"><div class="name-bar"><label class="text-label">Name of the data set
    <input type="text" data-name value="${view.choices.name}" maxlength="80" autocomplete="off" spellcheck="false"></label>
    <button type="button" class="btn btn-primary" data-add${!(part.value && !part.value.report.num_problems && !state.adding) && html` disabled`}>${state.adding ? "Adding …" : "Add data set"}</button></div>
  <p class="muted small">Adding the same name again makes a new version; versions never change.</p>${state.error && problem(state.error)}</section>`;

const gone = (error) => html`<div class="card empty"><p class="empty-title">${error.message}</p><p>${error.hint}</p><a class="btn" href="/data?add=1">Choose a file</a></div>`;

export function mountUpload(element) {
  const id = query().get("upload"), base = `/api/data/uploads/${encodeURIComponent(id)}`;
  const state = { error: null, adding: false };
  let view = null, part = { waiting: true }, looked = 0, asked = 0, timer = 0, stopped = false;

  const show = () => {
    if (stopped) return;
    patch(element, html`<div class="stack data-page">${pageHead("Add data", html`<a href="/data">Data</a> / <a href="/data?add=1">another file</a>`)}
      ${fileCard(view)}${view.inspection.is_usable && html`${columnsCard(view)}${previewCard(part, view.inspection.notes)}${nameCard(view, part, state)}`}</div>`);
    settle(element);
  };

  async function look(choices) {
    const mine = ++looked;
    let answer;
    try {
      answer = await api(base, choices ? { method: "PUT", body: choices } : {});
    } catch (error) {
      if (!stopped && mine === looked) patch(element, view ? html`<div class="stack data-page">${problem(error)}<p><a href="/data?add=1">Choose the file again</a></p></div>` : gone(error));
      return;
    }
    if (stopped || mine !== looked) return;
    view = answer;
    view.choices.name = query().get("name") || view.choices.name;
    show();
    if (view.inspection.is_usable) preview();
  }

  async function preview() {
    clearTimeout(timer);
    const mine = ++asked, { texts, label } = view.choices;
    part = { waiting: !texts.length || !label };
    show();
    if (part.waiting) return;
    let answer;
    try {
      answer = { value: await api(`${base}/preview`, { method: "POST", body: view.choices }) };
    } catch (error) {
      answer = { error };
    }
    if (mine !== asked) return;
    part = answer;
    show();
  }

  function later() {
    asked += 1;
    part = { waiting: !view.choices.texts.length || !view.choices.label };
    state.error = null;
    show();
    clearTimeout(timer);
    timer = setTimeout(preview, WAIT_MS);
  }

  /* A role that one column takes leaves the column that had it. */
  function give(name, role) {
    const { choices } = view;
    const texts = [choices.texts[0], choices.texts[1]].map((one) => (one === name ? undefined : one));
    for (const key of ["label", "split", "group"]) if (choices[key] === name) choices[key] = "";
    if (role === "text1" || role === "text2") texts[role === "text1" ? 0 : 1] = name;
    else if (role) choices[role] = name;
    choices.texts = texts.filter(Boolean);
    later();
  }

  async function add() {
    state.adding = true;
    state.error = null;
    show();
    try {
      const added = await api(`${base}/add`, { method: "POST", body: view.choices });
      location.href = `${setHref(added.name, added.version)}${added.is_new ? "" : "&same=1"}`;
    } catch (error) {
      state.error = error;
      state.adding = false;
      show();
    }
  }

  async function discard() {
    try {
      await api(base, { method: "DELETE" });
      location.href = "/data";
    } catch (error) {
      toast(error.message, "bad");
    }
  }

  const change = (event) => {
    const { column, reading: name } = event.target.dataset;
    if (column !== undefined) give(view.inspection.columns[Number(column)].name, event.target.value);
    else if (name === "on_missing") {
      view.choices.on_missing = event.target.value;
      later();
    } else if (name) look({ ...view.choices, [name]: name === "quotes" ? event.target.value === "yes" : event.target.value });
  };
  const input = (event) => {
    if (event.target.dataset.name === undefined) return;
    view.choices.name = event.target.value;
    state.error = null;
    setQuery({ name: event.target.value });
  };
  const click = (event) => {
    if (event.target.closest("[data-add]")) add();
    else if (event.target.closest("[data-discard]")) discard();
  };
  element.addEventListener("change", change);
  element.addEventListener("input", input);
  element.addEventListener("click", click);
  look();
  return () => {
    stopped = true;
    clearTimeout(timer);
    element.removeEventListener("change", change);
    element.removeEventListener("input", input);
    element.removeEventListener("click", click);
  };
}
