/* Pieces that the views of the page Data share. */
import { count, html, percent } from "./studio.js";

const SHOWN_LABELS = 24;
const LEAST_SPAN = 24;

export const setHref = (name, version) =>
  `/data?set=${encodeURIComponent(name)}${version ? `&version=${version}` : ""}`;

export const pageHead = (title, lead, actions = "") => html`<header class="page-head" data-key="head"><div>
  <h1>${title}</h1>${lead && html`<p>${lead}</p>`}</div><div class="page-actions">${actions}</div></header>`;

export const problem = (error) => html`<div class="notice notice-bad" role="alert" data-key="problem"><p><strong>${error.message}</strong></p>
  ${error.hint && html`<p>${error.hint}</p>`}</div>`;

export const size = (bytes) => (bytes < 1e6 ? `${count(Math.max(1, Math.round(bytes / 1e3)))} kB` : `${(bytes / 1e6).toFixed(1)} MB`);

export const runsText = (runs) => (runs ? `${count(runs)} ${runs === 1 ? "run" : "runs"}` : "no run yet");

export const option = (name, text, chosen) =>
  html`<option value="${name}"${name === chosen && html` selected`}>${text}</option>`;

/* Attributes do not move a list that was touched; what is drawn does. */
export function settle(element) {
  for (const one of element.querySelectorAll("select")) {
    const chosen = one.querySelector("option[selected]");
    if (chosen && one !== document.activeElement) one.value = chosen.value;
  }
}

/* ---- labels by split: bars and numbers in one table ---- */

export function balanceTable(splits) {
  const labels = [...new Set(splits.flatMap((split) => Object.keys(split.counts)))];
  const cell = (split, label) => {
    const n = split.counts[label] || 0, share = split.examples ? n / split.examples : 0;
    return html`<td class="num balance"><span class="label-bar"><i style="width:${(100 * share).toFixed(1)}%"></i></span>
      <span>${count(n)}</span> <small class="muted">${percent(share)} %</small></td>`;
  };
  const row = (label) => html`<tr data-key="label-${label}"><th scope="row" class="label-cell" title="${label}">${label}</th>${splits.map((split) => cell(split, label))}</tr>`;
  const table = (rows) => html`<div class="table-scroll plain" tabindex="0" role="region" aria-label="Label balance"><table class="table compact"><thead><tr><th scope="col">Label</th>
    ${splits.map(({ name, examples }) => html`<th scope="col" class="num">${name}, ${count(examples)}</th>`)}</tr></thead><tbody>${rows.map(row)}</tbody></table></div>`;
  return html`${table(labels.slice(0, SHOWN_LABELS))}${labels.length > SHOWN_LABELS && html`<details data-key="more-labels">
    <summary>${labels.length - SHOWN_LABELS} more labels</summary>${table(labels.slice(SHOWN_LABELS))}</details>`}`;
}

/* ---- lengths ---- */

export function histogram(lengths, key = "lengths") {
  const { bars, max_tokens: cut } = lengths;
  if (!bars.length) return "";
  const width = 640, height = 190, left = 8, bottom = 22, top = 16;
  const first = bars[0].low, longest = bars.at(-1).high;
  const last = Math.max(longest, cut < 2 * longest ? cut : 0, first + LEAST_SPAN);
  const x = (tokens) => left + ((tokens - first) / (last - first + 1)) * (width - 2 * left);
  const most = Math.max(...bars.map((bar) => bar.count));
  const y = (n) => (height - bottom - top) * (n / most);
  const isCutShown = cut >= first && cut <= last;
  const name = (bar) => `${bar.low === bar.high ? bar.low : `${bar.low} to ${bar.high}`} tokens: ${count(bar.count)}`;
  const ticks = [first, Math.round((first + last) / 2), last].filter((tick) => !isCutShown || Math.abs(x(tick) - x(cut + 1)) > 46);
  const told = `Half of the inputs have at most ${lengths.median} tokens, 95 % at most ${lengths.high}, the longest ${lengths.longest}.`;
  const share = lengths.inputs ? lengths.cut / lengths.inputs : 0;
  return html`<div class="lengths" data-key="${key}"><svg class="histogram" viewBox="0 0 ${width} ${height}" role="img" aria-label="Tokens of the inputs. ${told}">
    ${bars.map((bar) => html`<rect class="${bar.low > cut ? "is-cut" : ""}" x="${(x(bar.low) + 0.5).toFixed(1)}" width="${Math.max(1, x(bar.high + 1) - x(bar.low) - 1).toFixed(1)}"
      y="${(height - bottom - y(bar.count)).toFixed(1)}" height="${y(bar.count).toFixed(1)}"><title>${name(bar)}</title></rect>`)}
    <line class="axis" x1="0" x2="${width}" y1="${height - bottom}" y2="${height - bottom}"/>
    ${isCutShown && html`<line class="cut" x1="${x(cut + 1).toFixed(1)}" x2="${x(cut + 1).toFixed(1)}" y1="2" y2="${height - bottom}"/>
      <text class="cut-text" x="${x(cut + 1).toFixed(1)}" y="${height - 6}" text-anchor="${x(cut + 1) > width - 60 ? "end" : x(cut + 1) < 60 ? "start" : "middle"}">cut at ${cut}</text>`}
    ${ticks.map((tick, i) => html`<text x="${x(tick + 0.5).toFixed(1)}" y="${height - 6}" text-anchor="${tick === first ? "start" : tick === last ? "end" : "middle"}">${tick}</text>`)}</svg>
    <p class="small">${told} ${lengths.cut ? html`<strong>${count(lengths.cut)} (${percent(share)} %) are longer than ${cut} and are cut.</strong>` : html`None is longer than ${cut}.`}
      <span class="muted">${lengths.sampled < lengths.examples ? `Measured on ${count(lengths.sampled)} of ${count(lengths.examples)} training examples, evenly spread.` : `All ${count(lengths.examples)} training examples, ${lengths.backbone}.`}</span></p>
    <details data-key="${key}-table"><summary class="small">As a table</summary><div class="table-scroll plain short" tabindex="0" role="region" aria-label="Tokens of the inputs"><table class="table compact"><thead><tr><th>Tokens</th><th class="num">Inputs</th></tr></thead>
      <tbody>${bars.map((bar) => html`<tr><td>${bar.low === bar.high ? bar.low : `${bar.low} to ${bar.high}`}${bar.low > cut && ", cut"}</td><td class="num">${count(bar.count)}</td></tr>`)}</tbody></table></div></details></div>`;
}
