function render({ model, el }) {
  el.append(h("div", { class: "rp" }, h("div", { class: "rp-alone" }, problem(model.get("error"), () => location.reload()))));
}

export default { render };
