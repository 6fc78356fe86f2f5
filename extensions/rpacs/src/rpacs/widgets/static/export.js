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
  const destination = h("input", { type: "text", placeholder: "s3://my-bucket/my-study", required: true, pattern: "s3://[^/\\s]+(/.*)?", spellcheck: "false", autocapitalize: "off", title: "s3://bucket/prefix", "data-testid": "rpacs-destination" });
  const format = h("select", { "data-testid": "rpacs-format" }, h("option", { value: "dicom" }, "DICOM files"), h("option", { value: "png" }, "PNG pictures"));
  const access = secret("Access key", "rpacs-access-key", true);
  const key = secret("Secret key", "rpacs-secret-key", true);
  const token = secret("Session token (temporary keys only)", "rpacs-session-token", false);
  const endpoint = h("input", { type: "text", placeholder: "https://s3.example.org", spellcheck: "false", "data-testid": "rpacs-endpoint" });
  const region = h("input", { type: "text", placeholder: "eu-central-1", spellcheck: "false", "data-testid": "rpacs-region" });
  const go = h("button", { class: "rp-button rp-primary", "data-testid": "rpacs-export" }, icon("export"), "Start export");
  const said = h("span", { class: "rp-said", role: "status", "data-testid": "rpacs-export-said" });
  const wrong = h("div", {});
  const form = h(
    "form", { onsubmit: submit, autocomplete: "off", "aria-label": "New export" },
    h("fieldset", {}, h("legend", {}, "What"), h("label", {}, picked, pickedText), h("label", {}, all, allText)),
    h("label", { class: "rp-field" }, "Destination", destination),
    h("div", { class: "rp-pair" }, h("label", { class: "rp-field" }, "Format", format)),
    h("div", { class: "rp-pair" }, access, key),
    h("details", {}, h("summary", {}, "Temporary keys, other S3 servers"), h("div", { class: "rp-pair" }, token, h("label", { class: "rp-field" }, "Server address", endpoint), h("label", { class: "rp-field" }, "Region", region))),
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
    allText.textContent = total < 0 ? "All results of the search" : `All ${plural(total, level)} of the search`;
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
        endpoint_url: endpoint.value.trim(), region: region.value.trim(),
      });
      said.textContent = "Started. It goes on if you close this page.";
      await look();
    } catch (error) {
      said.textContent = "";
      wrong.replaceChildren(problem(error));
    }
    go.disabled = false;
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

  const open = new Map(); // id -> the form in which keys for going on are typed
  function draw() {
    if (!jobs.length) return list.replaceChildren(empty("export", "No exports yet", "Exports that you start, here or in a notebook, are listed with their progress."));
    const held = document.activeElement;
    let items = list.querySelector(".rp-jobs");
    if (!items) {
      items = h("ul", { class: "rp-jobs" });
      list.replaceChildren(items);
    }
    const old = new Map([...items.children].map((item) => [item.dataset.id, item]));
    const now = jobs.map((job) => {
      const known = old.get(job.id);
      if (known && known.dataset.seen === JSON.stringify(job)) return known;
      const item = line(job);
      item.dataset.seen = JSON.stringify(job);
      return item;
    });
    items.replaceChildren(...now);
    if (held && list.contains(held)) held.focus();
  }
  function line(job) {
    const share = job.total ? Math.min(100, (100 * job.done) / job.total) : 0;
    const what = job.query ? `search: ${job.query}` : job.query === "" && job.level ? "picked rows" : "";
    const act = async (name, args, button) => {
      button.disabled = true;
      try {
        await link.ask(name, { id: job.id, ...args });
      } catch (error) {
        button.closest("li").append(problem(error));
        return;
      }
      open.delete(job.id);
      look();
    };
    const resumable = ["interrupted", "failed", "cancelled"].includes(job.state);
    if (!resumable) open.delete(job.id);
    return h(
      "li", { "data-testid": "rpacs-export-job", "data-id": job.id, "data-state": job.state },
      h(
        "div", { class: "rp-job-line" },
        h("span", { class: "rp-badge", "data-state": job.state }, STATES[job.state] || job.state),
        h("code", {}, job.destination), h("span", { class: "rp-muted" }, job.format === "png" ? "PNG" : "DICOM"),
        h("span", { class: "rp-push rp-muted" }, when(job.created)),
        active(job) ? h("button", { type: "button", class: "rp-button rp-small", "data-testid": "rpacs-export-cancel", onclick: (e) => act("cancel", {}, e.currentTarget) }, "Cancel") : null,
        resumable && !open.has(job.id) ? h("button", { type: "button", class: "rp-button rp-small", "data-testid": "rpacs-export-resume", onclick: () => { open.set(job.id, resumeForm(job, act)); for (const j of list.querySelectorAll(`li[data-id="${CSS.escape(job.id)}"]`)) j.dataset.seen = ""; draw(); } }, "Continue…") : null,
      ),
      h(
        "div", { class: "rp-meter", "data-state": job.state, role: "progressbar", "aria-label": `Export to ${job.destination}`, "aria-valuemin": "0", "aria-valuemax": String(job.total), "aria-valuenow": String(job.done), "aria-valuetext": `${job.done} of ${job.total} images` },
        h("i", { style: `width:${share}%` }),
      ),
      h("div", { class: "rp-job-line rp-muted" }, h("span", {}, `${number(job.done)} of ${number(job.total)} images`), job.bytes ? h("span", {}, bytes(job.bytes)) : null, job.failed ? h("span", {}, `${number(job.failed)} failed`) : null, what ? h("span", { title: what }, what.length > 60 ? `${what.slice(0, 60)}…` : what) : null),
      job.message ? h("div", { class: "rp-why" }, job.message) : null,
      job.hint ? h("div", { class: "rp-hint" }, job.hint) : null,
      open.get(job.id) ?? null,
    );
  }
  function resumeForm(job, act) {
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
  return () => {
    closed = true;
    clearTimeout(timer);
    for (const name of ["selected", "total", "level", "query"]) model.off(`change:${name}`, scope);
    link.close();
  };
}

export default { render };
