// Teach: what there is to teach with, the job, its report, and the way of a model to work.
import { busy, button, card, div, h, number, pair, para, signed, soft, span, t, toast, toggle, write } from "/dom.js";
import * as live from "/live.js";
import { report } from "/report.js";
import { trial } from "/trial.js";

const START = 20; // pictures of a class, docs/teaching.md
const GOOD = 100;
const EVERY_MS = 1000;

export function make(node) {
  let isOpen = false, timer = 0, classes = {}, drawn = "", state = "";
  const counts = h("ul", { class: "counts" }), hint = para("note");
  const name = h("input", { id: "teach-name", required: true, pattern: "[A-Za-z0-9][A-Za-z0-9_.\\-]{0,39}", value: "scene", maxlength: 40, autocomplete: "off" });
  const sizes = h("div", { class: "choices", role: "radiogroup", "aria-label": t("teach.features") }, ["features", "features-large"].map((value, n) =>
    h("label", { class: "check" }, h("input", { type: "radio", name: "features", value, checked: !n }), t(`teach.is.${value}`))));
  const empty = div("row");
  const go = h("button", { class: "primary" }, t("teach.go"));
  const form = h("form", { class: "card", onsubmit: (event) => { event.preventDefault(); begin(); } },
    h("header", {}, h("h2", {}, t("teach.step2"))), soft(t("teach.how")), pair(t("teach.name"), name), sizes,
    h("fieldset", {}, h("legend", { class: "soft" }, t("teach.background")), empty), div("row", go));
  const progress = h("progress", { max: 1, value: 0, "aria-label": t("teach.running") }), line = h("p", { role: "status" });
  const cancel = button(t("teach.cancel"), () => busy(cancel, async () => { await live.post("/api/teach/cancel", {}); await look(); }));
  const running = h("section", { class: "card", hidden: true }, h("h2", {}, t("teach.running")), progress, line, div("row", cancel));
  const failed = h("p", { class: "note", "data-kind": "fault", role: "alert" });
  const place = div("section"), use = trial();
  let takenMs = null;
  const collect = card(t("teach.step1"), { age: live.aged(() => takenMs) }, counts, hint, para("row", h("a", { class: "button", href: "#/pictures" }, t("teach.sort"))));
  node.append(soft(t("teach.what")), div("cards wide", collect, form), running, failed, place, use.node);

  async function load() {
    try {
      const known = await live.get("/api/classes");
      classes = known.classes;
      takenMs = Date.now();
      drawCounts();
      await look();
    } catch (error) {
      write(hint, live.fault(error));
      go.disabled = true;
    }
  }

  function drawCounts() {
    const rows = Object.entries(classes), ready = rows.filter(([, n]) => n > 0);
    counts.replaceChildren(...rows.map(([label, n]) => h("li", {}, span("label", label),
      h("span", { class: "bar", "aria-hidden": "true" }, h("span", { class: "fill", "--share": Math.min(1, n / GOOD) }), h("span", { class: "tick enter", "--enter": START / GOOD })),
      span("figure", number(n)), span("soft", t(n === 0 ? "teach.left" : n < START ? "teach.few" : n < GOOD ? "teach.start" : "teach.good", { n: START - n })))));
    const least = Math.min(...ready.map(([, n]) => n));
    write(hint, ready.length < 2 ? t("teach.two") : least < START ? t("teach.more", { n: START }) : "");
    go.disabled = ready.length < 2;
    const before = new Map([...empty.querySelectorAll("input")].map((box) => [box.value, box.checked]));
    empty.replaceChildren(...ready.map(([label]) => {
      const guess = /^(neither|none|nothing|empty|background)$/i.test(label);
      return h("label", { class: "check" }, h("input", { type: "checkbox", value: label, checked: before.get(label) ?? guess }), label);
    }));
  }

  async function begin() {
    const background = [...empty.querySelectorAll("input:checked")].map((box) => box.value);
    await busy(go, async () => { await live.post("/api/teach", { name: name.value, features: sizes.querySelector(":checked").value, background }); });
    await look();
  }

  async function look() {
    clearTimeout(timer);
    const job = await live.get("/api/teach");
    if (state === "running" && job.state === "done") toast(t("teach.done"), { kind: "ok" });
    if (state === "running" && job.state !== "running") load();
    state = job.state;
    running.hidden = state !== "running";
    go.disabled = state === "running" || Object.values(classes).filter(Boolean).length < 2;
    progress.value = job.progress;
    write(line, t("teach.line", { share: number(job.progress * 100), line: job.line }));
    write(failed, job.error ? signed("fault", job.error) : "");
    const key = JSON.stringify([job.name, job.version, job.installed, job.report?.accuracy, job.report?.confusion]);
    if (job.report && key !== drawn) {
      drawn = key;
      if (name.value === "scene") name.value = job.name;
      place.replaceChildren(...report(job, look, load));
    } else if (!job.report && state !== "running") place.replaceChildren();
    toggle(place, "waiting", state === "running");
    use.draw(job.installed);
    if (isOpen && state === "running") timer = setTimeout(again, EVERY_MS);
  }
  const again = () => look().catch(() => { timer = setTimeout(again, 3000); });

  return {
    node,
    open() { isOpen = true; load(); use.open(); },
    close() { isOpen = false; clearTimeout(timer); use.close(); },
  };
}
