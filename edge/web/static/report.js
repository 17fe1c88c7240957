// What teaching has reported: accuracy, confusion one can look into, suspects first.
import { busy, button, card, div, h, number, para, percent, scroll, signed, soft, span, t, table, toast, toggle, write } from "/dom.js";
import * as live from "/live.js";

const SHOWN = 24;
const words = (text) => text.replace(/`([^`]*)`/g, "“$1”"); // the server quotes labels so

export function report(job, installed, resorted) {
  const { report: said } = job, labels = Object.keys(said.classes), [low, high] = said.interval;
  const bar = h("div", { class: "interval", role: "img", "aria-label": t("report.range", { low: percent(low, 1), high: percent(high, 1) }), "--low": low, "--high": high, "--at": said.accuracy }, span("reach"), span("at"));
  const install = button(t("report.install"), () => busy(install, async () => {
    const { model } = await live.post("/api/teach/install", {});
    toast(t("report.installed", { model }), { kind: "ok" });
    await installed();
  }), "primary");
  const look = div("look");
  const result = card(t("report.title", { name: job.name }), {},
    para("big", percent(said.accuracy, 1)), soft(t("report.range", { low: percent(low, 1), high: percent(high, 1) })), bar,
    h("p", {}, h("strong", {}, said.verdict === "enough" ? signed("ok", t("report.enough")) : signed("warning", words(said.verdict)))),
    said.warnings.length > 0 && h("ul", { class: "warnings" }, said.warnings.map((text) => h("li", { "data-kind": "warning" }, signed("warning", words(text))))),
    div("row", job.installed ? para("note", signed("ok", t("report.is", { model: job.installed }))) : install));
  const suspects = said.suspects.filter((one) => one.case);
  const doubtful = card(t("report.suspects", { n: said.suspects.length }), {}, soft(t(suspects.length ? "report.suspectsWhat" : "report.noSuspects")),
    div("thumbs", suspects.slice(0, SHOWN).map((one) => thumb(one, one.looks_like, resorted))));
  const confusion = card(t("report.confusion"), {}, soft(t("report.confusionWhat")), matrix(said, labels, look, resorted), look);
  const rows = labels.map((label) => [label, number(said.classes[label].pictures), number(said.classes[label].moments), percent(said.classes[label].right)]);
  const classes = card(t("report.classes"), {}, table(t("report.classes"), [t("pictures.class"), t("report.pictures"), t("report.moments"), t("report.right")], rows),
    new Set(said.curve.map((one) => one.pictures)).size > 1 && [h("h3", {}, t("report.curve")), table(t("report.curve"), [t("report.pictures"), t("report.accuracy")], said.curve.map((one) => [number(one.pictures), percent(one.accuracy, 1)]))],
    said.unread.length > 0 && h("details", {}, h("summary", {}, t("report.unread", { n: said.unread.length })), table(t("report.unread", { n: said.unread.length }), [t("upload.file"), t("upload.why")], said.unread.map((one) => [one.picture, one.reason]), { figures: 9 })));
  return [div("cards wide start", result, doubtful), div("cards wide start", confusion, classes)];
}

// Rows: what the pictures are; columns: what they were taken for. A wrong one opens its pictures.
function matrix(said, labels, look, resorted) {
  const most = Math.max(1, ...said.confusion.flat());
  const cell = (n, row, column) => {
    if (row === column || !n) return h("td", { class: `figure ${row === column ? "right" : ""}`, "--share": n / most }, number(n));
    const name = t("report.taken", { n, label: labels[row], other: labels[column] });
    return h("td", { class: "figure wrong", "--share": n / most }, button(number(n), () => show(row, column, name), "", { "aria-label": name }));
  };
  const show = (row, column, name) => {
    const wrong = said.wrong.filter((one) => one.case && one.label === labels[row] && one.taken_for === labels[column]);
    look.replaceChildren(h("h3", { tabindex: "-1" }, name), div("thumbs", wrong.slice(0, SHOWN).map((one) => thumb(one, one.taken_for, resorted))));
    look.querySelector("h3").focus();
  };
  return scroll(t("report.confusion"), "", h("table", { class: "matrix" },
    h("caption", { class: "unseen" }, t("report.confusion")),
    h("thead", {}, h("tr", {}, h("th", { scope: "col" }, t("report.isFor")), labels.map((label) => h("th", { scope: "col", class: "figure" }, label)))),
    h("tbody", {}, labels.map((label, row) => h("tr", {}, h("th", { scope: "row" }, label), said.confusion[row].map((n, column) => cell(n, row, column)))))));
}

// A picture that is in one class and looks like another; it can be sorted there.
function thumb(one, other, resorted) {
  const state = soft(t("report.like", { label: one.label, other, score: percent(one.score) }));
  const move = (to) => async (event) => {
    await busy(event.currentTarget, async () => {
      await live.post("/api/cases/sort", { names: [one.case], class: to });
      write(state, t("report.moved", { name: to ?? t("pictures.unsorted") }));
      toggle(node, "moved", true);
      await resorted();
    });
  };
  const node = h("figure", {}, h("img", { src: `/api/cases/${encodeURIComponent(one.case)}.jpg?width=240`, alt: t("report.like", { label: one.label, other, score: percent(one.score) }), loading: "lazy" }), state,
    div("row", button(t("report.to", { name: other }), move(other)), button(t("report.out"), move(null))));
  return node;
}
