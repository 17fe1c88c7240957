// A grid of pictures to select: mouse, touch, keys. Knows no server.
import { announce, div, h, span, t, toggle, when } from "/dom.js";

export const alt = (row) => t("pictures.alt", { name: row.class ?? row.label ?? t("pictures.unsorted"), time: row.time ? when(row.time) : "" });

export function grid({ sort, open, remove, undo, onselect }) {
  const node = h("div", { class: "grid", role: "listbox", "aria-multiselectable": "true", "aria-label": t("pictures.title") });
  const band = h("div", { class: "band", hidden: true });
  const outer = div("field", node, band);
  let rows = [], selected = new Set(), at = 0, anchor = 0, drag = null, focusNext = false;
  const cell = (n) => node.children[n];

  function show(cases, further) {
    if (!further) { rows = []; selected.clear(); node.replaceChildren(); at = anchor = 0; }
    for (const row of cases) { rows.push(row); node.append(make(row)); }
    draw();
  }

  function make(row) {
    const badge = span("badge", row.class ?? "");
    const element = h("div", { role: "option", class: "cell", tabindex: "-1", "aria-selected": "false", "data-name": row.name },
      h("img", { src: `/api/cases/${encodeURIComponent(row.name)}.jpg?width=240`, alt: alt(row), loading: "lazy", draggable: false }), badge,
      span("under", h("span", {}, row.label ?? (row.reason ? t("now.uncertain") : "")), row.reason ? span("soft", t(`pictures.why.${row.reason}`)) : ""));
    element.row = row;
    return element;
  }

  function draw() {
    [...node.children].forEach((element, n) => {
      const on = selected.has(element.row.name);
      if (element.getAttribute("aria-selected") !== String(on)) element.setAttribute("aria-selected", on);
      element.tabIndex = n === at ? 0 : -1;
    });
    toggle(node, "some", selected.size);
    onselect();
  }

  function move(to, { extend = false } = {}) {
    if (!rows.length) return;
    at = Math.max(0, Math.min(rows.length - 1, to));
    if (extend) selected = new Set(between(anchor, at));
    else anchor = at;
    draw();
    cell(at).focus();
    cell(at).scrollIntoView({ block: "nearest" });
  }
  const between = (a, b) => rows.slice(Math.min(a, b), Math.max(a, b) + 1).map((row) => row.name);
  const flip = (n) => { const { name } = rows[n]; if (!selected.delete(name)) selected.add(name); };
  const columns = () => getComputedStyle(node).gridTemplateColumns.split(" ").length;

  function take(names) {
    const gone = new Set(names), held = node.contains(document.activeElement) || focusNext;
    const before = rows.slice(0, at).filter((row) => gone.has(row.name)).length;
    rows = rows.filter((row) => !gone.has(row.name));
    for (const element of [...node.children]) if (gone.has(element.dataset.name)) element.remove();
    for (const name of names) selected.delete(name);
    at = anchor = Math.max(0, Math.min(rows.length - 1, at - before));
    draw();
    if (held && rows.length) cell(at).focus();
  }

  function key(event) {
    const inside = node.contains(event.target), control = event.ctrlKey || event.metaKey;
    if (event.key === "u" && !control) { undo(); return true; }
    if (event.target.closest("button, a, summary") || !rows.length) return false;
    if (control && event.key === "a") { selected = new Set(rows.map((row) => row.name)); draw(); announce(t("pictures.selected", { n: selected.size })); return true; }
    if (control) return false;
    if (/^[0-9]$/.test(event.key)) { focusNext = true; sort(Number(event.key), chosen(inside)).then(() => { focusNext = false; }); return true; }
    if (event.key === "Escape" && selected.size) { selected.clear(); draw(); return true; }
    if (event.key === "Delete") { if (!selected.size && inside) flip(at); draw(); remove(); return true; }
    const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns(), ArrowDown: columns(), Home: -at, End: rows.length };
    if (event.key in steps) { move(inside ? at + steps[event.key] : at, { extend: event.shiftKey && inside }); return true; }
    if (!inside) return false;
    if (event.key === " ") { flip(at); anchor = at; draw(); return true; }
    if (event.key === "Enter") { open(rows[at]); return true; }
    return false;
  }

  // What is selected; where nothing is, the picture that has the focus.
  function chosen(orFocus = false) {
    return selected.size || !orFocus ? [...selected] : [rows[at].name];
  }

  // A press selects a picture, with Shift all between, with Ctrl one more; a drag draws a box.
  outer.addEventListener("pointerdown", (event) => {
    if (event.button !== 0 || event.pointerType === "touch") return;
    const box = outer.getBoundingClientRect();
    drag = { x: event.clientX - box.x, y: event.clientY - box.y, moved: false, keep: event.ctrlKey || event.metaKey ? new Set(selected) : new Set() };
  });
  addEventListener("pointermove", (event) => {
    if (!drag) return;
    const box = outer.getBoundingClientRect(), x = event.clientX - box.x, y = event.clientY - box.y;
    if (!drag.moved && Math.hypot(x - drag.x, y - drag.y) < 8) return;
    drag.moved = true;
    const [left, top, width, height] = [Math.min(x, drag.x), Math.min(y, drag.y), Math.abs(x - drag.x), Math.abs(y - drag.y)];
    band.hidden = false;
    for (const [name, value] of Object.entries({ left, top, width, height })) band.style.setProperty(name, `${value}px`);
    selected = new Set(drag.keep);
    for (const element of node.children) {
      const own = element.getBoundingClientRect();
      if (own.right - box.x > left && own.x - box.x < left + width && own.bottom - box.y > top && own.y - box.y < top + height) selected.add(element.dataset.name);
    }
    draw();
  });
  addEventListener("pointerup", () => {
    band.hidden = true;
    setTimeout(() => { drag = null; });
  });
  node.addEventListener("click", (event) => {
    const element = event.target.closest(".cell");
    if (!element || drag?.moved) return;
    const n = [...node.children].indexOf(element);
    if (event.shiftKey) return move(n, { extend: true });
    if (event.ctrlKey || event.metaKey || event.pointerType === "touch") flip(n);
    else selected = selected.size === 1 && selected.has(rows[n].name) ? new Set() : new Set([rows[n].name]);
    at = anchor = n;
    draw();
    element.focus({ preventScroll: true });
  });
  node.addEventListener("dblclick", (event) => {
    const element = event.target.closest(".cell");
    if (element) open(element.row);
  });
  node.addEventListener("focusin", (event) => {
    const n = [...node.children].indexOf(event.target);
    if (n >= 0 && n !== at) { at = n; draw(); }
  });

  return {
    node: outer, show, take, key, chosen,
    size: () => rows.length,
    focus: () => cell(at)?.focus(),
    mark(name, to) {
      const element = [...node.children].find((one) => one.dataset.name === name);
      if (!element) return;
      element.row.class = to;
      element.querySelector(".badge").textContent = to ?? "";
    },
  };
}
