/* New experiment: repeats each problem at its control, so that it stands where it is mended, and
   draws the card again when the page is seen again. */

const MARK = "studio-field-error";

function clear() {
  document.querySelectorAll(`.${MARK}`).forEach((note) => note.remove());
  document.querySelectorAll("[data-has-error]").forEach((field) => {
    field.removeAttribute("data-has-error");
    field.querySelectorAll("[aria-invalid]").forEach((input) => input.removeAttribute("aria-invalid"));
  });
}

function place(problem) {
  const field = problem.dataset.fieldError && document.getElementById(problem.dataset.fieldError);
  if (!field) return;
  const note = document.createElement("p");
  note.className = MARK;
  const copy = problem.cloneNode(true);
  copy.querySelector("code")?.remove();
  note.textContent = copy.textContent.trim();
  field.append(note);
  field.setAttribute("data-has-error", "");
  field.querySelectorAll("input, textarea").forEach((input) => input.setAttribute("aria-invalid", "true"));
  field.closest("details, .accordion")?.setAttribute("data-has-error", "");
}

let shown = "";
function update() {
  const problems = [...document.querySelectorAll("[data-field-error]")];
  const text = problems.map((problem) => problem.dataset.fieldError + problem.textContent).join("\n");
  const missing = problems.length && !document.querySelector(`.${MARK}`)
    && problems.some((problem) => document.getElementById(problem.dataset.fieldError || "-"));
  if (text === shown && !missing) return;
  shown = text;
  clear();
  problems.forEach(place);
}

document.addEventListener("click", (event) => {
  if (event.target.closest("[data-start-over]")) document.getElementById("reset-button")?.click();
});

/* Times on the card rest on finished runs, of which there may be more by now. */
function seenAgain() {
  document.getElementById("seen-again")?.click();
}
document.addEventListener("visibilitychange", () => { if (!document.hidden) seenAgain(); });
window.addEventListener("pageshow", (event) => { if (event.persisted) seenAgain(); });

let waiting = false;
new MutationObserver(() => {
  if (waiting) return;
  waiting = true;
  setTimeout(() => { waiting = false; update(); }, 60);
}).observe(document.body, { childList: true, subtree: true, characterData: true });
