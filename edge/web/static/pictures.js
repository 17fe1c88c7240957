// Pictures: the cases as a grid; filtered, sorted into classes, added and deleted.
import { announce, attempt, busy, button, confirm, div, h, number, pair, para, percent, span, t, toast, toggle, when, write } from "/dom.js";
import { classEditor } from "/classes.js";
import { alt, grid } from "/grid.js";
import * as live from "/live.js";
import { texts } from "/texts.js";
import { upload } from "/upload.js";

const PAGE = 60;
const REASONS = Object.keys(texts.pictures.why);

export function make(node) {
  // shown: a class, unsorted, or null for all
  let classes = [], unsorted = 0, shown = "unsorted", next = null, undo = null, isOpen = false, asking = 0, drawn = "", loadedMs = null;
  const tabs = h("div", { class: "tabs", role: "group", "aria-label": t("pictures.which") });
  const note = para("note"), more = button(t("pictures.more"), () => busy(more, () => load(true)));
  const cells = grid({ sort, open: closely, remove, undo: takeBack, onselect });
  const count = h("p", { class: "count", role: "status" }), targets = div("targets"), acts = div("acts");
  const bar = h("div", { class: "sortbar", role: "toolbar", "aria-label": t("pictures.sort") }, count, div("sorts", targets, acts));
  const hint = t(matchMedia("(pointer: coarse)").matches ? "pictures.hintTouch" : "pictures.hint");
  const age = live.aged(() => loadedMs);
  const filters = makeFilters(() => load());
  const uploads = upload(() => (one() ? shown : ""), load);
  const classList = classEditor(async (from, to) => { if (shown === from) shown = to; await load(); });
  const keep = button(t("pictures.keep"), () => busy(keep, async () => {
    await live.request("cases-keep");
    await load();
    toast(t("pictures.kept"), { kind: "ok" });
  }));
  const turnOn = button(t("pictures.turnOn"), () => busy(turnOn, async () => {
    await live.post("/api/settings", { cases: { request: true, margin: 0.2 } });
    toast(t("pictures.on"), { kind: "ok" });
  }), "primary");
  const off = h("div", { class: "note row", hidden: true }, h("p", {}, t("pictures.off")), turnOn);
  const save = h("a", { class: "button", download: "" }, t("pictures.export"));
  node.querySelector(".head").append(age, keep, uploads.button, save);
  node.append(off, tabs, div("cards wide start", classList.node, filters.node), note, uploads.node, bar, cells.node, para("row", more));
  live.listen(drawOff);

  function drawOff() {
    const config = live.settings().cases;
    if (!config) return;
    keep.hidden = !config.request;
    off.hidden = [...REASONS, "every_s"].some((key) => config[key]);
  }

  async function load(further = false) {
    const mine = ++asking;
    const query = new URLSearchParams(filters.values());
    if (shown !== null) query.set("class", shown);
    if (further && next) query.set("before", next);
    query.set("limit", PAGE);
    try {
      const [page, known] = [await live.get(`/api/cases?${query}`), await live.get("/api/classes")];
      if (mine !== asking) return;
      take(known);
      next = page.next;
      loadedMs = Date.now();
      cells.show(page.cases, further);
      write(note, cells.size() ? "" : t(total() ? "pictures.noneHere" : "pictures.none"));
    } catch (error) {
      write(note, live.fault(error));
    }
    draw();
  }

  function draw() {
    more.hidden = !next;
    drawOff();
    const state = JSON.stringify([classes, unsorted, shown]);
    if (state !== drawn) {
      drawn = state;
      const tab = (name, text, n) => button([text, " ", span("soft", number(n))], () => { shown = name; load(); }, "", { "aria-pressed": String(name === shown) });
      tabs.replaceChildren(tab("unsorted", t("pictures.unsorted"), unsorted), ...classes.map(([name, n]) => tab(name, name, n)), tab(null, t("pictures.all"), total()));
      targets.replaceChildren(...classes.map(([name], n) => button([n < 9 ? h("kbd", {}, n + 1) : "", name], () => sort(n + 1))));
      acts.replaceChildren(button([h("kbd", {}, "0"), t("pictures.unsorted")], () => sort(0)), button(t("pictures.delete"), remove, "danger"), button([h("kbd", {}, "u"), t("pictures.undo")], takeBack, "undo"));
      classList.draw(classes);
      save.href = one() ? `/api/cases/export.tar?class=${encodeURIComponent(shown)}` : "/api/cases/export.tar";
      write(save, one() ? t("pictures.exportOne", { name: shown }) : t("pictures.export"));
      save.hidden = !classes.some(([name, n]) => n && (!one() || name === shown));
    }
    onselect();
  }

  function onselect() {
    const n = cells.chosen().length;
    write(count, n ? t("pictures.selected", { n }) : hint);
    for (const control of bar.querySelectorAll("button")) control.disabled = control.classList.contains("undo") ? !undo : !n;
    toggle(bar, "active", n);
    bar.hidden = filters.node.hidden = !cells.size() && !total();
  }

  async function sort(number_, names = cells.chosen()) {
    const to = number_ ? classes[number_ - 1]?.[0] : null;
    if (to === undefined) return announce(t("pictures.noClass", { n: number_ }));
    if (!names.length) return;
    await attempt(async () => {
      const done = await live.post("/api/cases/sort", { names, class: to });
      undo = done.undo || undo;
      const text = t("pictures.sorted", { n: done.sorted, name: to ?? t("pictures.unsorted") });
      toast(done.error ? `${text} ${done.error}` : text, { kind: done.error ? "warning" : "ok", action: undo && t("pictures.undo"), onaction: takeBack });
      if (shown === null) for (const name of names) cells.mark(name, to);
      else if ((to ?? "unsorted") !== shown) cells.take(names.filter((name) => !done.missing.includes(name)));
      await refresh();
    });
  }

  // Counts, and a further page where this one has become empty.
  async function refresh() {
    if (!cells.size()) return load();
    take(await live.get("/api/classes"));
    draw();
  }

  const total = () => classes.reduce((sum, [, n]) => sum + n, unsorted);
  const one = () => shown !== null && shown !== "unsorted"; // a class is shown

  function take(known) {
    classes = Object.entries(known.classes);
    ({ unsorted } = known);
  }

  async function takeBack() {
    if (!undo) return announce(t("pictures.nothing"));
    const token = undo;
    undo = null;
    await attempt(async () => {
      const done = await live.post("/api/cases/undo", { undo: token });
      toast(t("pictures.undone", { n: done.restored }), { kind: "ok" });
    });
    await load();
  }

  async function remove() {
    const names = cells.chosen();
    if (!names.length || !(await confirm(t("pictures.sure", { n: names.length }), t("pictures.delete")))) return;
    await attempt(async () => {
      const done = await live.post("/api/cases/delete", { names });
      cells.take(names);
      toast(t("pictures.deleted", { n: done.deleted }), { kind: "ok" });
      await refresh();
    });
  }

  function closely(row) {
    const facts = Object.entries({
      class: row.class ?? t("pictures.unsorted"), time: row.time ? when(row.time) : null, reason: row.reason && t(`pictures.why.${row.reason}`), label: row.reason ? row.label ?? t("now.uncertain") : null, model: row.model, scores: Object.entries(row.scores).map(([name, value]) => `${name} ${percent(value)}`).join(", "),
    }).filter(([, text]) => text).map(([key, text]) => h("div", {}, h("dt", {}, t(`pictures.${key}`)), h("dd", {}, text)));
    const dialog = h("dialog", { class: "closely", "aria-label": row.name, onclose: () => { dialog.remove(); cells.focus(); } },
      h("img", { src: `/api/cases/${row.name}.jpg`, alt: alt(row) }), h("dl", { class: "facts" }, facts),
      div("row", classes.slice(0, 9).map(([name], n) => button([h("kbd", {}, n + 1), name], () => { dialog.close(); sort(n + 1, [row.name]); }))),
      h("form", { method: "dialog", class: "row end" }, h("button", { autofocus: true }, t("close"))));
    dialog.addEventListener("keydown", (event) => {
      if (/^[0-9]$/.test(event.key)) { dialog.close(); sort(Number(event.key), [row.name]); }
    });
    document.body.append(dialog);
    dialog.showModal();
  }

  return {
    node,
    open() { if (!isOpen) load(); isOpen = true; },
    close() { isOpen = false; },
    key: (event) => cells.key(event),
  };
}

