/* Try it: one input, every chosen run side by side, and where each put its prompt. */
import { api, html, number, patch, percent, query, register, setQuery } from "./studio.js";
import { methodColor, swatch } from "./methods.js";

const LONGEST_IN_ADDRESS = 1500;
const LONGEST_TEXT = 20000;
const PATIENCE_MS = 40000;
const SHOWN_LABELS = 8;
const MOST_TEXTS = 8;
const NO_RUNS = "none";
const FRAME = new Set(["[CLS]", "[SEP]", "[PAD]", "<s>", "</s>", "<pad>"]);
const UNKNOWN = new Set(["[UNK]", "<unk>"]);
/* A key of this load of the page: one kept in sessionStorage would be shared with a copied tab. */
const SESSION_KEY = [...crypto.getRandomValues(new Uint8Array(16))].map((n) => n.toString(16).padStart(2, "0")).join("");

/* ---- input ---- */

/* A name from a file as people read it: "span1_text" is "Span 1 text". */
const NAMES = { text1: "First text", text2: "Second text" };
const named = (name) => NAMES[name] || name.charAt(0).toUpperCase() + name.slice(1).replaceAll("_", " ").replace(/([a-z])(\d)/g, "$1 $2");
/* A choice is one of the typed texts; a class is what the data call it. */
const placeOf = (task, label) => task.inputs.findIndex((field) => field.name === label);
const labelled = (task, label) => (placeOf(task, label) < 0 ? label : named(label));
/* Texts stand in the address as text, text2, text3 … */
const textKey = (i) => (i ? `text${i + 1}` : "text");
const shortened = (text) => (text.length > 48 ? `${text.slice(0, 48)}…` : text);
/* A joint run stands under each of its tasks; these are the others. */
const others = (run, task) => run.task.split("+").filter((name) => name !== task.name);

function examples(task) {
  if (!task.examples.length) return "";
  return html`<div class="examples" data-key="examples"><span class="muted small">${task.examples_note}:</span>
    ${task.examples.map((one, i) => html`<button type="button" class="btn btn-small example" data-example="${i}" title="${one.texts.join(" / ")} → ${one.label}">${shortened(one.texts.join(" / "))}</button>`)}</div>`;
}

function runPicker(task, chosen) {
  const studies = [...new Set(task.runs.map((run) => run.study_id))];
  return html`<details class="picker" data-key="runs"><summary><span class="muted">Runs</span> <strong>${chosen.length} of ${task.runs.length} chosen</strong></summary>
    ${studies.map((id) => {
      const runs = task.runs.filter((run) => run.study_id === id);
      return html`<fieldset class="picks"><legend>${runs[0].slug.split("-")[0]} ${runs[0].study_name}</legend>${runs.map((run) => html`<label class="pick"><input type="checkbox" data-run="${run.run_id}"${chosen.includes(run.run_id) && html` checked`}>
        <span>${swatch(run.method_label)}${run.method_label} <small class="muted">${run.slug} · ${run.regime}${others(run, task).length > 0 && ` with ${others(run, task).join(", ")}`} · data ${run.data_seed}, init ${run.init_seed} · dev ${percent(run.dev[run.metric])}</small></span></label>`)}</fieldset>`;
    })}</details>`;
}

function box(task, field, i) {
  const what = field.options.length
    ? html`<select data-text="${i}">${field.options.map((one) => html`<option>${one}</option>`)}</select>`
    : html`<textarea data-text="${i}" rows="${task.inputs.length > 1 ? 2 : 3}" maxlength="${LONGEST_TEXT}" placeholder="${i === 0 && "Type here; Enter classifies, Shift+Enter starts a new line"}"></textarea>`;
  return html`<label class="text-label" data-key="box-${task.name}-${i}">${named(field.name)}${what}</label>`;
}

