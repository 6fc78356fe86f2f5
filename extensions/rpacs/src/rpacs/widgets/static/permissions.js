function render({ model, el }) {
  const link = connect(model);
  const who = h("div", { class: "rp-me-who", "data-testid": "rpacs-me" }, icon("user"), h("span", { class: "rp-spin", role: "status", "aria-label": "Loading your account" }));
  const sees = h("div", {});
  const kept = h("b", { role: "status" });
  const reason = h("input", { type: "text", maxlength: "500", placeholder: "such as IRB 2026-041", value: model.get("reason"), "data-testid": "rpacs-reason" });
  const wrong = h("div", {});
  reason.addEventListener("keydown", (event) => { event.stopPropagation(); if (event.key === "Enter") reason.blur(); });
  reason.addEventListener("change", async () => {
    try {
      const [value] = await link.ask("reason", { reason: reason.value });
      kept.textContent = value.reason ? "Recorded from now on" : "";
      wrong.replaceChildren();
      ask();
    } catch (error) {
      kept.textContent = "";
      wrong.replaceChildren(problem(error));
    }
  });
  const wanted = h("div", { class: "rp-notice", hidden: true, role: "status", "data-testid": "rpacs-reason-asked" });
  let asked = "";
  const box = h("div", {});
  el.append(h(
    "section", { class: "rp rp-card rp-me", "aria-label": "Account" },
    h("div", { class: "rp-me-row" }, who, sees, h("label", { class: "rp-me-reason" }, h("span", {}, "Reason for access"), reason, kept)),
    wrong, wanted, box,
  ));

  /** Say what the user's profiles want to hear, until something was said. */
  function ask() {
    const open = asked && !reason.value.trim();
    reason.setAttribute("aria-invalid", String(Boolean(open)));
    wanted.hidden = !open;
    wanted.replaceChildren(h("strong", {}, "First say why you need the images: "), asked, ".");
  }

  async function load() {
    box.replaceChildren();
    try {
      const [me] = await link.ask("me");
      who.replaceChildren(icon("user"), me.name);
      asked = me.asked;
      ask();
      if (!me.profiles.length) {
        sees.replaceChildren();
        box.replaceChildren(h("div", { class: "rp-notice", "data-testid": "rpacs-no-profile" }, h("strong", {}, "Your account has no profile yet, "), "so there are no images to see. Ask your administrator to give you one."));
        return;
      }
      const list = h("ul", { class: "rp-me-list", hidden: true }, me.profiles.map((p) => h(
        "li", {}, h("strong", {}, p.name), p.about ? h("div", {}, p.about) : null,
        h("div", { class: "rp-muted" }, "Shows ", p.sees.startsWith("images where ") ? ["images where ", h("code", {}, p.sees.slice(13))] : p.sees, p.why ? `; ${p.why}.` : "."),
      )));
      const toggle = h("button", { type: "button", class: "rp-button rp-small", "aria-expanded": "false", "data-testid": "rpacs-permissions", onclick: () => {
        list.hidden = !list.hidden;
        toggle.setAttribute("aria-expanded", String(!list.hidden));
      } }, icon("lock"), "What I may see");
      sees.replaceChildren(toggle);
      box.replaceChildren(list);
    } catch (error) {
      who.replaceChildren(icon("user"), "Not connected");
      sees.replaceChildren();
      box.replaceChildren(problem(error, load));
    }
  }
  load();
  return () => link.close();
}

export default { render };
