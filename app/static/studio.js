/* Live views of DP Studio.
 *
 * Every other *.js file in this folder is an ES module that the page loads by itself. It imports
 * from "./studio.js" and registers views; `app.components.live.live_html("name", key=value)`
 * puts a view on a page:
 *
 *   import { register, api, poll, html, patch } from "./studio.js";
 *   register("my-view", (element, params) => {
 *     const timer = poll(async () => patch(element, html`<p>${(await api("/api/x")).text}</p>`), 2000);
 *     return () => timer.stop();                 // optional; called when the element goes away
 *   });
 *
 * register(name, mount)     mount(element, params) -> nothing or a function that cleans up
 * api(path, {method, body}) JSON in and out; throws ApiError {status, code, message, field, hint, problems}
 * poll(fn, ms)              calls fn now and ms after each end; stops while the tab is hidden; after
 *                           an error waits longer (to 30 s) and shows the "not connected" bar.
 *                           Returns {now(), stop()}. fn may return a number: the next delay in ms.
 * html`...${value}...`      escapes every value; arrays are joined; raw(text) and nested html`` pass
 * h(value)                  escapes one value
 * patch(element, content)   changes only what differs: focus, scroll, open <details> survive;
 *                           rows that move carry data-key
 * theme() / onTheme(fn)     "light" | "dark"; fn(theme) at each change, returns a function to stop
 * query() / setQuery(obj)   URLSearchParams of the page; replace entries without a reload ("" removes)
 * number(x, digits) percent(share, digits) meanStd({mean, std, n}) duration(s) ago(iso) count(n)
 * signed(share)             a difference of shares in points with its sign, which 0 has none
 * stateChip(state)          the label of a run's state
 * plotly()                  promise of window.Plotly, loaded once from this server
 * toast(text, tone)         a short message in the corner; tone "good" | "bad" | "info"
 * copyText(text)            to the clipboard, with a toast
 */

const views = new Map();
const mounted = new Map();

export class ApiError extends Error {
  constructor(status, body) {
    super(body.message || `The server answered ${status}.`);
    Object.assign(this, { status, code: body.code || "error", field: body.field || "" });
    this.hint = body.hint || "";
    this.problems = body.problems || [];
  }
}

/* ---- text ---- */

class Raw {
  constructor(text) { this.text = text; }
  toString() { return this.text; }
}

const ENTITIES = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" };