function form(data, task, chosen, state) {
  const picker = data.tasks.length > 1 && html`<label class="inline-label">Task <select data-task>${data.tasks.map((one) => html`<option value="${one.name}"${one.name === task.name && html` selected`}>${one.title}${one.refusal && " (cannot be typed)"}</option>`)}</select></label>`;
  if (task.refusal) return html`<section class="card try-form" data-key="form" aria-label="Input">${picker}<div class="notice notice-warn"><p>${task.refusal}</p></div></section>`;
  return html`<section class="card try-form" data-key="form" aria-label="Input">
    ${picker}
    <div class="areas ${task.inputs.length > 2 ? "many" : ""} ${task.inputs.length === 4 ? "four" : ""}">${task.inputs.map((field, i) => box(task, field, i))}</div>
    ${examples(task)}
    <div class="try-bar"><button type="button" class="btn btn-primary" data-classify>Classify</button>
      <span class="muted small" role="status">${state.note}</span></div>
    ${state.error && html`<div class="notice notice-bad" role="alert"><p><strong>${state.error.message}</strong> ${state.error.hint}</p></div>`}
    ${runPicker(task, chosen)}</section>`;
}

/* ---- answers ---- */

const bar = (share, color) => html`<span class="label-bar"><i style="width:${(100 * share).toFixed(1)}%;background:${color}"></i></span>`;

/* In the task's own order, the same in every card; of many labels the likeliest few. */
function labels(task, answer, color) {
  const ranked = Object.entries(answer.probabilities).sort((a, b) => b[1] - a[1]);
  const likely = new Set(ranked.slice(0, SHOWN_LABELS).map(([label]) => label));
  const shown = Object.entries(answer.probabilities).filter(([label]) => likely.has(label));
  return html`<ul class="label-bars">${shown.map(([label, share]) =>
    html`<li class="${label === answer.label ? "chosen" : ""}"><span class="label-name" title="${label}">${labelled(task, label)}</span>${bar(share, color)}<span class="num">${percent(share)}</span></li>`)}</ul>
    ${ranked.length > SHOWN_LABELS && html`<p class="muted small">and ${ranked.length - SHOWN_LABELS} labels below ${percent(ranked[SHOWN_LABELS - 1][1])} %</p>`}`;
}

/* A word piece that continues a word stands close to it, without the tokenizer's mark. */
const piece = ({ token, added }) => {
  const kind = added ? " added" : "";
  return token.length > 2 && token.startsWith("##")
    ? html`<span class="token glued${kind}">${token.slice(2)}</span>`
    : html`<span class="token${kind}">${token}</span>`;
};

/* An answer as it is now; one that was stored before told vectors before and after the text. */
function current(answer) {
  if (answer.pieces) return answer;
  const pieces = [[1, answer.prompt_before], [answer.tokens.length - 1, answer.prompt_after]].filter(([, n]) => n);
  const shares = answer.cut_probabilities;
  const choices = shares?.length ? [{ axis: "cut", chosen: answer.prompt_before, names: shares.map((_, i) => String(i)), probabilities: shares }] : [];
  return { ...answer, pieces, choices };
}

/* Says where the prompt stands: in front of the text, behind it, or behind one of its tokens. */
function told({ pieces, tokens, choices }) {
  const place = (at, text) => (at <= 1 ? `before ${text}` : at >= tokens.length - 1 ? `after ${text}` : `inside ${text}, behind “${tokens[at - 1].replace(/^##/, "")}”`);
  const parts = pieces.map(([at, n], i) => (i ? `${n} ${place(at, "it")}` : `${n} prompt ${n === 1 ? "vector" : "vectors"} ${place(at, "the text")}`));
  const length = choices.find((one) => one.axis === "length");
  return `${parts.join(", ") || "No prompt vectors in the input"}${length ? ` · ${length.names[length.chosen]} of ${length.names.at(-1)} vectors used` : ""}`;
}

