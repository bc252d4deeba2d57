/* Slots that a run took beside the right ones, of a task that is made so that these are known. */
import { api, count, html, percent } from "./studio.js";

/* The numbers of a finished run never change, so they are fetched once. */
export async function readPlaces(view, ui) {
  if (ui.places === undefined && view.row.state === "succeeded" && view.histograms.includes("slot")) {
    ui.places = await api(`/api/runs/${view.row.id}/places`);
  }
}

export const placesCard = ({ places }) => places && html`<section class="card" data-key="places">
  <div class="section-head"><h2>Slots by cue <span class="muted">on dev</span></h2></div>
  <p class="muted small">This task is made so that the cue of each example tells the right slot. The run took it for ${percent(places.right)} % of the examples.</p>
  <div class="table-scroll plain"><table class="table compact">
    <thead><tr><th>The cue tells</th>${places.slots.map((name) => html`<th class="num">took ${name}</th>`)}</tr></thead>
    <tbody>${places.places.map((name, i) => html`<tr><th scope="row">${name}</th>
      ${places.counts[i].map((number, j) => html`<td class="num">${i === j ? html`<strong>${count(number)}</strong>` : count(number)}</td>`)}</tr>`)}</tbody></table></div>
</section>`;
