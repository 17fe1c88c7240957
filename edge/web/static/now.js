// Now: what the device sees, and how it is. Every figure with its age.
import { busy, button, bytes, card, clock, div, duration, facts, h, number, para, percent, score, span, t, table, toggle, when, write } from "/dom.js";
import { eventText } from "/events.js";
import * as live from "/live.js";
import { camera, taken } from "/camera.js";

const THROTTLED = ["under_voltage", "frequency_capped", "throttled", "soft_temperature_limit"];

export function make(node) {
  const picture = camera(), parts = [seen(), newest(), frames(), cameraCard(), broker(), machine(), model(), more()];
  const [label, events, ...rest] = parts.map((part) => part.node);
  node.append(div("hero", picture.node, label, events), div("cards", rest), times());
  let stop = null;
  const draw = () => parts.forEach((part) => part.draw());
  return {
    node,
    open() { draw(); stop = live.listen(draw); picture.open(); },
    close() { stop?.(); picture.close(); },
  };
}

// A row of a label: its score as a bar, with the thresholds drawn.
export function bars() {
  const list = h("ul", { class: "bars" });
  const rows = new Map();
  return {
    node: list,
    draw(scores, label, thresholds) {
      for (const [name, row] of rows) if (!(name in scores)) { row.node.remove(); rows.delete(name); }
      for (const [name, value] of Object.entries(scores)) {
        if (!rows.has(name)) {
          const figure = span("figure"), mark = span("unseen");
          const bar = h("span", { class: "bar", "aria-hidden": "true" }, span("fill"), span("tick enter"), span("tick exit"));
          rows.set(name, { node: h("li", {}, span("label", name, mark), bar, figure), bar, figure, mark });
        }
        const row = rows.get(name);
        list.append(row.node);
        toggle(row.node, "chosen", name === label);
        write(row.mark, name === label ? t("now.chosen") : "");
        write(row.figure, score(value));
        row.bar.style.setProperty("--share", value);
        row.bar.style.setProperty("--enter", thresholds?.enter ?? 2);
        row.bar.style.setProperty("--exit", thresholds?.exit ?? 2);
      }
    },
  };
}

function seen() {
  const label = para("big"), figure = span("score"), since = para("since");
  const note = para("note"), rule = para("soft"), scores = bars();
  const pause = button("", () => busy(pause, () => live.request(live.said("state")?.paused ? "resume" : "pause")));
  const keep = button(t("now.keep"), () => busy(keep, async () => {
    const { name } = await live.request("cases-keep");
    write(note, t("now.kept", { name }));
  }));
  const said = live.dated(card(t("now.label"), { kind: "said" }, label, para("under", figure), since, scores.node, rule, note,
    div("row", pause, keep)), "state");
  return {
    node: said,
    draw() {
      const state = live.said("state");
      pause.disabled = Boolean(live.away());
      pause.hidden = !state;
      keep.hidden = !live.settings().cases?.request;
      toggle(label, "none", !state || state.paused || state.label === null);
      if (!state) return write(label, t("now.nothing"));
      const text = state.paused ? t("now.paused") : state.label ?? t("now.uncertain");
      write(label, text);
      const best = Object.entries(state.scores).sort((a, b) => b[1] - a[1])[0];
      write(figure, state.label === null && best ? t("now.best", { label: best[0], score: score(best[1]) }) : t("now.score", { score: score(state.score) }));
      const beganS = state.ts - state.since_s;
      write(since, t("now.since", { time: duration(state.since_s + Math.max(0, live.old("state") ? 0 : (Date.now() - live.saidMs("state")) / 1000)), clock: clock(beganS) }));
      const thresholds = live.info()?.thresholds ?? live.settings().smoothing;
      scores.draw(state.scores, state.label, thresholds);
      if (thresholds?.enter != null) write(rule, t("now.rule", { enter: score(thresholds.enter), exit: score(thresholds.exit), n: live.settings().smoothing?.hold_frames ?? 1 }));
      if (state.partial) write(note, t("now.partial"));
      else if (note.textContent === t("now.partial")) write(note, "");
      write(pause, state.paused ? t("now.resume") : t("now.pause"));
    },
  };
}

// A card of facts: {draw, node}; `fill` gets a payload and what sets a row.
function factCard(name, topic, fill) {
  const list = facts(name);
  const node = live.dated(card(t(`${name}.title`), {}, list.node), topic);
  return { node, draw() {
    const payload = live.said(topic);
    node.hidden = !payload;
    if (payload) fill(payload, list.set, live.info());
  } };
}

const some = (n) => (n ? number(n) : "");

const frames = () => factCard("frames", "telemetry", (said, set) => {
  const ms = said.stages_ms.latency;
  const skipped = Object.entries(said.plugs?.skipped_total ?? {}).map(([why, n]) => `${why} ${number(n)}`);
  set("fps", t("frames.rate", { fps: number(said.fps, 1) }), said.camera_problem ? "fault" : "");
  set("latency", ms && t("frames.ms", { p50: number(ms.p50, 1), p99: number(ms.p99, 1) }));
  set("total", number(said.frames_total));
  set("dropped", number(said.dropped_total));
  set("skipped", skipped.join(", "));
  set("corrupt", some(said.corrupt_total), "warning");
  set("invalid", some(said.invalid_scores_total), "warning");
});