export const h = (value) => String(value ?? "").replace(/[&<>"']/g, (sign) => ENTITIES[sign]);
export const raw = (text) => new Raw(String(text));

const piece = (value) => {
  if (value instanceof Raw) return value.text;
  if (Array.isArray(value)) return value.map(piece).join("");
  return value === false || value === null || value === undefined ? "" : h(value);
};

export function html(strings, ...values) {
  return new Raw(strings.reduce((text, part, i) => text + piece(values[i - 1]) + part));
}

/* ---- numbers ---- */

export const number = (x, digits = 2) =>
  typeof x === "number" && Number.isFinite(x) ? x.toFixed(digits) : "–";
export const percent = (share, digits = 1) =>
  typeof share === "number" && Number.isFinite(share) ? (100 * share).toFixed(digits) : "–";
export const signed = (share) => {
  if (typeof share !== "number") return "–";
  const text = Math.abs(100 * share).toFixed(1);
  return text === "0.0" ? text : (share > 0 ? "+" : "−") + text;
};
export const meanStd = ({ mean, std, n }, digits = 1) =>
  typeof mean !== "number" ? "–" : percent(mean, digits) + (n > 1 ? ` ± ${percent(std, digits)}` : "");

export function count(n) {
  if (typeof n !== "number" || !Number.isFinite(n)) return "–";
  const [size, unit] = n >= 1e9 ? [1e9, " B"] : n >= 1e6 ? [1e6, " M"] : [1, ""];
  return size === 1 ? n.toLocaleString("en") : (n / size).toFixed(n / size < 100 ? 1 : 0) + unit;
}

export function duration(seconds) {
  if (typeof seconds !== "number" || !Number.isFinite(seconds)) return "–";
  const s = Math.max(0, Math.round(seconds));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${String(s % 60).padStart(2, "0")} s`;
  return `${Math.floor(s / 3600)} h ${String(Math.floor((s % 3600) / 60)).padStart(2, "0")} min`;
}

export function ago(iso) {
  if (!iso) return "never";
  const s = (Date.now() - new Date(iso).getTime()) / 1000;
  if (s < 5) return "just now";
  if (s < 90) return `${Math.round(s)} s ago`;
  if (s < 5400) return `${Math.round(s / 60)} min ago`;
  return s < 129600 ? `${Math.round(s / 3600)} h ago` : `${Math.round(s / 86400)} days ago`;
}

const STATES = {
  queued: "Queued", starting: "Starting", running: "Running", stopping: "Stopping",
  succeeded: "Succeeded", failed: "Failed", cancelled: "Cancelled",
};
export const stateChip = (state) =>
  html`<span class="chip state-${state}">${STATES[state] || state}</span>`;

/* ---- server ---- */

export async function api(path, { method = "GET", body } = {}) {
  const options = { method, headers: { Accept: "application/json" } };
  if (body !== undefined) {
    options.body = JSON.stringify(body);
    options.headers["Content-Type"] = "application/json";
  }
  const answer = await fetch(path, options);
  const text = await answer.text();
  let content = {};
  try {
    content = text ? JSON.parse(text) : {};
  } catch (error) {
    if (answer.ok) throw error;
  }
  if (!answer.ok) throw new ApiError(answer.status, content);
  return content;
}

let lost = new Set();
function connection(key, ok) {
  if (ok) lost.delete(key);
  else lost.add(key);
  let bar = document.getElementById("studio-lost");
  if (!lost.size) return bar?.remove();
  if (!bar) {
    bar = document.createElement("div");
    bar.id = "studio-lost";
    bar.setAttribute("role", "status");
    bar.textContent = "No answer from the studio; trying again. Runs in training go on.";
    document.body.append(bar);
  }
}

export function poll(fn, ms) {
  const key = {};
  let timer = 0, failures = 0, stopped = false, busy = false, again = false;
  const plan = (delay) => {
    clearTimeout(timer);
    if (!stopped && !document.hidden) timer = setTimeout(tick, delay);
  };
  async function tick() {
    if (stopped) return;
    if (busy) { again = true; return; }
    busy = true;
    let delay = ms;
    try {
      const wanted = await fn();
      if (typeof wanted === "number") delay = wanted;
      failures = 0;
      connection(key, true);
    } catch (error) {
      failures += 1;
      delay = Math.min(30000, ms * 2 ** failures);
      if (!(error instanceof ApiError)) connection(key, false);
    }
    busy = false;
    plan(again ? 0 : delay);
    again = false;
  }
  const woken = () => (document.hidden ? clearTimeout(timer) : tick());
  document.addEventListener("visibilitychange", woken);
  tick();
  return {
    now: tick,
    stop() {
      stopped = true;
      clearTimeout(timer);
      connection(key, true);
      document.removeEventListener("visibilitychange", woken);
    },
  };
}

/* ---- page ---- */

export const query = () => new URLSearchParams(location.search);
export function setQuery(changes) {
  const search = query();
  for (const [name, value] of Object.entries(changes)) {
    if (value === "" || value === null || value === undefined) search.delete(name);
    else search.set(name, value);
  }
  const text = search.toString();
  history.replaceState(history.state, "", location.pathname + (text ? `?${text}` : ""));
}

const isDark = () =>
  document.body.classList.contains("dark") || document.documentElement.classList.contains("dark");
export const theme = () => (isDark() ? "dark" : "light");
const themeListeners = new Set();
export function onTheme(fn) {
  themeListeners.add(fn);
  return () => themeListeners.delete(fn);
}

let plotlyPromise = null;
export function plotly() {
  plotlyPromise ??= new Promise((resolve, reject) => {
    if (window.Plotly) return resolve(window.Plotly);
    const script = document.createElement("script");
    script.src = "/vendor/plotly.min.js";
    script.onload = () => resolve(window.Plotly);
    script.onerror = () => { plotlyPromise = null; reject(new Error("The chart library did not load.")); };
    document.head.append(script);
  });
  return plotlyPromise;
}

export function toast(text, tone = "info") {
  let corner = document.getElementById("studio-toasts");
  if (!corner) {
    corner = document.createElement("div");
    corner.id = "studio-toasts";
    corner.setAttribute("role", "status");
    corner.setAttribute("aria-live", "polite");
    document.body.append(corner);
  }
  const note = document.createElement("div");
  note.className = `toast toast-${tone}`;
  note.textContent = text;
  corner.append(note);
  setTimeout(() => note.remove(), tone === "bad" ? 9000 : 4000);
}

export async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = document.createElement("textarea");
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  toast("Copied", "good");
}

/* ---- changing only what differs ---- */

const keyOf = (node) => (node.nodeType === 1 ? node.dataset.key || node.id || "" : "");

function patchAttributes(old, fresh) {
  for (const { name } of [...old.attributes]) {
    const kept = name === "open" && old.tagName === "DETAILS";
    if (!fresh.hasAttribute(name) && !kept) old.removeAttribute(name);
  }
  for (const { name, value } of fresh.attributes) {
    if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
}

function patchChildren(old, fresh) {
  const keyed = new Map();
  for (const child of old.children) if (keyOf(child)) keyed.set(keyOf(child), child);
  let place = old.firstChild;
  for (const wanted of [...fresh.childNodes]) {
    const key = keyOf(wanted);
    let found = key ? keyed.get(key) : place;
    if (found && !key && keyOf(found)) found = null;
    if (found && found.nodeType === wanted.nodeType && found.nodeName === wanted.nodeName) {
      if (found === place) place = place.nextSibling;
      else old.insertBefore(found, place);
      patchNode(found, wanted);
    } else {
      old.insertBefore(wanted, place);
    }
  }
  while (place) {
    const next = place.nextSibling;
    place.remove();
    place = next;
  }
}

function patchNode(old, fresh) {
  if (old.nodeType === 3) {
    if (old.data !== fresh.data) old.data = fresh.data;
    return;
  }
  if (old.nodeType !== 1 || old.hasAttribute("data-keep")) return;
  patchAttributes(old, fresh);
  if (old.matches("input, select, textarea") && old === document.activeElement) return;
  patchChildren(old, fresh);
}

export function patch(element, content) {
  const text = String(content);
  if (element.studioContent === text) return;
  element.studioContent = text;
  const template = document.createElement("template");
  template.innerHTML = text;
  patchChildren(element, template.content);
}

/* ---- mounting ---- */

function mount(element) {
  const start = views.get(element.dataset.studioView);
  if (!start || mounted.has(element)) return;
  mounted.set(element, () => {});
  try {
    const end = start(element, JSON.parse(element.dataset.studioParams || "{}"));
    if (typeof end === "function") mounted.set(element, end);
  } catch (error) {
    patch(element, html`<div class="notice notice-bad" role="alert">This part of the page could
      not be drawn: ${error.message}</div>`);
    throw error;
  }
}

/* Gradio gives all pages one title; a view that knows a better one sets it itself. */
const TITLE = "DP Studio";
function nameTab() {
  const page = document.querySelector(".topbar ul [aria-current]");
  if (page && page.getAttribute("href") !== "/" && document.title === TITLE) document.title = `${page.textContent} – ${TITLE}`;
}

function scan() {
  nameTab();
  for (const [element, end] of mounted) {
    if (!element.isConnected) {
      mounted.delete(element);
      end();
    }
  }
  document.querySelectorAll("[data-studio-view]").forEach(mount);
}

export function register(name, start) {
  views.set(name, start);
  scan();
}

let scheduled = false;
new MutationObserver(() => {
  if (scheduled) return;
  scheduled = true;
  setTimeout(() => { scheduled = false; scan(); }, 30);
}).observe(document.documentElement, { childList: true, subtree: true });

let shownTheme = theme();
function themeChanged() {
  if (theme() === shownTheme) return;
  shownTheme = theme();
  themeListeners.forEach((fn) => fn(shownTheme));
}
const themeObserver = new MutationObserver(themeChanged);
for (const node of [document.documentElement, document.body]) {
  themeObserver.observe(node, { attributes: true, attributeFilter: ["class"] });
}

function switchTheme() {
  const dark = theme() === "light";
  document.body.classList.toggle("dark", dark);
  localStorage.setItem("studio-theme", dark ? "dark" : "light");
  themeChanged();
}

function rememberedTheme() {
  const wanted = query().get("__theme") || localStorage.getItem("studio-theme");
  if (wanted === "dark" || wanted === "light") document.body.classList.toggle("dark", wanted === "dark");
}
rememberedTheme();

document.addEventListener("click", (event) => {
  if (event.target.closest?.("[data-studio-theme]")) return switchTheme();
  const button = event.target.closest?.("[data-studio-copy]");
  if (button) copyText(button.dataset.studioCopy || button.parentElement.querySelector("pre").textContent);
});

window.studio = {
  register, api, poll, html, h, raw, patch, theme, onTheme, query, setQuery, number, percent,
  meanStd, duration, ago, count, stateChip, plotly, toast, copyText, ApiError,
};