function sentence(answer, color, choice) {
  const where = told(answer), added = answer.added || [];
  const tokens = answer.tokens.map((token, i) => ({ token, added: added[i] || false }));
  let shown = 0;
  const row = tokens.flatMap((one, i) => {
    const blocks = answer.pieces.filter(([at]) => at === i).flatMap(([, n]) => Array.from({ length: n }, () => ++shown));
    return [...blocks.map((n) => html`<b class="vector" style="background:${color}" title="prompt vector ${n}">p${n}</b>`), piece(one)];
  });
  const words = tokens.filter((one) => !one.added && !FRAME.has(one.token));
  const isUnknown = words.length > 0 && words.every((one) => UNKNOWN.has(one.token));
  return html`<p class="sentence" aria-label="${where}">${row}</p>
    <p class="muted small">${where}${answer.used_tokens < answer.total_tokens && html` · <strong>first ${answer.used_tokens} of ${answer.total_tokens} tokens used</strong>`}${choice && ` · each choice is read by itself; this is ${choice}`}</p>
    ${isUnknown && html`<p class="small"><span class="chip chip-warn">no token of this text is known to the backbone</span></p>`}`;
}

/* Heading of an axis's bars, and what one of its choices is called. */
const AXES = {
  cut: ["Probability of each cut (vectors before the text)", "cut"],
  slot: ["Probability of each place", "place"],
  length: ["Probability of each length (vectors used)", "length"],
};
const MOST_NAMED = 6;

/* Few names stand under their bars; of many only the first and the last. */
function strip(title, { names, probabilities, chosen }, color, name) {
  const top = Math.max(...probabilities), isNumber = names.every((one) => /^\d+$/.test(one));
  const all = !isNumber && names.length <= MOST_NAMED, ends = all || names.length < 2 ? names : [names[0], names.at(-1)];
  return html`<div class="strip"><span class="small">${title}</span><div style="max-width:${(all ? 72 : 36) * names.length}px"><div class="strip-bars" role="img" aria-label="${title}: ${name} ${names[chosen]} with ${percent(probabilities[chosen])} percent">
    ${probabilities.map((share, i) => html`<i class="${i === chosen ? "best" : ""}" style="height:${Math.max(4, (100 * share) / (top || 1)).toFixed(0)}%;background:${color}" title="${name} ${names[i]}: ${percent(share)} %"></i>`)}</div>
    <span class="strip-ends ${all && "each"} muted small">${ends.map((one) => html`<span>${one}</span>`)}</span></div></div>`;
}

function pool(weights, color) {
  if (!weights?.length) return "";
  const chosen = weights.indexOf(Math.max(...weights));
  return strip("Weight of each prompt in the pool", { names: weights.map((_, i) => String(i)), probabilities: weights, chosen }, color, "prompt");
}

function card(run, task, answer, state) {
  const color = methodColor(run.method_label);
  const head = html`<div class="answer-head"><h3>${swatch(run.method_label)}<a href="/run?run=${run.run_id}">${run.method_label}</a></h3>
    ${others(run, task).length > 0 && html`<span class="chip" title="One run, trained on all these tasks">joint with ${others(run, task).join(", ")}</span>`}
    <span class="muted small" title="Time of the pass that runs on this backbone shared">${run.slug}${answer && !answer.error && html` · ${number(answer.milliseconds, answer.milliseconds < 10 ? 1 : 0)} ms`}</span></div>`;
  const flags = run.flags.length > 0 && html`<p class="small">${run.flags.map((flag) => html`<span class="chip chip-warn">${flag}</span> `)}</p>`;
  if (!answer) return html`<article class="card answer" data-key="a-${run.run_id}" aria-busy="${state.pending ? "true" : "false"}">${head}<p class="muted">${state.pending ? "Thinking …" : "No answer."}</p></article>`;
  if (answer.error) return html`<article class="card answer" data-key="a-${run.run_id}">${head}<div class="notice notice-bad"><p>${answer.error}</p></div></article>`;
  const choice = placeOf(task, answer.label);
  const none = run.method_kind === "p_tuning_v2" && html`<p class="muted small">Its keys and values act in every layer and have no place in the text.</p>`;
  return html`<article class="card answer" data-key="a-${run.run_id}">${head}${flags}
    <p class="answer-label">${labelled(task, answer.label)} <span class="muted">${percent(answer.probabilities[answer.label])} %</span></p>
    ${choice >= 0 && html`<p class="chosen-text">${state.asked[choice]}</p>`}
    ${labels(task, answer, color)}${sentence(answer, color, choice >= 0 && named(answer.label))}${none}
    ${answer.choices.map((one) => strip(AXES[one.axis][0], one, color, AXES[one.axis][1]))}${pool(answer.pool_weights, color)}</article>`;
}

