// Health: what `edge doctor` finds, worst first; other devices on the same broker.
import { ago, busy, button, card, div, h, number, signed, soft, span, t, table, when, write } from "/dom.js";
import * as live from "/live.js";

const ORDER = ["fault", "warning", "unknown", "ok"];
const FRESH_MS = 120000;

// What a button asks of an address: `draw` gets the answer; `line` says what happens.
function question(path, text, meanwhile, line, box, draw) {
  let takenMs = null, failed = false;
  const isOld = () => failed || Date.now() - takenMs > FRESH_MS, control = button(t(text), ask);
  async function ask() {
    if (!takenMs) write(line, t(meanwhile));
    await busy(control, async () => {
      try {
        const answer = await live.get(path);
        takenMs = Date.now() - 1000 * answer.age_s;
        failed = false;
        draw(answer);
      } catch (error) {
        failed = true;
        write(line, live.fault(error));
      }
    });
  }
  return { parts: [live.aged(() => takenMs, isOld, box), control], open() { if (!takenMs || isOld()) ask(); } };
}

export function make(node) {
  const list = h("ul", { class: "checks" }), sum = h("p", { class: "verdict", role: "status" }), box = div("card", sum, list);
  const { parts, open } = question("/api/doctor", "health.again", "health.looking", sum, box, ({ checks, version }) => {
    const count = (verdict) => checks.filter((one) => one.verdict === verdict).length;
    const faults = count("fault"), warnings = count("warning");
    write(sum, faults ? t("health.faults", { n: faults }) : warnings ? t("health.warnings", { n: warnings }) : t("health.fine", { version }));
    const sorted = [...checks].sort((a, b) => ORDER.indexOf(a.verdict) - ORDER.indexOf(b.verdict));
    list.replaceChildren(...sorted.map(({ name, verdict, line, hint }) => h("li", { class: verdict },
      h("span", { class: "sign", "data-kind": verdict }, signed(verdict, t(`health.is.${verdict}`))), h("strong", {}, name), span("line", line),
      hint && span("hint soft", t("health.hint", { hint })))));
  });
  node.querySelector(".head").append(...parts);
  node.append(soft(t("health.what")), box, others());
  return { node, open };
}

function others() {
  const line = h("p", { class: "soft", role: "status" }, t("fleet.what")), rows = h("div"), box = card(t("fleet.title"), {}, line, rows);
  const head = ["fleet.device", "fleet.state", "now.label", "fleet.since", "fleet.said", "machine.version"].map((name) => t(name));
  const { parts } = question("/api/fleet", "fleet.look", "fleet.what", line, box, ({ devices, own, left_out: n }) => {
    write(line, n ? t("fleet.more", { n: number(n) }) : devices.length ? "" : t(own ? "fleet.alone" : "fleet.nothing"));
    rows.replaceChildren(devices.length ? table(t("fleet.title"), head, devices.map(row), { figures: 9 }) : "");
  });
  box.querySelector("header").append(span("pair", ...parts));
  return box;
}

// Others may say anything: only an address of the web becomes a link.
function row({ id, online, label, since, said, paused, version, page }) {
  const kind = online ? "ok" : online === false ? "fault" : "unknown", spoke = since !== null;
  return [/^https?:\/\//.test(page) ? h("a", { href: page, rel: "noreferrer" }, id) : id, h("span", { "data-kind": kind }, signed(kind, t(`fleet.is.${kind}`))),
    spoke && (paused ? t("now.paused") : label ?? t("now.uncertain")), spoke && when(since), said && ago(live.nowS() - said), version];
}
