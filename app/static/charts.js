/* Charts that fit the theme and keep zoom: one node a chart, changed by Plotly.react.
 *
 * draw(element, figure, {key, height})   figure: {data, layout} from the server or made here
 * lines / layout helpers for charts that are made in the browser from cursor reads
 */
import { onTheme, plotly } from "./studio.js";

const CONFIG = { displayModeBar: false, responsive: true };
const shown = new Map();
/* Curves that were switched on or off in our own legend: element to name to visible. */
const switched = new WeakMap();

function ground() {
  const style = getComputedStyle(document.body);
  const value = (name) => style.getPropertyValue(name).trim();
  return {
    text: value("--body-text-color-subdued"),
    strong: value("--body-text-color"),
    line: value("--border-color-primary"),
    surface: value("--background-fill-primary"),
    font: value("--font") || "sans-serif",
  };
}

/* Where there is little room plotly's legend would take the chart's place; ours stands below it. */
const NARROW = 520, LINES = 2, LETTER = 7, BEFORE_NAME = 50;
/* Lengths of ink and gap, in px. */
const DASHES = { dash: [6, 3], dot: [2, 2], dashdot: [6, 2, 2, 2], longdash: [10, 3], longdashdot: [10, 2, 2, 2] };
const SIGNS = { square: "■□", diamond: "◆◇", cross: "✚✛", "triangle-up": "▲△", "triangle-down": "▼▽", star: "★☆", x: "✖✕" };

const named = (figure) => figure.data.filter((trace) => trace.name && trace.showlegend !== false && trace.type !== "heatmap");

function hasOwnLegend(element, figure) {
  const width = element.clientWidth;
  const needed = named(figure).reduce((sum, { name }) => sum + BEFORE_NAME + LETTER * name.length, 0);
  return width < NARROW || (figure.layout.showlegend !== false && needed > LINES * width);
}

/* A line as it is drawn, in a legend. */
function lineSample({ color, width = 2, dash }, opacity = 1) {
  const sample = document.createElement("i");
  sample.className = "line-sample";
  let at = 0;
  const parts = (DASHES[dash] || [1]).map((length, i) => `${i % 2 ? "transparent" : color} ${at}px ${(at += length)}px`);
  Object.assign(sample.style, { height: `${Math.max(1, width)}px`, background: `repeating-linear-gradient(90deg, ${parts.join(", ")})`, opacity });
  return sample;
}

/* A marker's sign; shapes that no common font has are round. */
function markSample(symbol, color) {
  const sample = document.createElement("i"), [shape] = String(symbol).split("-open");
  sample.className = "mark-sample";
  sample.textContent = (SIGNS[shape] || "●○")[Number(String(symbol).endsWith("-open"))];
  sample.style.color = color;
  return sample;
}

const isOn = (element, { name, visible = true }) => switched.get(element)?.get(name) ?? visible === true;

function legend(element, figure, isOwn) {
  let list = element.parentElement.querySelector(".chart-legend");
  if (!isOwn) return list?.remove();
  if (!list) {
    list = document.createElement("p");
    list.className = "chart-legend";
    element.after(list);
  }
  list.replaceChildren(...named(figure).map((trace) => {
    const item = document.createElement("button");
    item.type = "button";
    item.setAttribute("aria-pressed", String(isOn(element, trace)));
    item.addEventListener("click", () => {
      const own = switched.get(element) || new Map();
      switched.set(element, own.set(trace.name, !isOn(element, trace)));
      redraw(element);
    });
    const color = trace.line?.color || trace.marker?.color, mode = trace.mode || "";
    const samples = [
      ...(mode.includes("lines") ? [lineSample({ ...trace.line, color }, trace.opacity)] : []),
      ...(mode.includes("markers") ? [markSample(trace.marker?.symbol, color)] : []),
    ];
    if (!samples.length) {
      samples.push(document.createElement("i"));
      samples[0].className = "swatch";
      samples[0].style.background = trace.marker?.line?.color || color;
    }
    const text = document.createElement("span");
    // Names come escaped for plotly; a parser without scripts turns them back into text.
    text.textContent = new DOMParser().parseFromString(trace.name, "text/html").body.textContent;
    item.append(...samples, text);
    return item;
  }));
}

