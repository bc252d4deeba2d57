/* How a method is drawn: one colour and dash for a label, the same in every chart and on every page
 * (see methods.css and core/plots/_style.py, which it follows).
 */
import { html } from "./studio.js";

const DASHES = ["solid", "dash", "dot", "dashdot", "longdash", "longdashdot"];

/* The part of a label that fixes its colour: without remarks in brackets. */
const slugOf = (label) => label.replace(/\s*[(\[].*$/, "").replaceAll(/[_ ]/g, "-");

export function methodStyle(label) {
  const style = getComputedStyle(document.body), slug = slugOf(label);
  let sum = 0;
  for (const sign of label) sum = (sum * 31 + sign.codePointAt(0)) >>> 0;
  const color = style.getPropertyValue(`--method-${slug}`) || style.getPropertyValue(`--other-${sum % 6}`);
  const dash = style.getPropertyValue(`--dash-${slug}`).trim() || DASHES[sum % DASHES.length];
  return { color: color.trim(), dash };
}

export const swatch = (label) => html`<i class="swatch" style="background:${methodStyle(label).color}"></i>`;
