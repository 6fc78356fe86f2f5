const IN_FLIGHT = 3; // questions at once: more would only queue behind each other in the notebook
const AHEAD = 8; // neighbours fetched in the direction of travel
const BEHIND = 3;
const KEPT = 400; // pictures kept for scrolling back
const HINT = "Scroll with the mouse wheel or the arrow keys";

function render({ model, el }) {
  const link = connect(model);
  const pictures = new Map(); // key -> {url} or {error}; oldest first
  const flying = new Set();
  let series = {};
  let index = 0;
  let direction = 1;
  let win = null; // [centre, width], or null for the file's own
  let described = ""; // the instance whose elements are listed

  const title = h("h2", { "data-testid": "rpacs-viewer-title" }, "Viewer");
  const about = h("p", { class: "rp-muted" });
  const choice = h("select", { "aria-label": "Series", hidden: true, "data-testid": "rpacs-series-choice", onchange: (e) => link.ask("choose", { uid: e.target.value }).catch(() => {}) });
  const image = h("img", { alt: "", draggable: "false", hidden: true, "data-testid": "rpacs-image" });
  const corners = { tl: h("span", { class: "rp-corner rp-tl" }), tr: h("span", { class: "rp-corner rp-tr" }), bl: h("span", { class: "rp-corner rp-bl" }), br: h("span", { class: "rp-corner rp-br" }) };
  const over = h("div", { class: "rp-over" });
  const stage = h(
    "div", { class: "rp-stage", tabindex: "0", role: "group", "aria-label": `Image. ${HINT}`, "data-testid": "rpacs-stage" },
    image, Object.values(corners), over,
  );
  const position = h("output", { "data-testid": "rpacs-position", "aria-live": "off" });
  const slider = h("input", { type: "range", min: "1", max: "1", step: "1", "aria-label": "Slice", "data-testid": "rpacs-slice", oninput: (e) => show(Number(e.target.value) - 1) });
  const where = h("span", { class: "rp-muted" });
  const presets = h("div", { class: "rp-windows", role: "group", "aria-label": "Window presets" });
  const knob = (label, testid, min) => {
    const range = h("input", { type: "range", "aria-label": label, "data-testid": testid });
    const exact = h("input", { type: "number", step: "any", min, "aria-label": `${label}, exact` });
    return { range, exact, row: h("div", { class: "rp-slider" }, h("span", {}, label), range, exact) };
  };
  const centre = knob("Window centre", "rpacs-centre", null);
  const width = knob("Window width", "rpacs-width", "1");
  const windows = h("div", {}, presets, centre.row, width.row);
  const controls = h("div", { class: "rp-controls", hidden: true }, h("div", { class: "rp-slider" }, position, slider, where), windows);

  const filter = h("input", { type: "search", placeholder: "Filter by name, tag or value", "aria-label": "Filter elements", oninput: () => sieve() });
  const listing = h("div", { class: "rp-scroll", tabindex: "0", role: "region", "aria-label": "DICOM elements" });
  const elements = h("details", { class: "rp-elements", hidden: true, "data-testid": "rpacs-elements", ontoggle: () => describe() }, h("summary", {}, "DICOM elements of this image"), h("div", {}, filter, listing));

  el.append(h(
    "section", { class: "rp rp-card rp-viewer", "aria-label": "Viewer" },
    h("div", { class: "rp-viewer-top" }, h("div", {}, title, about), choice), stage, controls, elements,
  ));

  const keyOf = (i) => `${series.slices[i][0]}#${series.slices[i][1]}#${win ? win.join("/") : ""}`;

  function open() {
    series = model.get("series");
    win = null;
    described = "";
    image.hidden = true;
    image.removeAttribute("src");
    for (const c of Object.values(corners)) c.textContent = "";
    const ready = Boolean(series.slices);
    controls.hidden = elements.hidden = !ready;
    over.replaceChildren();
    title.textContent = series.title || (series.loading ? "Opening…" : "Viewer");
    about.textContent = series.about || "";
    if (series.loading) over.append(h("span", { class: "rp-spin", role: "status", "aria-label": "Opening the series" }));
    else if (series.error?.kind === "NoPictures") over.append(empty("image", series.error.message, series.error.hint));
    else if (series.error) over.append(problem(series.error));
    else if (!ready) over.append(h("div", { class: "rp-empty" }, icon("image"), h("span", {}, "Pick a row to see its images here")));
    if (!ready) return;
    const name = series.unit === "frame" ? "Frame" : "Slice";
    slider.setAttribute("aria-label", name);
    slider.max = String(series.slices.length);
    slider.disabled = series.slices.length < 2;
    setUpWindow();
    index = -1;
    show(Math.min(model.get("index"), series.slices.length - 1));
    if (elements.open) describe();
  }

  function offer() {
    const list = model.get("choices");
    choice.hidden = list.length < 2;
    choice.replaceChildren(...list.map((c) => h("option", { value: c.uid }, c.label)));
    if (series.uid) choice.value = series.uid;
  }

  function show(i) {
    if (!series.slices || i === index) return;
    if (i < 0 || i >= series.slices.length) return;
    direction = i >= index ? 1 : -1;
    index = i;
    slider.value = String(i + 1);
    const text = `${series.unit} ${i + 1} / ${series.slices.length}`;
    position.textContent = text;
    slider.setAttribute("aria-valuetext", text);
    corners.bl.textContent = text;
    const at = series.slices[i][2];
    where.textContent = at === null ? "" : `${Number(at).toFixed(1)} mm`;
    paint();
    remember();
    later();
  }
  const remember = debounce(400, () => { model.set("index", index); model.save_changes(); });
  const later = debounce(350, () => { if (elements.open) describe(); });

  function paint() {
    const got = pictures.get(keyOf(index));
    if (got?.url) {
      image.src = got.url;
      image.alt = `${series.modality} image, ${position.textContent}`;
      image.hidden = false;
      image.dataset.stale = "false";
      image.dataset.uid = series.slices[index][0];
      image.dataset.frame = String(series.slices[index][1]);
      over.replaceChildren();
    } else if (got?.error) {
      image.hidden = true;
      over.replaceChildren(problem(got.error, () => { pictures.delete(keyOf(index)); over.replaceChildren(); fetchMore(); }));
    } else {
      image.dataset.stale = "true";
      if (image.hidden) over.replaceChildren(h("span", { class: "rp-spin", role: "status", "aria-label": "Loading the image" }));
    }
    fetchMore();
  }

  /** The pictures worth having, the one on show first. */
  function* wanted() {
    yield index;
    for (let n = 1; n <= AHEAD; n++) {
      yield index + n * direction;
      if (n <= BEHIND) yield index - n * direction;
    }
  }
  function fetchMore() {
    if (!series.slices) return;
    for (const i of wanted()) {
      // One place stays free for the picture on show, so that prefetching never makes it wait.
      if (flying.size >= (i === index ? IN_FLIGHT + 1 : IN_FLIGHT)) return;
      if (i < 0 || i >= series.slices.length) continue;
      const key = keyOf(i);
      if (!pictures.has(key) && !flying.has(key)) fetchOne(i, key);
    }
  }
  async function fetchOne(i, key) {
    const [uid, frame] = series.slices[i];
    flying.add(key);
    try {
      const [value, buffers] = await link.ask("frame", { uid, frame, center: win?.[0] ?? null, width: win?.[1] ?? null, reduce: Boolean(series.reduce) });
      keep(key, { url: URL.createObjectURL(new Blob([buffers[0]], { type: value.type })) });
    } catch (error) {
      keep(key, { error });
    }
    flying.delete(key);
    if (!series.slices) return;
    if (key === keyOf(index)) paint();
    else fetchMore();
  }
  function keep(key, entry) {
    pictures.set(key, entry);
    for (const [old, gone] of pictures) {
      if (pictures.size <= KEPT) break;
      if (gone.url === image.src) continue;
      pictures.delete(old);
      if (gone.url) URL.revokeObjectURL(gone.url);
    }
  }

  function setUpWindow() {
    windows.hidden = Boolean(series.colour);
    if (series.colour) return;
    const [c, w] = series.window || [1000, 2000];
    const reach = series.modality === "CT" ? [-1200, 3000, 4000] : [c - 2 * w, c + 2 * w, 4 * w];
    Object.assign(centre.range, { min: String(Math.floor(reach[0])), max: String(Math.ceil(reach[1])), step: w > 20 ? "1" : "any" });
    Object.assign(width.range, { min: "1", max: String(Math.max(2, Math.ceil(reach[2]))), step: w > 20 ? "1" : "any" });
    presets.replaceChildren(...[["As stored", null, null], ...series.presets].map(([name, pc, pw]) => h(
      "button", { type: "button", class: "rp-button rp-small", "aria-pressed": "false", "data-centre": pc, "data-width": pw, onclick: () => setWindow(pc === null ? null : [pc, pw]) }, name,
    )));
    tellWindow();
  }
  function setWindow(to) {
    win = to;
    tellWindow();
    paint();
  }
  function tellWindow() {
    const [c, w] = win || series.window || ["", ""];
    for (const [k, v] of [[centre, c], [width, w]]) {
      if (v !== "") k.range.value = String(v);
      if (document.activeElement !== k.exact) k.exact.value = v === "" ? "" : String(Math.round(v * 100) / 100);
    }
    corners.br.textContent = c === "" ? "" : `C ${Math.round(c)}  W ${Math.round(w)}`;
    for (const b of presets.children) {
      const same = b.dataset.centre === undefined ? win === null : win && Number(b.dataset.centre) === win[0] && Number(b.dataset.width) === win[1];
      b.setAttribute("aria-pressed", String(Boolean(same)));
    }
  }
  const fromKnobs = debounce(60, (kind) => {
    const [c, w] = [centre, width].map((k) => Number(k[kind].value));
    if (Number.isFinite(c) && w >= 1) setWindow([c, w]);
  });
  for (const k of [centre, width]) {
    k.range.addEventListener("input", () => { k.exact.value = k.range.value; (k === centre ? width : centre).range.value ||= "1"; fromKnobs("range"); });
    k.exact.addEventListener("input", () => fromKnobs("exact"));
  }

  let rolled = 0;
  stage.addEventListener("wheel", (event) => {
    if (!series.slices || event.ctrlKey) return;
    event.preventDefault();
    rolled += event.deltaMode ? event.deltaY * 40 : event.deltaY;
    const steps = Math.trunc(rolled / 40);
    if (steps) {
      rolled -= steps * 40;
      const most = Math.max(-5, Math.min(5, steps));
      show(Math.max(0, Math.min(series.slices.length - 1, index + most)));
    }
  }, { passive: false });
  stage.addEventListener("keydown", (event) => {
    if (!series.slices || event.ctrlKey || event.metaKey || event.altKey) return;
    const end = series.slices.length - 1;
    const to = { ArrowDown: index + 1, ArrowRight: index + 1, ArrowUp: index - 1, ArrowLeft: index - 1, PageDown: index + 10, PageUp: index - 10, Home: 0, End: end }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    event.stopPropagation();
    show(Math.max(0, Math.min(end, to)));
  });
  controls.addEventListener("keydown", (event) => event.stopPropagation());
  elements.addEventListener("keydown", (event) => event.stopPropagation());

  async function describe() {
    if (!elements.open || !series.slices) return;
    const uid = series.slices[index][0];
    if (uid === described) return;
    described = uid;
    if (!listing.childElementCount) listing.replaceChildren(h("div", { class: "rp-empty" }, h("span", { class: "rp-spin" })));
    try {
      const [tags] = await link.ask("tags", { uid });
      if (described !== uid) return;
      listing.replaceChildren(h(
        "table", {}, h("thead", {}, h("tr", {}, ["Name", "Tag", "VR", "Value"].map((t) => h("th", { scope: "col" }, t)))),
        h("tbody", {}, tags.map((t) => h("tr", {}, h("td", { title: t.path }, (t.path || "").includes(".") || (t.path || "").includes("[") ? t.path : t.name || t.keyword), h("td", {}, t.tag), h("td", {}, t.vr), h("td", {}, t.value)))),
      ));
      sieve();
    } catch (error) {
      if (described !== uid) return;
      described = "";
      listing.replaceChildren(problem(error, () => describe()));
    }
  }
  function sieve() {
    const word = filter.value.trim().toLowerCase();
    for (const line of listing.querySelectorAll("tbody tr")) line.hidden = Boolean(word) && !line.textContent.toLowerCase().includes(word);
  }

  const opened = () => { open(); offer(); };
  model.on("change:series", opened);
  model.on("change:choices", offer);
  opened();
  return () => {
    model.off("change:series", opened);
    model.off("change:choices", offer);
    for (const entry of pictures.values()) if (entry.url) URL.revokeObjectURL(entry.url);
    link.close();
  };
}

export default { render };