function agreement(task, answers) {
  const good = answers.filter((answer) => answer && !answer.error);
  if (good.length < 2) return "";
  const votes = new Map();
  for (const { label } of good) votes.set(label, (votes.get(label) || 0) + 1);
  const sorted = [...votes].sort((a, b) => b[1] - a[1]);
  if (sorted.length === 1) return html`<div class="notice notice-good" data-key="agreement"><p>${good.length === 2 ? "Both" : `All ${good.length}`} runs say <strong>${labelled(task, sorted[0][0])}</strong>.</p></div>`;
  return html`<div class="notice notice-warn" data-key="agreement"><p>The runs disagree: ${sorted.map(([label, n], i) => html`${i > 0 && ", "}${n} ${n === 1 ? "says" : "say"} <strong>${labelled(task, label)}</strong>`)}.</p></div>`;
}

function results(task, chosen, state) {
  if (task.refusal) return "";
  if (!state.answers && !state.pending) return html`<div class="card empty" data-key="none"><p class="empty-title">No answer yet</p><p>Type a text or pick an example, then Classify.</p></div>`;
  const runs = task.runs.filter((run) => chosen.includes(run.run_id));
  const answers = state.answers || {};
  const errors = new Set(runs.map((run) => answers[run.run_id]?.error || ""));
  /* What every run says against the input is said once. */
  if (runs.length > 1 && errors.size === 1 && !errors.has("")) return html`<div class="notice notice-bad" data-key="refused" role="alert"><p>${[...errors][0]}</p></div>`;
  return html`<section class="stack" data-key="results" aria-label="Answers" aria-live="polite">${agreement(task, runs.map((run) => answers[run.run_id]))}
    <div class="answers">${runs.map((run) => card(run, task, answers[run.run_id], state))}</div></section>`;
}

/* ---- view ---- */

