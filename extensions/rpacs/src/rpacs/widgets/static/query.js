const LEVELS = [["patient", "Patients"], ["study", "Studies"], ["series", "Series"], ["instance", "Images"]];
const HELP = [
  ["Modality StrEquals CT", "the value, in any case"],
  ["StudyDescription StrEquals '*chest*'", "* stands for anything; quote text that has spaces"],
  ["SliceThickness NbLess 2", "numbers: NbEquals, NbGreater, NbLess, NbGreaterEquals, NbLessEquals"],
  ["StudyDate DateAfter 20200101", "dates: DateBefore, DateAfter, DateOn"],
  ["Modality StrIn (CT, MR)", "one of several"],
  ["ContrastBolusAgent Exists", "also NotExists, Empty, NotEmpty"],
  ["A AND (B OR NOT (C))", "AND binds tighter than OR"],
  ["Ctrl + Space", "shows what can follow: keywords, operators, and the values that there are"],
  ["RequestAttributesSequence.ScheduledProcedureStepID Exists", "inside sequences"],
];

/** A list of suggestions below a text box: arrows choose, Enter or Tab takes, Escape closes, Ctrl+Space opens. */
function suggestions(box, id, ask, taken) {
  const list = h("ul", { id, class: "rp-suggestions", role: "listbox", "aria-label": "Suggestions", "data-testid": "rpacs-suggestions", popover: "manual", hidden: true });
  const told = h("div", { class: "rp-unseen", role: "status" });
  let asked = 0;
  let answer = { start: 0, end: 0, words: [] };
  let answered = ""; // the text that the list belongs to
  let active = -1;

  // The gateway counts characters, the browser UTF-16 units.
  const characters = (units) => [...box.value.slice(0, units)].length;
  const units = (count) => [...box.value].slice(0, count).join("").length;

  function close() {
    asked++;
    active = -1;
    if (!list.hidden) list.hidePopover?.();
    list.hidden = true;
    told.textContent = "";
    box.removeAttribute("aria-activedescendant");
  }

  function choose(next) {
    active = (next + answer.words.length) % answer.words.length;
    [...list.children].forEach((item, n) => item.setAttribute("aria-selected", n === active ? "true" : "false"));
    box.setAttribute("aria-activedescendant", `${id}-${active}`);
    list.children[active].scrollIntoView({ block: "nearest" });
  }

  function take(n) {
    const word = answer.words[n];
    const [from, to] = [units(answer.start), units(answer.end)];
    const rest = box.value.slice(to);
    const gap = word.text === "(" || rest.startsWith(" ") ? "" : " ";
    box.value = box.value.slice(0, from) + word.text + gap + rest;
    const cursor = from + word.text.length + (word.text === "(" ? 0 : 1);
    box.setSelectionRange(cursor, cursor);
    close();
    taken();
  }

  // In the browser's top layer: no box of the notebook around it cuts it off.
  function place() {
    const room = box.getBoundingClientRect();
    if (list.hidden) {
      list.hidden = false;
      if (list.isConnected) list.showPopover?.();
    }
    const above = room.bottom + list.offsetHeight + 4 > innerHeight && room.top > list.offsetHeight + 4;
    list.style.left = `${room.left}px`;
    list.style.top = `${above ? room.top - list.offsetHeight - 2 : room.bottom + 2}px`;
    list.style.maxWidth = `${room.width}px`;
  }

  function show() {
    const typed = box.value.slice(units(answer.start), units(answer.end));
    // A word that is there already needs no list.
    if (!answer.words.length || (answer.words.length === 1 && answer.words[0].text === typed)) return close();
    active = -1;
    box.removeAttribute("aria-activedescendant");
    list.replaceChildren(...answer.words.map((word, n) => h(
      "li", { id: `${id}-${n}`, role: "option", "aria-selected": "false", class: `rp-kind-${word.kind}`, onmousedown: (event) => { event.preventDefault(); take(n); } },
      h("span", { class: "rp-word" }, word.text),
      h("span", { class: "rp-muted" }, word.count === undefined ? word.label : number(word.count)),
    )));
    place();
    told.textContent = answer.words.length === 1 ? "1 suggestion" : `${answer.words.length} suggestions`;
  }

  async function update() {
    const mine = ++asked;
    const text = box.value;
    if (document.activeElement !== box || box.selectionStart !== box.selectionEnd) return;
    try {
      const [value] = await ask(text, characters(box.selectionStart));
      if (mine !== asked || box.value !== text) return;
      answer = value;
      answered = text;
      show();
    } catch {
      if (mine === asked) close(); // what is wrong with the query is said below it
    }
  }

  /** Whether a key was meant for the list. */
  function key(event) {
    if (event.key === " " && event.ctrlKey) update();
    else if (list.hidden) return false;
    else if (event.key === "Escape") close();
    else if (answered !== box.value) return false; // more was typed since: the next list is on its way
    else if (event.key === "ArrowDown") choose(active + 1);
    else if (event.key === "ArrowUp") choose(active < 0 ? answer.words.length - 1 : active - 1);
    else if ((event.key === "Enter" || event.key === "Tab") && active >= 0 && !event.shiftKey) take(active);
    else return false;
    event.preventDefault();
    return true;
  }

  const moved = (event) => { if (event.target !== list && !list.hidden) close(); };
  box.addEventListener("blur", close);
  addEventListener("scroll", moved, { capture: true, passive: true });
  addEventListener("resize", moved);
  function dispose() {
    removeEventListener("scroll", moved, { capture: true });
    removeEventListener("resize", moved);
  }
  return { list, told, key, close, update, soon: debounce(180, update), dispose };
}

function render({ model, el }) {
  const link = connect(model);
  const ids = Math.random().toString(36).slice(2);
  let asked = 0;

  const box = h("textarea", {
    id: `q-${ids}`, rows: "1", spellcheck: "false", autocapitalize: "off", autocomplete: "off",
    placeholder: "Modality StrEquals CT AND StudyDescription StrEquals '*chest*'",
    "aria-label": "Query", "aria-describedby": `m-${ids}`, "aria-autocomplete": "list", "aria-haspopup": "listbox", "aria-controls": `s-${ids}`, "data-testid": "rpacs-query", value: model.get("query"),
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
  const offers = suggestions(
    box, `s-${ids}`,
    (text, position) => link.ask("complete", { text, position, level: level() }),
    () => { soon(); offers.update(); },
  );

  function run() {
    offers.close();
    model.set("query", box.value.trim());
    model.set("level", level());
    model.set("runs", model.get("runs") + 1);
    model.save_changes();
    check();
  }

  box.addEventListener("input", () => { asked++; soon(); offers.soon(); });
  box.addEventListener("keydown", (event) => {
    event.stopPropagation(); // the notebook has shortcuts of its own
    if (!event.isComposing && offers.key(event)) return;
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
      h("div", { class: "rp-query-text" }, box, offers.list, offers.told),
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
  return () => { model.off("change:query", follow); offers.dispose(); link.close(); };
}

export default { render };
