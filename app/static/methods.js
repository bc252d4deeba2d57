/* The colour of a method's label, the same on every page as in charts (see methods.css and
 * core/plots/_style.py, which it follows).
 */
import { html } from "./studio.js";

/* The part of a label that fixes its colour: without remarks in brackets. */
const slugOf = (label) => label.replace(/\s*[(\[].*$/, "").replaceAll(/[_ ]/g, "-");

export function methodColor(label) {
  const style = getComputedStyle(document.body);
  let sum = 0;
  for (const sign of label) sum = (sum * 31 + sign.codePointAt(0)) >>> 0;
  return (style.getPropertyValue(`--method-${slugOf(label)}`) || style.getPropertyValue(`--other-${sum % 6}`)).trim();
}

export const swatch = (label) => html`<i class="swatch" style="background:${methodColor(label)}"></i>`;
