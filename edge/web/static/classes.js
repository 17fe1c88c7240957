// The classes of the pictures: add, rename, delete an empty one.
import { busy, button, h, pair, span, t } from "/dom.js";
import * as live from "/live.js";

// changed(from, to): a class was renamed; "unsorted": it is gone, null: it is new.
export function classEditor(changed) {
  const list = h("ul", { class: "classes" });
  const name = h("input", { id: "class-name", required: true, maxlength: 60, autocomplete: "off" });
  const change = (control, path, body, from, to) => busy(control, async () => {
    await live.post(path, body);
    await changed(from, to);
  });
  const add = h("button", {}, t("pictures.add"));
  const form = h("form", { class: "row", onsubmit: async (event) => {
    event.preventDefault();
    await change(add, "/api/classes", { name: name.value.trim() }, null, null);
    name.value = "";
    name.focus();
  } }, pair(t("pictures.newClass"), name), add);
  const node = h("details", { class: "card" }, h("summary", {}, t("pictures.classes")), form, list);
  return {
    node,
    draw(classes) {
      if (!classes.length) node.open = true;
      list.replaceChildren(...classes.map(([from, n]) => {
        const field = h("input", { value: from, "aria-label": t("pictures.nameOf", { name: from }), maxlength: 60 });
        const rename = button(t("pictures.rename"), () => change(rename, "/api/classes/rename", { name: from, to: field.value.trim() }, from, field.value.trim()));
        const drop = button(t("pictures.deleteClass"), () => change(drop, "/api/classes/delete", { name: from }, from, "unsorted"), "danger", { hidden: n > 0 });
        return h("li", { class: "row" }, field, rename, drop, span("soft", t("pictures.n", { n })));
      }));
    },
  };
}
