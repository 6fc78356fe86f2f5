const NUMERIC = /^(NumberOf|(Series|Instance|Acquisition)Number$|Rows$|Columns$)|Thickness$|^KVP$/;
const GHOSTS = 8;

function shown(name, value) {
  if (value === null || value === undefined || value === "") return null;
  if (Array.isArray(value)) return value.map((v) => shown(name, v) ?? "").join(", ");
  const text = String(value);
  if (/Date$/.test(name) && /^\d{8}$/.test(text)) return `${text.slice(0, 4)}-${text.slice(4, 6)}-${text.slice(6)}`;
  if (/Name$/.test(name)) return text.replace(/\^+$/, "").split("^").filter(Boolean).join(" ");
  if (/^NumberOf.*Related/.test(name)) return number(text);
  return text;
}

function render({ model, el }) {
  const link = connect(model);
  let cursors = [null]; // cursors[i] fetches page i
  let page = 0;
  let next = null;
  let asked = 0;
  let rows = [];
  let columns = [];

  const heading = h("h2", { "data-testid": "rpacs-total", "aria-live": "polite" }, "Results");
  const picked = h("span", { class: "rp-muted", "data-testid": "rpacs-selected" });
  const forget = h("button", { type: "button", class: "rp-link", hidden: true, onclick: () => select([]) }, "Clear");
  const body = h("div", { class: "rp-grid-body" });
  const range = h("span", { class: "rp-muted", "data-testid": "rpacs-range" });
  const turn = (name, label, testid, to) => h("button", { type: "button", class: "rp-button rp-iconic", "aria-label": label, title: label, "data-testid": testid, onclick: to }, icon(name));
  const first = turn("first", "First page", "rpacs-first", () => go(0));
  const back = turn("left", "Previous page", "rpacs-previous", () => go(page - 1));
  const forth = turn("right", "Next page", "rpacs-next", () => go(page + 1));
  const sizes = h(
    "select", { "aria-label": "Rows a page", "data-testid": "rpacs-size", onchange: (e) => { model.set("size", Number(e.target.value)); model.save_changes(); restart(); } },
    [25, 50, 100, 250, 1000].map((n) => h("option", { value: String(n) }, `${number(n)} rows`)),
  );
  sizes.value = String(model.get("size"));

  const keyword = h("input", { type: "text", placeholder: "SliceThickness", "aria-label": "DICOM keyword", spellcheck: "false" });
  const chips = h("div", {});
  const chooser = h(
    "details", { class: "rp-columns" },
    h("summary", { class: "rp-button rp-small" }, "Columns"),
    h(
      "form", { onsubmit: (e) => { e.preventDefault(); addColumn(keyword.value.trim()); } },
      h("label", { class: "rp-field" }, "Add a column by DICOM keyword", keyword),
      h("button", { class: "rp-button rp-small" }, "Add"), chips,
    ),
  );
  chooser.addEventListener("keydown", (e) => { e.stopPropagation(); if (e.key === "Escape") { chooser.open = false; chooser.firstChild.focus(); } });
  const outside = (e) => { if (!chooser.contains(e.target)) chooser.open = false; };
  document.addEventListener("pointerdown", outside);

  function addColumn(name) {
    if (!name) return;
    setColumns([...new Set([...model.get("extra_columns"), name])]);
    keyword.value = "";
  }
  function setColumns(names) {
    model.set("extra_columns", names);
    model.save_changes();
    restart();
  }

  el.append(h(
    "section", { class: "rp rp-card rp-grid", "aria-label": "Results" },
    h("div", { class: "rp-grid-top" }, heading, picked, forget, h("span", { class: "rp-push" }), chooser),
    body,
    h("div", { class: "rp-grid-foot" }, range, h("span", { class: "rp-push" }), sizes, first, back, forth),
  ));

  function restart() {
    cursors = [null];
    go(0);
  }

  async function go(to, focus) {
    if (to < 0 || to >= cursors.length) return;
    const mine = ++asked;
    busy(true);
    const level = model.get("level");
    chips.replaceChildren(...model.get("extra_columns").map((name) => h(
      "button", { type: "button", class: "rp-button rp-small", title: "Remove this column", onclick: () => setColumns(model.get("extra_columns").filter((c) => c !== name)) }, `${name} ×`,
    )));
    try {
      const [value] = await link.ask("page", {
        query: model.get("query"), level, sort: model.get("sort"), extra: model.get("extra_columns"), size: model.get("size"), cursor: cursors[to],
      });
      if (mine !== asked) return;
      page = to;
      next = value.next;
      if (next) cursors[page + 1] = next;
      else cursors.length = page + 1;
      rows = value.rows;
      columns = value.columns;
      draw(value, level);
      if (focus && rows.length) focusRow(focus === "last" ? rows.length - 1 : 0);
    } catch (error) {
      if (mine !== asked) return;
      rows = [];
      heading.textContent = "Results";
      range.textContent = "";
      // The caret is under the query box already.
      body.replaceChildren(problem({ ...error, caret: "" }, error.kind === "QueryError" || error.kind === "BadRequest" ? null : restart));
    }
    busy(false);
  }

  function busy(on) {
    body.setAttribute("aria-busy", String(on));
    for (const b of [first, back]) b.disabled = on || page === 0;
    forth.disabled = on || !next;
    body.querySelector(".rp-grid-bar")?.remove();
    if (!on) return;
    if (rows.length) body.prepend(h("div", { class: "rp-grid-bar", role: "presentation" }));
    else body.replaceChildren(h(
      "table", { "aria-label": "Loading", class: "rp-ghost" },
      h("tbody", {}, Array.from({ length: GHOSTS }, () => h("tr", {}, Array.from({ length: 6 }, () => h("td", {}, h("span", {})))))),
    ));
  }

  function draw(value, level) {
    heading.textContent = plural(value.total, level);
    const start = page * model.get("size");
    range.textContent = rows.length ? `${number(start + 1)}–${number(start + rows.length)} of ${number(value.total)}` : "";
    if (!rows.length) {
      body.replaceChildren(nothing(level));
      return;
    }
    const sort = model.get("sort");
    const all = h("input", { type: "checkbox", "aria-label": "Select all rows of this page", "data-testid": "rpacs-select-page", onchange: (e) => selectPage(e.target.checked) });
    const head = h(
      "tr", { role: "row", "aria-rowindex": "1" },
      h("th", { role: "columnheader", class: "rp-tick", scope: "col" }, all),
      columns.map((column) => {
        const turned = sort === column.name ? "ascending" : sort === `-${column.name}` ? "descending" : "none";
        return h(
          "th", { role: "columnheader", scope: "col", "aria-sort": turned, class: NUMERIC.test(column.name) ? "rp-number" : null },
          h(
            "button", { type: "button", title: `${column.name}: sort`, "data-column": column.name, onclick: () => sortBy(column.name, turned) },
            column.label, h("span", { class: "rp-sort", "aria-hidden": "true" }, turned === "ascending" ? "▲" : turned === "descending" ? "▼" : ""),
          ),
        );
      }),
    );
    const lines = rows.map((row, i) => h(
      "tr", {
        role: "row", tabindex: i === 0 ? "0" : "-1", "data-uid": row.key, "data-testid": "rpacs-row", "aria-rowindex": String(start + i + 2),
        onclick: (e) => { if (!e.target.closest(".rp-tick")) open(i); },
      },
      h("td", { role: "gridcell", class: "rp-tick" }, h("input", { type: "checkbox", tabindex: "-1", "aria-label": `Select row ${number(start + i + 1)}`, onchange: () => toggle(row.key) })),
      row.cells.map((cell, j) => {
        const text = shown(columns[j].name, cell);
        return h("td", { role: "gridcell", "data-column": columns[j].name, title: text, class: [text === null && "rp-none", NUMERIC.test(columns[j].name) && "rp-number"].filter(Boolean).join(" ") || null }, text ?? "–");
      }),
    ));
    const table = h(
      "table", { role: "grid", "aria-label": `${PLURALS[level]} found`, "aria-multiselectable": "true", "aria-rowcount": String(value.total + 1), "data-testid": "rpacs-grid", onkeydown: keys },
      h("thead", { role: "rowgroup" }, head), h("tbody", { role: "rowgroup" }, lines),
    );
    body.replaceChildren(table);
    body.scrollTop = 0;
    mark();
  }

  function nothing(level) {
    if (!model.get("allowed")) {
      return empty("lock", "Your account has no profile yet", "A profile says which images you may see. Ask your administrator to give you one, then reload this page; there is no need to log in anew.");
    }
    if (model.get("query")) return empty("search", `No ${PLURALS[level]} match`, "Try fewer conditions, or * in a text: StudyDescription StrEquals '*chest*'.");
    return empty("image", "No images yet", "Nothing that you may see has arrived. New images appear here minutes after they were sent.");
  }

  const lines = () => [...body.querySelectorAll("tbody tr[data-uid]")];
  function focusRow(i) {
    const all = lines();
    if (!all.length) return;
    const to = Math.max(0, Math.min(all.length - 1, i));
    all.forEach((line, n) => line.setAttribute("tabindex", n === to ? "0" : "-1"));
    all[to].focus();
    all[to].scrollIntoView({ block: "nearest" });
  }
  function keys(event) {
    const line = event.target.closest("tbody tr[data-uid]");
    if (!line) return;
    const at = lines().indexOf(line);
    const act = {
      ArrowDown: () => focusRow(at + 1), ArrowUp: () => focusRow(at - 1), Home: () => focusRow(0), End: () => focusRow(rows.length - 1),
      PageDown: () => (next ? go(page + 1, "first") : focusRow(rows.length - 1)), PageUp: () => (page ? go(page - 1, "first") : focusRow(0)),
      Enter: () => open(at), " ": () => toggle(rows[at].key),
    }[event.key];
    if (!act || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    event.stopPropagation();
    act();
  }
  function open(i) {
    focusRow(i);
    model.set("active", rows[i].key);
    model.save_changes();
  }
  function select(keysNow) {
    model.set("selected", keysNow);
    model.save_changes();
  }
  function toggle(key) {
    const now = model.get("selected");
    select(now.includes(key) ? now.filter((k) => k !== key) : [...now, key]);
  }
  function selectPage(on) {
    const here = rows.map((r) => r.key);
    const others = model.get("selected").filter((k) => !here.includes(k));
    select(on ? [...others, ...here] : others);
  }
  function sortBy(name, turned) {
    model.set("sort", turned === "none" ? name : turned === "ascending" ? `-${name}` : "");
    model.save_changes();
    restart();
  }
  function mark() {
    const chosen = new Set(model.get("selected"));
    const active = model.get("active");
    for (const line of lines()) {
      const on = chosen.has(line.dataset.uid);
      line.setAttribute("aria-selected", String(on));
      line.dataset.active = String(line.dataset.uid === active);
      line.querySelector("input").checked = on;
    }
    const here = rows.filter((r) => chosen.has(r.key)).length;
    const all = body.querySelector("thead input");
    if (all) {
      all.checked = here > 0 && here === rows.length;
      all.indeterminate = here > 0 && here < rows.length;
    }
    picked.textContent = chosen.size ? `${number(chosen.size)} selected` : "";
    forget.hidden = !chosen.size;
  }

  const again = () => { rows = []; next = null; page = 0; restart(); };
  const allowed = () => { if (!rows.length) restart(); };
  model.on("change:revision", again);
  model.on("change:allowed", allowed);
  model.on("change:selected", mark);
  model.on("change:active", mark);
  if (model.get("revision") > 0) restart();
  else body.replaceChildren(empty("search", "Search to see images", ""));
  return () => {
    model.off("change:revision", again);
    model.off("change:allowed", allowed);
    model.off("change:selected", mark);
    model.off("change:active", mark);
    document.removeEventListener("pointerdown", outside);
    link.close();
  };
}

export default { render };
