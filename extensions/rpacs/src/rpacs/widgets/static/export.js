const POLL = 1000; // ms between looks while an export runs
const QUIET_POLL = 15000; // and otherwise, for exports started elsewhere
const STATES = { queued: "Waiting", running: "Running", done: "Done", failed: "Failed", cancelled: "Cancelled", interrupted: "Interrupted" };
const active = (job) => job.state === "queued" || job.state === "running";

function bytes(n) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let i = 0;
  let value = n;
  while (value >= 1000 && i < units.length - 1) { value /= 1000; i++; }
  return `${value.toFixed(i && value < 10 ? 1 : 0)} ${units[i]}`;
}
function when(text) {
  const date = new Date(text);
  if (!text || Number.isNaN(date.getTime())) return "";
  const today = date.toDateString() === new Date().toDateString();
  const clock = date.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
  return today ? `today ${clock}` : `${date.toLocaleDateString()} ${clock}`;
}

function render({ model, el }) {
  const link = connect(model);
  const ids = Math.random().toString(36).slice(2);
  let jobs = null;
  let closed = false;
  let timer = null;

  const secret = (label, testid, required) => h(
    "label", { class: "rp-field" }, label,
    h("input", { type: "password", autocomplete: "new-password", spellcheck: "false", "data-testid": testid, required, "data-lpignore": "true" }),
  );
  const picked = h("input", { type: "radio", name: `scope-${ids}`, value: "selection", "data-testid": "rpacs-scope-selection" });
  const all = h("input", { type: "radio", name: `scope-${ids}`, value: "query", "data-testid": "rpacs-scope-all" });
  const pickedText = h("span", {});
  const allText = h("span", {});
  const destination = h("input", { type: "text", placeholder: "s3://my-bucket/my-study", required: true, pattern: "s3:\\/\\/[^\\/\\s]+(\\/.*)?", spellcheck: "false", autocapitalize: "off", title: "s3://bucket/prefix", "data-testid": "rpacs-destination" });
  const format = h("select", { "data-testid": "rpacs-format" }, h("option", { value: "dicom" }, "DICOM files"), h("option", { value: "png" }, "PNG pictures"));
  const access = secret("Access key", "rpacs-access-key", true);
  const key = secret("Secret key", "rpacs-secret-key", true);
  const token = secret("Session token (temporary keys only)", "rpacs-session-token", false);
  const endpoint = h("select", { "data-testid": "rpacs-endpoint" }, h("option", { value: "" }, "Amazon S3"));
  const server = h("label", { class: "rp-field", hidden: true }, "Server", endpoint);
  const region = h("input", { type: "text", placeholder: "eu-central-1", spellcheck: "false", "data-testid": "rpacs-region" });
  const go = h("button", { class: "rp-button rp-primary", "data-testid": "rpacs-export" }, icon("export"), "Start export");
  const said = h("span", { class: "rp-said", role: "status", "data-testid": "rpacs-export-said" });
  const wrong = h("div", {});
  const form = h(
    "form", { onsubmit: submit, autocomplete: "off", "aria-label": "New export" },
    h("fieldset", {}, h("legend", {}, "What"), h("label", {}, picked, pickedText), h("label", {}, all, allText)),
    h("label", { class: "rp-field" }, "Destination", destination),
    h("div", { class: "rp-pair" }, h("label", { class: "rp-field" }, "Format", format), server),
    h("div", { class: "rp-pair" }, access, key),
    h("details", {}, h("summary", {}, "Temporary keys, region"), h("div", { class: "rp-pair" }, token, h("label", { class: "rp-field" }, "Region", region))),
    h("small", { class: "rp-muted" }, "The keys are used for this export only. They are never stored, and the fields are emptied when you start."),
    wrong,
    h("div", { class: "rp-submit" }, go, said),
  );
  form.addEventListener("keydown", (event) => event.stopPropagation());
  const list = h("div", { "data-testid": "rpacs-exports" });
  const refresh = h("button", { type: "button", class: "rp-button rp-small", "data-testid": "rpacs-exports-refresh", onclick: () => look() }, icon("refresh"), "Refresh");
  el.append(h(
    "div", { class: "rp rp-card rp-export-box" },
    h(
      "section", { class: "rp-export", "aria-label": "Export" },
      h("div", {}, h("header", {}, h("h2", {}, "Export to S3")), form),
      h("div", {}, h("header", {}, h("h2", {}, "My exports"), refresh), list),
    ),
  ));

  function scope() {
    const level = model.get("level");
    const n = model.get("selected").length;
    const total = model.get("total");
    pickedText.textContent = n ? `${plural(n, level)} selected in the results` : "Selected rows (tick some in the results)";
    allText.textContent = total < 0 ? "All results of the search" : total === 0 ? "All results of the search (there are none)" : `All ${plural(total, level)} of the search`;
    picked.disabled = !n;
    all.disabled = total === 0;
    if (n && !picked.dataset.was) picked.checked = true;
    if (!n && picked.checked) picked.checked = false;
    if (!picked.checked && !all.checked && !all.disabled) all.checked = true;
    picked.dataset.was = n ? "yes" : "";
    go.disabled = picked.disabled && all.disabled;
  }

  const field = (label) => label.querySelector("input");
  async function submit(event) {
    event.preventDefault();
    const credentials = { access_key: field(access).value, secret_key: field(key).value, session_token: field(token).value };
    for (const label of [access, key, token]) field(label).value = "";
    wrong.replaceChildren();
    said.textContent = "Starting…";
    go.disabled = true;
    try {
      await link.ask("start", {
        scope: picked.checked ? "selection" : "query", destination: destination.value.trim(), format: format.value, credentials,
        endpoint_url: endpoint.value, region: region.value.trim(),
      });
      said.textContent = "Started. It goes on if you close this page.";
      await look();
    } catch (error) {
      said.textContent = "";
      wrong.replaceChildren(problem(error));
    }
    go.disabled = false;
  }

  /** Offer the servers that the gateway allows; where there is none but Amazon's, there is nothing to choose. */
  async function offerServers() {
    try {
      const [urls] = await link.ask("servers");
      endpoint.append(...urls.map((url) => h("option", { value: url }, url.replace(/^https?:\/\//, ""))));
      server.hidden = !urls.length;
    } catch {
      setTimeout(() => closed || offerServers(), QUIET_POLL);
    }
  }

  async function look() {
    clearTimeout(timer);
    try {
      const [value] = await link.ask("list");
      if (closed) return;
      jobs = value;
      draw();
    } catch (error) {
      if (closed) return;
      if (!jobs) list.replaceChildren(problem(error, look));
    }
    clearTimeout(timer);
    timer = setTimeout(() => (document.hidden ? wait() : look()), jobs?.some(active) ? POLL : QUIET_POLL);
  }
  function wait() { timer = setTimeout(() => (document.hidden ? wait() : look()), POLL); }

  const lines = new Map(); // id -> {item, update}; kept, so that a click or a typed key survives the next look
  function draw() {
    if (!jobs.length) return list.replaceChildren(empty("export", "No exports yet", "Exports that you start, here or in a notebook, are listed with their progress."));
    let items = list.querySelector(".rp-jobs");
    if (!items) {
      items = h("ul", { class: "rp-jobs" });
      list.replaceChildren(items);
    }
    jobs.forEach((job, place) => {
      if (!lines.has(job.id)) lines.set(job.id, line(job));
      const { item, update } = lines.get(job.id);
      update(job);
      if (items.children[place] !== item) items.insertBefore(item, items.children[place] ?? null);
    });
    while (items.children.length > jobs.length) items.lastChild.remove();
  }

  function line(first) {
    const badge = h("span", { class: "rp-badge" });
    const actions = h("span", {});
    const bar = h("i", {});
    const meter = h("div", { class: "rp-meter", role: "progressbar", "aria-label": `Export to ${first.destination}`, "aria-valuemin": "0" }, bar);
    const figures = h("div", { class: "rp-job-line rp-muted" });
    const why = h("div", { class: "rp-why" });
    const hint = h("div", { class: "rp-hint" });
    const extra = h("div", {}); // the form for going on, or what went wrong with a button
    const item = h(
      "li", { "data-testid": "rpacs-export-job", "data-id": first.id },
      h(
        "div", { class: "rp-job-line" }, badge, h("code", {}, first.destination), h("span", { class: "rp-muted" }, first.format === "png" ? "PNG" : "DICOM"),
        h("span", { class: "rp-push rp-muted" }, when(first.created)), actions,
      ),
      meter, figures, why, hint, extra,
    );
    const act = async (name, args, button) => {
      button.disabled = true;
      extra.replaceChildren();
      try {
        await link.ask(name, { id: first.id, ...args });
      } catch (error) {
        extra.replaceChildren(problem(error));
      }
      button.disabled = false;
      look();
    };
    let state = null;
    function update(job) {
      item.toggleAttribute("data-failed", job.failed > 0);
      item.dataset.state = badge.dataset.state = meter.dataset.state = job.state;
      badge.textContent = STATES[job.state] || job.state;
      bar.style.width = `${job.total ? Math.min(100, (100 * job.done) / job.total) : 0}%`;
      meter.setAttribute("aria-valuemax", String(job.total));
      meter.setAttribute("aria-valuenow", String(job.done));
      meter.setAttribute("aria-valuetext", `${job.done} of ${job.total} images`);
      const what = job.query ? `search: ${job.query}` : job.query === "" ? "" : "picked rows";
      const parts = [`${number(job.done)} of ${number(job.total)} images`, job.bytes && bytes(job.bytes), job.failed && `${number(job.failed)} failed`, what.length > 70 ? `${what.slice(0, 70)}…` : what];
      figures.replaceChildren(...parts.filter(Boolean).map((text) => h("span", {}, text)));
      why.textContent = job.message || "";
      hint.textContent = job.hint || "";
      if (`${job.state} ${job.resumable}` === state) return;
      state = `${job.state} ${job.resumable}`;
      extra.replaceChildren();
      const button = (label, testid, onclick) => h("button", { type: "button", class: "rp-button rp-small", "data-testid": testid, onclick }, label);
      if (active(job)) actions.replaceChildren(button("Cancel", "rpacs-export-cancel", (e) => act("cancel", {}, e.currentTarget)));
      else if (job.resumable) {
        actions.replaceChildren(button("Continue…", "rpacs-export-resume", () => {
          extra.replaceChildren(extra.childElementCount ? "" : resumeForm(act));
          extra.querySelector("input")?.focus();
        }));
      } else actions.replaceChildren();
    }
    return { item, update };
  }
  function resumeForm(act) {
    const a = secret("Access key", "rpacs-resume-access-key", true);
    const s = secret("Secret key", "rpacs-resume-secret-key", true);
    const t = secret("Session token", "rpacs-resume-session-token", false);
    return h(
      "form", {
        class: "rp-resume", "aria-label": "Keys to continue this export", onkeydown: (e) => e.stopPropagation(),
        onsubmit: (e) => {
          e.preventDefault();
          const credentials = { access_key: field(a).value, secret_key: field(s).value, session_token: field(t).value };
          for (const label of [a, s, t]) field(label).value = "";
          act("resume", { credentials }, e.submitter || e.target);
        },
      }, a, s, t, h("button", { class: "rp-button rp-primary" }, "Continue"),
    );
  }

  for (const name of ["selected", "total", "level", "query"]) model.on(`change:${name}`, scope);
  scope();
  list.replaceChildren(h("div", { class: "rp-empty" }, h("span", { class: "rp-spin", role: "status", "aria-label": "Loading exports" })));
  look();
  offerServers();
  return () => {
    closed = true;
    clearTimeout(timer);
    for (const name of ["selected", "total", "level", "query"]) model.off(`change:${name}`, scope);
    link.close();
  };
}

export default { render };
