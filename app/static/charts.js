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

/* On a narrow screen plotly's legend would take the chart's place; ours stands below it. */
const NARROW = 520;
const DASHES = { solid: "solid", dot: "dotted" };

const isOn = (element, { name, visible = true }) => switched.get(element)?.get(name) ?? visible === true;

function legend(element, figure, isNarrow) {
  let list = element.parentElement.querySelector(".chart-legend");
  if (!isNarrow) return list?.remove();
  if (!list) {
    list = document.createElement("p");
    list.className = "chart-legend";
    element.after(list);
  }
  const named = figure.data.filter((trace) => trace.name && trace.showlegend !== false && trace.type !== "heatmap");
  list.replaceChildren(...named.map((trace) => {
    const item = document.createElement("button");
    item.type = "button";
    item.setAttribute("aria-pressed", String(isOn(element, trace)));
    item.addEventListener("click", () => {
      const own = switched.get(element) || new Map();
      switched.set(element, own.set(trace.name, !isOn(element, trace)));
      redraw(element);
    });
    const swatch = document.createElement("i");
    swatch.className = "swatch";
    const { color, width = 2, dash = "solid" } = { color: trace.marker?.color, ...trace.line };
    if ((trace.mode || "").includes("lines")) {
      swatch.className = "line-sample";
      swatch.style.borderTop = `${Math.max(1, width)}px ${DASHES[dash] || "dashed"} ${color}`;
      swatch.style.opacity = trace.opacity ?? 1;
    } else if (String(trace.marker?.symbol).endsWith("-open")) {
      swatch.className = "ring-sample";
      swatch.style.borderColor = color;
    } else swatch.style.background = trace.marker?.line?.color || color;
    const text = document.createElement("span");
    // Names come escaped for plotly; a parser without scripts turns them back into text.
    text.textContent = new DOMParser().parseFromString(trace.name, "text/html").body.textContent;
    item.append(swatch, text);
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
function themed(layout, key, width) {
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
    showlegend: isNarrow ? false : layout.showlegend,
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
  const isNarrow = element.clientWidth < NARROW;
  await Plotly.react(element, outlined(visible(element, figure.data)), themed(figure.layout, key, element.clientWidth), CONFIG);
  legend(element, figure, isNarrow);
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
