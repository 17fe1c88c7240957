// Settings: what a request or a reload can change, with the effect beside it.
import { busy, card, div, h, known, number, para, score, soft, t, toast, write } from "/dom.js";
import { camera } from "/camera.js";
import { fields } from "/form.js";
import * as live from "/live.js";
import { bars } from "/now.js";
import { region } from "/region.js";
import { texts } from "/texts.js";
import { trial } from "/trial.js";

// The keys that have a text, in the order of the texts. By `set` where the server says so, else saved and reloaded.
const GROUPS = texts.settings.keys;

export function make(node) {
  const forms = div("section"), note = para("note");
  const picture = camera(), scores = bars(), label = para("big"), rate = para("soft"), models = trial();
  const effect = live.dated(card(t("settings.effect"), {}, label, scores.node, rate), "state");
  const part = region(save);
  let all = null, preview = {}, end = null;
  node.append(soft(t("settings.what")), note, div("beside", forms, div("effects", effect, picture.node)));

  function drawEffect() {
    const state = live.said("state"), said = live.said("telemetry"), rule = live.info()?.thresholds;
    effect.hidden = !state;
    if (!state) return;
    write(label, state.paused ? t("now.paused") : state.label ?? t("now.uncertain"));
    const enter = preview.enter ?? rule?.enter, exit = preview.exit ?? rule?.exit;
    scores.draw(state.scores, state.label, { enter, exit });
    write(rate, [rule && t(preview.enter ?? preview.exit ? "settings.preview" : "settings.rule", { enter: score(enter), exit: score(exit) }), said && t("frames.rate", { fps: number(said.fps, 1) })].filter(Boolean).join(" · "));
  }

  async function load() {
    try {
      all = await live.get("/api/settings");
      write(note, "");
    } catch (error) {
      return write(note, live.fault(error));
    }
    const open = new Set([...forms.querySelectorAll("details[open]")].map((one) => one.dataset.name));
    const groups = Object.keys(GROUPS).map((name, n) => group(name, open.size ? open.has(name) : n === 0)).filter(Boolean);
    part.draw(all);
    models.models.querySelector("h2").textContent = t("settings.model");
    forms.replaceChildren(models.models, ...groups.slice(0, 4), part.node, ...groups.slice(4));
  }

  function group(name, open) {
    const inside = name === "controls";
    const schemas = inside ? all.choices.camera?.controls?.properties : all.choices[name];
    const pick = (tables) => (inside ? tables?.camera?.controls : tables?.[name]);
    if (!schemas) return null;
    const restarts = name === "camera", byRequest = inside || all.changeable.includes(name);
    const made = fields(name, Object.keys(GROUPS[name]).filter((key) => schemas[key]), schemas, pick(all.saved), restarts ? pick(all.saved) : pick(all.tables),
      (values) => { if (name === "smoothing") { preview = values; drawEffect(); } });
    const keep = h("input", { type: "checkbox", checked: true });
    const submit = h("button", { class: "primary" }, t(restarts ? "settings.saveLater" : "settings.save")), refused = h("p", { role: "alert", class: "refused" });
    const form = h("form", { class: "fields", novalidate: true, onsubmit: async (event) => {
      event.preventDefault();
      const changes = made.changes();
      if (!Object.keys(changes).length) return write(refused, t("settings.same"));
      write(refused, "");
      made.invalid("");
      await busy(submit, async () => {
        try {
          if (byRequest) {
            await live.request("set", { [inside ? "camera" : name]: changes, persist: keep.checked });
            toast(t(keep.checked ? "settings.inForce" : "settings.forNow"), { kind: "ok" });
          } else await save({ [name]: changes });
          preview = {};
          await load();
        } catch (error) {
          write(refused, live.fault(error));
          made.invalid(error.message);
        }
      });
    } }, made.node, refused, div("row", submit, byRequest && h("label", { class: "check" }, keep, t("settings.keep"))));
    return h("details", { class: "card", open, "data-name": name }, h("summary", {}, t(`settings.of.${name}`)), known(`settings.about.${name}`) && soft(t(`settings.about.${name}`)), form);
  }

  async function save(tables) {
    const done = await live.post("/api/settings", tables);
    const later = done.needs_restart.length || tables.camera;
    const text = !done.applied ? t("settings.later", { error: done.error }) : later ? t("settings.restart") : t("settings.inForce");
    toast(`${text} ${t("settings.where", { files: done.saved.join(", ") })}`, { kind: done.applied && !later ? "ok" : "warning" });
    return done;
  }

  return {
    node,
    open() { load(); models.open(); picture.open(); part.open(); drawEffect(); end = live.listen(drawEffect); },
    close() { end?.(); models.close(); picture.close(); part.close(); },
  };
}