function makeFilters(changed) {
  const any = h("option", { value: "" }, t("pictures.any"));
  const reason = h("select", { id: "reason", onchange: changed }, any, REASONS.map((name) => h("option", { value: name }, t(`pictures.why.${name}`))));
  const label = h("input", { id: "label", list: "labels", onchange: changed, autocomplete: "off" });
  const low = h("input", { id: "low", type: "number", min: 0, max: 100, step: 5, placeholder: "0", onchange: changed });
  const high = h("input", { id: "high", type: "number", min: 0, max: 100, step: 5, placeholder: "100", onchange: changed });
  const date = h("input", { id: "date", type: "date", onchange: changed });
  const known = h("datalist", { id: "labels" });
  live.listen((topic) => { if (topic === "info" || !known.children.length) known.replaceChildren(...(live.info()?.model.labels ?? []).map((name) => h("option", { value: name }))); });
  const clear = button(t("pictures.clear"), () => { for (const field of [reason, label, low, high, date]) field.value = ""; changed(); });
  return {
    node: h("details", { class: "card filters" }, h("summary", {}, t("pictures.filter")), div("row",
      pair(t("pictures.reason"), reason), pair(t("pictures.label"), label), known, pair(t("pictures.low"), low), pair(t("pictures.high"), high), pair(t("pictures.day"), date), clear)),
    values() {
      const start = date.value ? new Date(`${date.value}T00:00`).getTime() / 1000 : null;
      const all = { reason: reason.value, label: label.value.trim(), min_score: low.value && low.value / 100, max_score: high.value && high.value / 100, since: start, until: start && start + 86400 };
      return Object.fromEntries(Object.entries(all).filter(([, value]) => value !== "" && value !== null));
    },
  };
}
