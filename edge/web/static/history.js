// History: labels and events as lanes of time, figures as plots.
import { bytes, card, clock, div, duration, h, number, pair, para, percent, signed, soft, span, t, table, toggle, when, write } from "/dom.js";
import { eventKind, eventText } from "/events.js";
import * as live from "/live.js";
import { moments, plot } from "/plot.js";

const EVERY_MS = 30000;
const HOURS = [0.25, 1, 6, 24, 168];
const LANES = 12;
const ms = { format: (v) => t("history.ms", { v: number(v, 1) }) };
// What is drawn of the series, and how it is written.
const PLOTS = {
  fps: [["fps"]],
  latency: [["latency_p50_ms", "latency_p99_ms"], ms],
  invoke: [["invoke_p50_ms"], ms],
  temperature: [["temperature_c"], { format: (v) => t("machine.celsius", { v: number(v, 1) }) }],
  memory: [["memory_bytes"], { format: bytes, axis: bytes }],
  drift: [["drift_psi_max"], { format: (v) => number(v, 2) }],
};

export function make(node) {
  const choice = h("select", { id: "hours", onchange() { begin = 0; load(); } }, HOURS.map((n) => h("option", { value: n, selected: n === 24 }, t(`history.hours.${n * 60}`))));
  const lanes = div("lanes"), axis = h("div", { class: "axis", "aria-hidden": "true" });
  const shares = h("div"), log = h("div"), empty = para("note");
  const line = h("section", { class: "card" });
  let begin = 0, takenMs = null, failed = false, timer = 0, isOpen = false;
  const age = live.aged(() => takenMs, () => failed || Date.now() - takenMs > 3 * EVERY_MS, line);
  line.append(h("header", {}, h("h2", {}, t("history.labels")), age), lanes, axis, empty,
    h("details", {}, h("summary", {}, t("asTable")), shares));
  const plots = Object.entries(PLOTS).map(([name, [keys, options]]) => {
    const title = t(`history.${name}`);
    return { keys, ...plot(title, keys.map((key, n) => ({ text: /p\d\d/.exec(key)?.[0] ?? title, kind: n ? "dash" : "line" })), { ...options, sync: true }) };
  });
  const grid = div("cards wide", plots.map((one) => one.node));
  const events = card(t("history.events"), {}, log);
  node.querySelector(".head").append(pair(t("history.span"), choice));
  node.append(line, events, grid, soft(t("history.kept")));

  async function load() {
    clearTimeout(timer);
    if (document.hidden) return (timer = setTimeout(load, 1000));
    try {
      const fit = () => HOURS.find((n) => n >= Math.min(choice.value, (live.nowS() - begin) / 3600)), hours = fit();
      const past = await live.get(`/api/history?hours=${hours}`);
      takenMs = Date.now();
      failed = false;
      begin ||= Math.min(...[past.labels[0]?.[0], past.series.time[0], past.events[0]?.ts].map((s) => s ?? past.until));
      if (fit() < hours) return load(); // with more points
      draw({ ...past, since: Math.max(past.since, Math.min(begin, past.until - 60)) }); // what is before that is empty
    } catch (error) {
      failed = true;
      write(empty, live.fault(error));
    }
    if (isOpen) timer = setTimeout(load, EVERY_MS);
  }

  function draw({ since, until, step_s, labels, events: happened, series }) {
    const names = new Map();
    for (const [from, to, label] of labels) {
      const entry = names.get(label) ?? { total: 0, count: 0, longest: 0, parts: [] };
      entry.total += to - from;
      entry.count += 1;
      entry.longest = Math.max(entry.longest, to - from);
      entry.parts.push([from, to]);
      names.set(label, entry);
    }
    const order = [...(live.info()?.model.labels ?? []), null];
    const sorted = [...names].sort(([a, x], [b, y]) => (names.size > LANES ? y.total - x.total : order.indexOf(a) - order.indexOf(b)));
    const known = labels.reduce((sum, [from, to]) => sum + to - from, 0);
    const text = (label) => label ?? t("now.uncertain");
    lanes.replaceChildren(...sorted.slice(0, LANES).map(([label, { parts, total }]) =>
      lane(text(label), parts, t("history.share", { share: percent(total / known), n: parts.length }), since, until)), happening(happened, since, until));
    axis.replaceChildren(...moments(since, until, 7).map(([s, text]) => h("span", { "--from": (s - since) / (until - since) }, text)));
    shares.replaceChildren(table(t("history.labels"), [t("now.label"), t("history.part"), t("history.total"), t("history.count"), t("history.longest")],
      sorted.map(([label, { total, count, longest }]) => [text(label), percent(total / known, 1), duration(total), number(count), duration(longest)])));
    toggle(lanes, "blank", !labels.length);
    write(empty, labels.length ? (until - since > 600 && known < 0.5 * (until - since) ? t("history.gaps", { share: percent(known / (until - since)), begin: when(since) }) : "") : t("history.nothing"));
    const rows = happened.slice(-100).reverse().map((event) => [when(event.ts), signed(eventKind(event.type), eventText(event))]);
    log.replaceChildren(rows.length ? table(t("history.newest", { n: rows.length }), [t("plot.time"), t("history.what")], rows, { figures: 9, kind: "wordy", shown: true }) : soft(t("history.noEvents")));
    const [times, at] = gaps(series.time, step_s), between = [since, until];
    for (const { keys, set } of plots) set(times, keys.map((key) => at.map((n) => (n < 0 ? null : series[key][n]))), between);
  }
  return {
    node,
    open() { isOpen = true; load(); },
    close() { isOpen = false; clearTimeout(timer); },
  };
}

// One row of stretches; those that touch on the screen are drawn as one.
function lane(name, parts, text, since, until) {
  const share = (s) => Math.max(0, Math.min(1, (s - since) / (until - since)));
  const drawn = [];
  for (const [from, to] of parts) {
    const last = drawn.at(-1);
    if (last && share(from) - last[1] < 0.0008) last[1] = share(to);
    else drawn.push([share(from), share(to), from, to]);
  }
  return div("lane", span("label", name), h("div", { class: "track", role: "img", "aria-label": `${name}: ${text}` },
    drawn.map(([a, b, from, to]) => h("span", { "--from": a, "--share": b - a, title: `${name}, ${clock(from)}, ${duration(to - from)}` }))),
  span("figure soft", text.split(",")[0]));
}

function happening(events, since, until) {
  const other = events.filter((event) => event.type !== "label_changed");
  if (!other.length) return "";
  return div("lane", span("label", t("history.events")), h("div", { class: "track marks", role: "img", "aria-label": t("history.others", { n: other.length }) },
    other.map((event) => h("span", { "--from": (event.ts - since) / (until - since), "data-kind": eventKind(event.type), title: `${clock(event.ts)} ${eventText(event)}` }, eventKind(event.type) ? t(`sign.${eventKind(event.type)}`) : "●"))),
  span("figure soft", number(other.length)));
}

// Times with an empty place in each gap, and the index of each; -1 is a gap.
function gaps(times, step) {
  const all = [], at = [];
  times.forEach((s, n) => {
    if (n && s - times[n - 1] > Math.max(30, 2.5 * step)) { all.push(times[n - 1] + 1); at.push(-1); }
    all.push(s);
    at.push(n);
  });
  return [all, at];
}
