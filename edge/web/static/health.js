// Health: what `edge doctor` finds, worst first.
import { busy, button, div, h, signed, soft, span, t, write } from "/dom.js";
import * as live from "/live.js";

const ORDER = ["fault", "warning", "unknown", "ok"];
const FRESH_MS = 120000;

export function make(node) {
  const list = h("ul", { class: "checks" }), sum = h("p", { class: "verdict", role: "status" }), box = div("card");
  let takenMs = null, failed = false;
  const again = button(t("health.again"), look);
  const age = live.aged(() => takenMs, () => failed || Date.now() - takenMs > FRESH_MS, box);
  node.querySelector(".head").append(age, again);
  box.append(sum, list);
  node.append(soft(t("health.what")), box);

  async function look() {
    if (!takenMs) write(sum, t("health.looking"));
    await busy(again, async () => {
      try {
        const report = await live.get("/api/doctor");
        takenMs = Date.now() - 1000 * report.age_s;
        failed = false;
        draw(report);
      } catch (error) {
        failed = true;
        write(sum, live.fault(error));
      }
    });
  }

  function draw({ checks, version }) {
    const count = (verdict) => checks.filter((one) => one.verdict === verdict).length;
    const faults = count("fault"), warnings = count("warning");
    write(sum, faults ? t("health.faults", { n: faults }) : warnings ? t("health.warnings", { n: warnings }) : t("health.fine", { version }));
    const sorted = [...checks].sort((a, b) => ORDER.indexOf(a.verdict) - ORDER.indexOf(b.verdict));
    list.replaceChildren(...sorted.map(({ name, verdict, line, hint }) => h("li", { class: verdict },
      h("span", { class: "sign", "data-kind": verdict }, signed(verdict, t(`health.is.${verdict}`))), h("strong", {}, name), span("line", line),
      hint && span("hint soft", t("health.hint", { hint })))));
  }
  return { node, open() { if (!takenMs || Date.now() - takenMs > FRESH_MS) look(); } };
}
