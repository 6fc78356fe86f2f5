// The page shown while a server starts: follows the hub's progress events, then goes where the person wanted to go.
const bar = document.getElementById("rp-progress");
const fill = bar.firstElementChild;
const message = document.getElementById("rp-progress-message");
const log = document.getElementById("rp-progress-log");
const source = new EventSource(bar.dataset.url);

source.addEventListener("message", (event) => {
  const { progress, message: text, ready, failed } = JSON.parse(event.data);
  if (progress !== undefined) {
    bar.setAttribute("aria-valuenow", progress);
    fill.style.width = `${progress}%`;
  }
  if (text) {
    const entry = document.createElement("li");
    entry.textContent = text;
    log.append(entry);
  }
  if (ready) {
    source.close();
    window.location.reload(); // the hub then leads on to the page that was asked for
  }
  if (failed) {
    source.close();
    bar.classList.add("rp-bar-failed");
    message.textContent =
      "Your workspace could not be started. Your files are kept. If it fails again, tell your administrators what stands here.";
    document.getElementById("rp-again").search = window.location.search; // where the person wanted to go
    document.getElementById("rp-progress-details").open = true;
    document.getElementById("rp-progress-actions").hidden = false;
  }
});