function mountTry(element) {
  const state = { answers: null, asked: [], pending: false, note: "", error: null };
  let data = null, asking = 0;

  const task = () => data.tasks.find((one) => one.name === query().get("task")) || data.tasks[0];
  const chosen = () => {
    if (query().get("runs") === NO_RUNS) return [];
    const known = new Set(task().runs.map((run) => run.run_id));
    const wanted = (query().get("runs") || "").split(",").filter((id) => known.has(id));
    return wanted.length ? wanted : task().default_run_ids;
  };
  const areas = () => [...element.querySelectorAll("[data-text]")];
  const show = () => patch(element, html`<div class="stack">${form(data, task(), chosen(), state)}${results(task(), chosen(), state)}</div>`);
  const forget = () => Object.assign(state, { answers: null, pending: false, note: "", error: null });

  function write(texts) {
    areas().forEach((area, i) => {
      area.value = texts[i] || "";
      if (area.selectedIndex === -1) area.selectedIndex = 0;
    });
  }

  const inAddress = (texts) => Object.fromEntries(Array.from({ length: MOST_TEXTS }, (_, i) => [textKey(i), texts[i] || ""]));

  function remember(texts) {
    const fits = texts.join("").length <= LONGEST_IN_ADDRESS;
    setQuery(inAddress(fits ? texts : []));
  }

  async function collect(id, mine, end) {
    let after = 0;
    for (;;) {
      const page = await api(`/api/predictions/${id}?wait=1&after=${after}`);
      if (mine !== asking || !element.isConnected) return;
      for (const { run_id, body } of page.answers) state.answers[run_id] = current(body);
      after = page.cursor;
      if (page.is_ended) {
        if (page.error) state.error = { message: page.error, hint: "" };
        if (page.state === "superseded") state.error = { message: "A newer question took the place of this one.", hint: "Classify again for the missing answers." };
        return;
      }
      if (Date.now() > end) {
        state.error = { message: "The predictor has not answered.", hint: "Is a worker running? ./studio up starts one." };
        return;
      }
      if (!page.answers.length) state.note = "Waiting for the predictor; the first answer also loads the backbone.";
      show();
    }
  }

  async function classify() {
    const texts = areas().map((area) => area.value);
    const mine = ++asking;
    forget();
    const missing = task().inputs.filter((_, i) => !texts[i].trim()).map((field) => named(field.name));
    if (missing.length) {
      state.error = { message: texts.length > 1 ? `Still empty: ${missing.join(", ")}.` : "The text is empty.", hint: "Type a sentence or pick an example." };
      show();
      return;
    }
    if (!chosen().length) {
      state.error = { message: "No run is chosen.", hint: "Tick at least one under Runs." };
      show();
      return;
    }
    remember(texts);
    Object.assign(state, { answers: {}, asked: texts, pending: true, note: "Asking …" });
    show();
    const began = performance.now();
    try {
      const { id } = await api("/api/predictions", { method: "POST", body: { texts, task: task().name, run_ids: chosen(), session: SESSION_KEY } });
      await collect(id, mine, Date.now() + PATIENCE_MS);
    } catch (error) {
      if (mine === asking) state.error = { message: error.message, hint: error.hint || "" };
    }
    if (mine !== asking) return;
    state.pending = false;
    const n = Object.keys(state.answers).length;
    state.note = n ? `${n} answer${n > 1 ? "s" : ""} in ${((performance.now() - began) / 1000).toFixed(1)} s` : "";
    show();
  }

  element.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    if (button.hasAttribute("data-classify")) classify();
    if (button.dataset.example) {
      write(task().examples[Number(button.dataset.example)].texts);
      classify();
    }
  });
  element.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing || !event.target.matches("[data-text]")) return;
    event.preventDefault();
    classify();
  });
  element.addEventListener("change", (event) => {
    if (event.target.matches("[data-task]")) {
      asking += 1;
      forget();
      setQuery({ task: event.target.value, runs: "", ...inAddress([]) });
      show();
      write(task().examples[0]?.texts || []);
    }
    if (event.target.matches("[data-run]")) {
      const boxes = [...element.querySelectorAll("[data-run]")].filter((one) => one.checked);
      setQuery({ runs: boxes.map((one) => one.dataset.run).join(",") || NO_RUNS });
      show();
      for (const one of element.querySelectorAll("[data-run]")) one.checked = one.hasAttribute("checked");
    }
  });

  async function start() {
    try {
      data = await api("/api/playground");
    } catch (error) {
      patch(element, html`<div class="notice notice-bad" role="alert"><p><strong>${error.message}</strong> ${error.hint || ""}</p></div>`);
      return;
    }
    if (!data.tasks.length) {
      patch(element, html`<div class="card empty"><p class="empty-title">No trained run yet</p><p>A run can classify as soon as it has succeeded.</p><a class="btn btn-primary" href="/new">New experiment</a></div>`);
      return;
    }
    show();
    const texts = task().inputs.map((_, i) => query().get(textKey(i)) || "");
    write(texts.some((text) => text) ? texts : task().examples[0]?.texts || []);
    if (areas().length && areas().every((area) => area.value.trim())) classify();
  }

  start();
  return () => { asking += 1; };
}

register("try-it", mountTry);
