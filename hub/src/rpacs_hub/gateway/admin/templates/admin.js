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
