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