/* Names below bars on a narrow screen: level where they fit side by side, else upright. */
const SIGN = 6, BESIDE = 60;
function names({ ticktext }, width) {
  const longest = Math.max(...ticktext.flatMap((text) => text.split("<br>")).map((line) => line.length));
  const isLevel = SIGN * longest * ticktext.length <= width - BESIDE;
  return { tickangle: isLevel ? 0 : -90, tickfont: { size: 10 } };
}

/* Give a figure the page's colours; a figure from the server knows no theme. */
function themed(layout, key, width, isOwn) {
  const isNarrow = width < NARROW;
  const { text, line, surface, font } = ground();
  const axis = (own) => ({ ...own, gridcolor: line, linecolor: line, tickcolor: line });
  const isNamed = isNarrow && layout.xaxis?.ticktext && layout.xaxis.type !== "log";
  const axes = Object.fromEntries(
    Object.keys(layout).filter((name) => /^[xy]axis\d*$/.test(name)).map((name) => [name, axis(layout[name])]),
  );
  return {
    ...layout,
    ...axes,
    ...(isNamed && { xaxis: { ...axes.xaxis, ...names(layout.xaxis, width) } }),
    font: { ...layout.font, color: text, family: font },
    hoverlabel: { bgcolor: surface, bordercolor: line, font: { color: text, family: font } },
    autosize: true,
    showlegend: isOwn ? false : layout.showlegend,
    margin: { ...layout.margin, ...(isNarrow && { l: 40, r: 6, b: 36 }) },
    // The same value at every call: zoom, pan and hidden curves stay as the person left them.
    uirevision: key,
  };
}

/* Traces as they are drawn: switched ones, also those that belong to one name. */
const visible = (element, traces) => traces.map((trace) => {
  const name = switched.get(element)?.has(trace.legendgroup) ? trace.legendgroup : trace.name;
  const choice = switched.get(element)?.get(name);
  return choice === undefined ? trace : { ...trace, visible: choice || "legendonly" };
});

/* Marks that lie on shapes of their own colour get an outline that shows in either theme. */
function outlined(traces) {
  const { strong } = ground();
  const outline = (marker) => ({ ...marker, line: { ...marker.line, color: strong } });
  return traces.map((trace) => (trace.meta === "outlined" ? { ...trace, marker: outline(trace.marker) } : trace));
}

async function redraw(element) {
  const { figure, key } = shown.get(element);
  const Plotly = await plotly();
  if (!element.isConnected) return;
  const isOwn = hasOwnLegend(element, figure);
  await Plotly.react(element, outlined(visible(element, figure.data)), themed(figure.layout, key, element.clientWidth, isOwn), CONFIG);
  legend(element, figure, isOwn);
  element.dataset.drawn = String(Number(element.dataset.drawn || 0) + 1);
}

onTheme(() => {
  for (const element of shown.keys()) {
    if (element.isConnected) redraw(element);
    else shown.delete(element);
  }
});

export async function draw(element, figure, key = "chart") {
  for (const old of shown.keys()) if (!old.isConnected) shown.delete(old);
  shown.set(element, { figure, key });
  await redraw(element);
}

/* Layout of a chart made in the browser; the server's charts use the same sizes. */
export function layout(xTitle, yTitle, more = {}) {
  const axis = { zeroline: false, automargin: true };
  return {
    margin: { l: 52, r: 12, t: 8, b: 40 },
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    font: { size: 12 },
    legend: { orientation: "h", y: -0.22, x: 0, yanchor: "top", itemwidth: 40 },
    hovermode: "x unified",
    ...more,
    xaxis: { ...axis, title: { text: xTitle, standoff: 8 }, ...more.xaxis },
    yaxis: { ...axis, title: { text: yTitle, standoff: 8 }, ...more.yaxis },
  };
}

/* Exponential moving average that starts at the first value; gaps stay gaps. */
export function smooth(values, weight) {
  let total = 0, mass = 0;
  return values.map((value) => {
    if (value === null || !Number.isFinite(value)) return null;
    total = weight * total + (1 - weight) * value;
    mass = weight * mass + (1 - weight);
    return total / mass;
  });
}

/* Put new points behind the known ones; a reset starts anew. */
export function merge(known, page) {
  const curves = page.reset ? {} : { ...known };
  for (const [name, { steps, values }] of Object.entries(page.curves)) {
    const old = curves[name] || { steps: [], values: [] };
    curves[name] = { steps: [...old.steps, ...steps], values: [...old.values, ...values] };
  }
  return curves;
}
