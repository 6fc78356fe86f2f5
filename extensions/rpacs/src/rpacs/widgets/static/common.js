// Shared by all widgets; packaged in front of each one's own script. Text from the archive only ever becomes text nodes.

/** Make an element: h("button", {class: "x", onclick: f, "aria-label": "y"}, "text", child). */
function h(tag, props = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "value" || name === "checked" || name === "disabled" || name === "hidden") node[name] = value;
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat().filter((c) => c !== null && c !== undefined && c !== false));
  return node;
}

const SVG = "http://www.w3.org/2000/svg";
const ICONS = {
  search: "M11 11l3.2 3.2M12.5 7.2a5.3 5.3 0 1 1-10.6 0 5.3 5.3 0 0 1 10.6 0z",
  left: "M10 3L5 8l5 5",
  right: "M6 3l5 5-5 5",
  first: "M12 3L7 8l5 5M4 3v10",
  refresh: "M13 8a5 5 0 1 1-1.6-3.7M13 1.8v3h-3",
  image: "M2 3.5h12v9H2zM2 10.5l3.5-3 3 2.5 2-1.5 3.5 3M10.8 6.2h.01",
  export: "M8 10V2M5 4.8L8 2l3 2.8M3 9.5v4h10v-4",
  user: "M8 8a2.8 2.8 0 1 0 0-5.6A2.8 2.8 0 0 0 8 8zM2.8 13.8c.6-2.6 2.6-4 5.2-4s4.600 1.4 5.2 4",
  warn: "M8 2l6.2 11.500H1.800zM8 6.500v3.200M8 11.600h.01",
  lock: "M4 7.500h8v6H4zM5.500 7.500V5a2.500 2.500 0 0 1 5 0v2.500",
};

/** A line icon; decoration only, hidden from screen readers. */
function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  for (const [k, v] of Object.entries({ viewBox: "0 0 16 16", class: "rp-icon", "aria-hidden": "true" })) svg.setAttribute(k, v);
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", ICONS[name]);
  svg.append(path);
  return svg;
}

const SILENCE = 90000; // ms after which the notebook's kernel is given up on

/** Questions to the Python side of a widget, and its events. One per view. */
function connect(model) {
  const view = Math.random().toString(36).slice(2);
  const waiting = new Map();
  let count = 0;
  function onMessage(message, buffers) {
    const entry = waiting.get(message.id);
    if (!entry) return;
    waiting.delete(message.id);
    clearTimeout(entry.timer);
    if (message.error) entry.reject(message.error);
    else entry.resolve([message.value, buffers]);
  }
  model.on("msg:custom", onMessage);
  return {
    ask(what, args = {}) {
      const id = `${view}-${++count}`;
      return new Promise((resolve, reject) => {
        const timer = setTimeout(() => {
          waiting.delete(id);
          reject({
            kind: "Silence",
            message: "Your notebook server does not answer.",
            hint: "It may have been stopped because nobody used it. Reload the page to start it again.",
          });
        }, SILENCE);
        waiting.set(id, { resolve, reject, timer });
        model.send({ id, do: what, with: args });
      });
    },
    close() {
      model.off("msg:custom", onMessage);
      for (const entry of waiting.values()) clearTimeout(entry.timer);
      waiting.clear();
    },
  };
}

/** An error in words, with what to do about it and, where that can help, a button to try again. */
function problem(error, retry) {
  return h(
    "div", { class: "rp-problem", role: "alert", "data-testid": "rpacs-error" },
    icon(error.kind === "NotLoggedIn" || error.kind === "Forbidden" ? "lock" : "warn"),
    h(
      "div", {},
      h("strong", {}, error.message || "Something went wrong."),
      error.caret ? h("pre", { class: "rp-caret" }, error.caret) : null,
      error.hint ? h("p", {}, error.hint) : null,
      retry ? h("button", { type: "button", class: "rp-button", onclick: retry }, icon("refresh"), "Try again") : null,
    ),
  );
}

/** A quiet message where content will be. */
function empty(name, title, text) {
  return h("div", { class: "rp-empty" }, icon(name), h("strong", {}, title), text ? h("p", {}, text) : null);
}

function debounce(wait, work) {
  let timer;
  return (...args) => {
    clearTimeout(timer);
    timer = setTimeout(() => work(...args), wait);
  };
}

const number = (n) => Number(n).toLocaleString("en-US");
const PLURALS = { patient: "patients", study: "studies", series: "series", instance: "images" };
const SINGULARS = { patient: "patient", study: "study", series: "series", instance: "image" };
const plural = (n, level) => `${number(n)} ${n === 1 ? SINGULARS[level] : PLURALS[level]}`;
