// "Stop" on the home page: ends this person's own server.
const stop = document.getElementById("rp-stop");
const text = document.getElementById("rp-state");

stop?.addEventListener("click", async () => {
  stop.disabled = true;
  text.textContent = "Your workspace is stopping …";
  const { base_url, user, xsrf_token } = window.jhdata;
  const answer = await fetch(`${base_url}api/users/${encodeURIComponent(user)}/server?_xsrf=${encodeURIComponent(xsrf_token)}`, {
    method: "DELETE",
    headers: { Accept: "application/json" },
  }).catch(() => null);
  if (answer?.ok || answer?.status === 404) {
    // 202: still stopping; the page knows as soon as it is loaded again.
    setTimeout(() => window.location.reload(), answer.status === 202 ? 2500 : 0);
    return;
  }
  stop.disabled = false;
  text.textContent = "Your workspace could not be stopped. Please try again.";
});

// The way to Orthanc Explorer, for those to whom the gateway offers it; it signs them in on the way.
const explorer = document.getElementById("rp-explorer-card");
const told = await fetch(explorer.dataset.offered, { headers: { Accept: "application/json" } })
  .then((answer) => (answer.ok ? answer.json() : null))
  .catch(() => null);
explorer.hidden = told?.offered !== true;
