const LEVELS = [["patient", "Patients"], ["study", "Studies"], ["series", "Series"], ["instance", "Images"]];
const HELP = [
  ["Modality StrEquals CT", "the value, in any case"],
  ["StudyDescription StrEquals '*chest*'", "* stands for anything; quote text that has spaces"],
  ["SliceThickness NbLess 2", "numbers: NbEquals, NbGreater, NbLess, NbGreaterEquals, NbLessEquals"],
  ["StudyDate DateAfter 20200101", "dates: DateBefore, DateAfter, DateOn"],
  ["Modality StrIn (CT, MR)", "one of several"],
  ["ContrastBolusAgent Exists", "also NotExists, Empty, NotEmpty"],
  ["A AND (B OR NOT (C))", "AND binds tighter than OR"],
  ["RequestAttributesSequence.ScheduledProcedureStepID Exists", "inside sequences"],
];

function render({ model, el }) {
  const link = connect(model);
  const ids = Math.random().toString(36).slice(2);
  let asked = 0;

  const box = h("textarea", {
    id: `q-${ids}`, rows: "1", spellcheck: "false", autocapitalize: "off", autocomplete: "off",
    placeholder: "Modality StrEquals CT AND StudyDescription StrEquals '*chest*'",
    "aria-label": "Query", "aria-describedby": `m-${ids}`, "data-testid": "rpacs-query", value: model.get("query"),
  });
  const message = h("div", { id: `m-${ids}`, class: "rp-query-message", "aria-live": "polite", "data-testid": "rpacs-query-message" });
  const levels = h(
    "div", { class: "rp-levels", role: "radiogroup", "aria-label": "Show" },
    LEVELS.map(([value, label]) => h(
      "label", {},
      h("input", { type: "radio", name: `level-${ids}`, value, checked: model.get("level") === value, onchange: run }),
      label,
    )),
  );
  const level = () => levels.querySelector("input:checked").value;

  function say(text, bad) {
    message.classList.toggle("rp-bad", Boolean(bad));
    box.setAttribute("aria-invalid", bad ? "true" : "false");
    message.replaceChildren(...[text].flat());
  }

  async function check() {
    const mine = ++asked;
    const query = box.value.trim();
    if (!query) return say("An empty query shows everything that you may see.");
    try {
      const [value] = await link.ask("check", { query, level: level() });
      const shown = model.get("runs") > 0 && query === model.get("query") && level() === model.get("level");
      const verb = value.count === 1 ? "matches" : "match";
      if (mine === asked) say(`${plural(value.count, level())} ${verb}.${shown || !value.count ? "" : " Press Enter to see them."}`);
    } catch (error) {
      if (mine !== asked) return;
      if (error.kind !== "QueryError") return say(`${error.message} ${error.hint || ""}`, true);
      say([
        h("span", {}, `${error.message} (at character ${error.position + 1})`),
        error.caret ? h("pre", { class: "rp-caret" }, error.caret) : "",
        error.hint ? h("span", { class: "rp-hint" }, error.hint) : "",
      ], true);
    }
  }
  const soon = debounce(450, check);

  function run() {
    model.set("query", box.value.trim());
    model.set("level", level());
    model.set("runs", model.get("runs") + 1);
    model.save_changes();
    check();
  }

  box.addEventListener("input", () => { asked++; soon(); });
  box.addEventListener("keydown", (event) => {
    event.stopPropagation(); // the notebook has shortcuts of its own
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      run();
    }
  });
  const examples = model.get("examples").map(([name, text]) => h(
    "button", { type: "button", class: "rp-button rp-small", title: text, onclick: () => { box.value = text; box.focus(); run(); } }, name,
  ));

  el.append(h(
    "section", { class: "rp rp-card rp-query", "aria-label": "Search" },
    h(
      "div", { class: "rp-query-row" },
      h("div", { class: "rp-query-text" }, box),
      levels,
      h("button", { type: "button", class: "rp-button rp-primary", onclick: run, "data-testid": "rpacs-search" }, icon("search"), "Search"),
    ),
    h(
      "div", { class: "rp-query-under" },
      message,
      h("div", { class: "rp-examples" }, h("span", { class: "rp-muted" }, "Try"), examples),
      h(
        "details", { class: "rp-help" }, h("summary", {}, "How to write a query"),
        h("table", {}, h("tbody", {}, HELP.map(([code, words]) => h("tr", {}, h("td", {}, h("code", {}, code)), h("td", { class: "rp-muted" }, words))))),
      ),
    ),
  ));
  const follow = () => { if (document.activeElement !== box) box.value = model.get("query"); };
  model.on("change:query", follow);
  check();
  return () => { model.off("change:query", follow); link.close(); };
}

export default { render };
