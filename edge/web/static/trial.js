// From a taught model to the one at work: tried as a shadow, promoted, rolled back.
import { busy, button, card, confirm, div, duration, facts, h, number, para, percent, signed, soft, span, t, table, toast } from "/dom.js";
import * as live from "/live.js";

const SECONDS = 604800; // a week

export function trial() {
  const list = h("div"), place = h("div"), figures = facts("trial");
  const stop = button(t("trial.stop"), () => act(stop, "shadow", { action: "stop" }, t("trial.stopped")));
  const promote = button(t("trial.promote"), () => useModel(promote, trying()), "primary");
  const back = button(t("trial.back"), async () => {
    if (await confirm(t("trial.sureBack", { model: before }), t("trial.back"))) await act(back, "model", { action: "rollback" }, t("trial.backDone"));
  }, "", { hidden: true });
  const beside = live.dated(card(t("trial.beside"), {}, soft(t("trial.besideWhat")), figures.node, place, div("row", promote, stop)), "telemetry");
  const models = card(t("trial.models"), {}, list, div("row", back));
  const node = div("cards wide start", models, beside);
  let end = null, known = null, before = "", newest = null, tried;
  const shadow = () => live.said("telemetry")?.shadow, trying = () => shadow()?.model.replace(" ", "@");

  async function act(control, command, payload, done) {
    await busy(control, async () => {
      await live.request(command, payload);
      toast(done, { kind: "ok" });
    });
    await load();
  }

  const useModel = (control, name) => act(control, "model", { action: "use", name }, t("trial.at", { model: name }));
  const start = (control, name) => act(control, "shadow", { action: "start", name, seconds: SECONDS }, t("trial.started", { model: name }));

  async function load() {
    try {
      known = await live.request("model", { action: "list" });
      before = known.before ?? "";
      drawModels();
    } catch (error) {
      list.replaceChildren(para("note", error.message));
    }
    drawShadow();
  }

  function drawModels() {
    const model = live.info()?.model, now = model && `${model.name}@${model.version}`;
    tried = trying();
    back.hidden = !before;
    const rows = known.models.filter(({ name }) => !name.startsWith("features")).map(({ name, bytes: size }) => {
      const atWork = name === known.in_use || name === now || name === model?.name;
      const tryIt = button(t("trial.try"), () => start(tryIt, name)), use = button(t("trial.use"), () => useModel(use, name));
      const drop = button(t("trial.remove"), () => act(drop, "model", { action: "remove", name }, t("trial.removed", { model: name })), "danger");
      return h("li", { class: "row" }, h("strong", {}, name), name === newest && span("soft", t("trial.newest")),
        atWork ? h("span", { "data-kind": "ok" }, signed("ok", t("trial.atWork"))) : name === tried ? [t("trial.beside"), use] : [tryIt, use, size !== null && drop]);
    });
    list.replaceChildren(h("ul", { class: "classes" }, rows));
  }

  function drawShadow() {
    const at = shadow();
    beside.hidden = !at;
    if (!at) return;
    const share = (part) => (part?.frames ? t("trial.share", { share: percent(part.agreement, 1), n: number(part.frames) }) : t("trial.none"));
    figures.set("model", at.model);
    figures.set("state", t(`shadow.is.${at.state}`), { working: "ok", failed: "fault", loading: "", at_work: "ok" }[at.state]);
    figures.set("reason", at.reason, at.state === "failed" ? "fault" : "");
    figures.set("hour", share(at.hour));
    figures.set("all", share(at.total));
    figures.set("smoothed", share(at.total && { frames: at.total.smoothed_frames, agreement: at.total.smoothed_agreement }));
    figures.set("time", at.time_ms && t("frames.ms", { p50: number(at.time_ms.p50, 1), p99: number(at.time_ms.p99, 1) }));
    figures.set("for", duration(at.running_s));
    promote.hidden = at.state !== "working";
    const pairs = Object.entries(at.confusion ?? {}).flatMap(([ours, row]) => Object.entries(row).map(([theirs, n]) => [ours, theirs, n])).sort((a, b) => b[2] - a[2]);
    place.replaceChildren(pairs.length ? table(t("trial.pairs"), [t("trial.now"), t("trial.candidate"), t("trial.times")], pairs.map(([ours, theirs, n]) => [ours, `${ours === theirs ? "=" : "≠"} ${theirs}`, number(n)]), { figures: 2, shown: true }) : "");
  }

  drawShadow();
  return {
    node,
    models,
    draw(installed) { if (newest !== installed) { newest = installed; load(); } },
    open() { load(); end = live.listen((topic) => { if (topic === "telemetry") { drawShadow(); if (known && tried !== trying()) drawModels(); } if (topic === "info" && known) load(); }); },
    close() { end?.(); },
  };
}