const cameraCard = () => factCard("camera", "info", (said, set) => {
  const { camera: at, config } = said, roi = config.camera?.roi ?? [0, 0, 1, 1];
  set("state", t(`camera.is.${at.state}`), { online: "ok", recovering: "warning", failed: "fault" }[at.state]);
  set("error", at.error);
  set("source", at.source);
  set("device", at.device);
  set("size", t("camera.pixels", { width: at.width, height: at.height, format: at.format }));
  set("rate", at.fps ? t("frames.rate", { fps: number(at.fps, 1) }) : "");
  set("turned", config.camera?.rotation ? t("camera.degrees", { n: config.camera.rotation }) : "");
  const share = taken(said.model, at.width / at.height).reduce((all, side) => all * side, roi[2] * roi[3]);
  set("part", share > 0.999 ? t("camera.whole") : t("camera.some", { share: percent(share) }));
});

// The daemon drops telemetry while its broker is away, and counts it: two messages tell.
function broker() {
  let before = null, newest = null;
  return factCard("broker", "telemetry", (said, set, info) => {
    if (newest?.ts !== said.ts) [before, newest] = [newest?.uptime_s < said.uptime_s ? newest : null, said];
    const mqtt = info?.config.mqtt, away = said.unsent_total > before?.unsent_total;
    set("address", mqtt && `${mqtt.host}:${mqtt.port || (mqtt.tls ? 8883 : 1883)}${mqtt.tls ? " (TLS)" : ""}`);
    if (!before) set("state", t("broker.unknown"));
    else set("state", t(away ? "broker.away" : "broker.reached"), away ? "warning" : "ok");
    set("waiting", number(said.spooled), said.spooled > 20 ? "warning" : "");
    set("lost", number(said.unsent_total));
    set("again", number(said.reconnects_total));
    set("disk", some(said.spool_failures_total), "warning");
  });
}

const model = () => factCard("model", "info", ({ model: at }, set) => {
  set("name", `${at.name} ${at.version}`);
  set("labels", at.labels.length > 8 ? t("model.many", { n: number(at.labels.length) }) : at.labels.join(", "));
  set("runtime", t("model.with", { runtime: at.runtime, kind: at.kind, n: at.threads }));
  set("accelerated", at.xnnpack ? t("model.xnnpack", { share: percent(at.delegated_share) }) : t("model.plain"), at.xnnpack ? "" : "warning");
  set("proof", t(`model.golden.${at.golden}`), at.golden === "passed" ? "ok" : "");
});

const machine = () => factCard("machine", "telemetry", (said, set, info) => {
  const bits = said.throttled_bits, hot = said.temperature_celsius;
  set("temperature", hot == null ? t("machine.none") : t("machine.celsius", { v: number(hot, 1) }), hot >= 80 ? "fault" : hot >= 70 ? "warning" : "");
  const now = THROTTLED.filter((_, bit) => bits & (1 << bit));
  set("throttled", bits == null ? t("machine.none") : now.length ? now.map((one) => t(`machine.${one}`)).join(", ") : t("machine.full"), bits == null ? "" : now.length ? "warning" : "ok");
  set("memory", bytes(said.pss_bytes ?? said.rss_bytes));
  set("cpu", said.cpu_share == null ? "" : t("machine.core", { share: percent(said.cpu_share) }));
  set("load", said.load_1m == null ? "" : number(said.load_1m, 2));
  set("clock", said.cpu_clock_hz ? t("machine.mhz", { v: number(said.cpu_clock_hz / 1e6) }) : "");
  set("up", duration(said.uptime_s));
  set("version", info?.version);
});

// Drift, and parts that an error has switched off.
const more = () => {
  const part = factCard("more", "telemetry", (said, set) => {
    const { drift, plugs } = said;
    set("failed", plugs?.failed.join(", "), "fault");
    set("drift", drift && (drift.reason || (drift.origin === "learning" ? t("more.learning", { share: percent(drift.learnt_share) }) : t("more.usual"))), drift?.reason ? "warning" : drift?.origin === "learning" ? "" : "ok");
    part.node.hidden = !drift && !plugs?.failed.length;
  });
  return part;
};

function newest() {
  const list = h("ol", { class: "events" });
  const node = card(t("now.events"), {}, list, para("row end", h("a", { href: "#/history" }, t("now.allEvents"))));
  let asked = -1, drawn = null;
  return { node, async draw() {
    if (asked !== live.begun) {
      asked = live.begun;
      const { events } = await live.get("/api/events?limit=10").catch(() => ({ events: [] }));
      const there = new Set(live.events.map((one) => one.payload.id));
      live.events.push(...events.filter((one) => !there.has(one.payload.id)).map((one) => ({ payload: one.payload, ms: one.received_s * 1000 })));
      live.events.sort((a, b) => b.payload.ts - a.payload.ts);
    }
    if (drawn === live.events[0]?.payload.id && list.children.length) return;
    drawn = live.events[0]?.payload.id;
    list.replaceChildren(...live.events.slice(0, 4).map(({ payload }) => h("li", {}, h("time", {}, when(payload.ts)), h("span", {}, eventText(payload)))));
    if (!drawn) list.replaceChildren(h("li", { class: "soft" }, t("now.noEvents")));
  } };
}

function times() {
  const place = h("div"), node = h("details", { class: "card", ontoggle: draw }, h("summary", {}, t("times.title")));
  const age = live.age("telemetry", node);
  node.append(para("soft", t("times.what"), " ", age), place);
  live.listen((topic) => { if (topic === "telemetry") draw(); });
  function draw() {
    const said = live.said("telemetry");
    if (!node.open || !said) return;
    const rows = Object.entries(said.stages_ms).map(([stage, ms]) => [t(`times.${stage}`).replace(/^times\./, ""), ...["p50", "p90", "p99", "max"].map((key) => number(ms[key], 2))]);
    place.replaceChildren(table(t("times.title"), [t("times.stage"), "p50", "p90", "p99", t("times.max")], rows));
  }
  return node;
}
