// The colours that the switch on the Hub's pages chose; without a choice, the system's.
const chosen = localStorage.getItem("jupyterhub-bs-theme");
if (chosen === "dark" || chosen === "light") document.documentElement.dataset.theme = chosen;

// One form, one sending: a second press while the answer is on its way does nothing.
document.addEventListener("submit", (event) => {
  if (event.target.dataset.sent) event.preventDefault();
  event.target.dataset.sent = "yes";
});
window.addEventListener("pageshow", () => {
  for (const form of document.forms) delete form.dataset.sent;
});

// The numbers beside a text follow it. Tab leaves the field, as everywhere: indenting is left to the space bar.
const gutter = document.getElementById("gutter");
gutter?.nextElementSibling.addEventListener("input", (event) => {
  const lines = event.target.value.split("\n").length + 4;
  if (lines === event.target.rows) return;
  event.target.rows = lines;
  gutter.textContent = Array.from({ length: lines }, (_, line) => `${line + 1}\n`).join("");
});

// A page that shows how things stand looks again by itself, while somebody can see it and is not at its controls. It
// stops when nobody has touched it for half an hour, since each look is a line in the audit.
const again = Number(document.querySelector("[data-refresh]")?.dataset.refresh);
if (again) {
  let touched = Number(sessionStorage.getItem("rpacs-touched")) || Date.now();
  const touch = () => sessionStorage.setItem("rpacs-touched", (touched = Date.now()));
  if (!sessionStorage.getItem("rpacs-touched")) touch();
  for (const kind of ["pointermove", "keydown", "wheel"]) addEventListener(kind, touch, { passive: true });
  addEventListener("click", (event) => event.target.closest("header nav a") && touch());
  const busy = () => {
    const at = document.activeElement;
    return document.hidden || (at && at !== document.body) || !getSelection().isCollapsed;
  };
  setInterval(() => {
    if (!busy() && Date.now() - touched < 30 * 60_000) location.replace(location.href);
  }, again * 1000);
}
