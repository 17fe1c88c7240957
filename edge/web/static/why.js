// Why: the newest frames, each frame's scores against those of the window, and the rule of the label.
import { button, card, clock, div, h, number, pair, para, score, signed, soft, t, table, toggle, write } from "/dom.js";
import * as live from "/live.js";
import { plot } from "/plot.js";

const EVERY_MS = 1000;

export function make(node) {
  const seconds = h("select", { id: "seconds" }, [15, 60, 300].map((n) => h("option", { value: n, selected: n === 60 }, t("time.s", { v: n }))));
  const labels = h("select", { id: "which", onchange: draw });
  const hold = button(t("why.hold"), () => { held = !held; draw(); if (!held) load(); }, "", { "aria-pressed": "false" });
  const slider = h("input", { type: "range", id: "moment", min: 0, max: 0, value: 0, oninput: () => { at = Number(slider.value); held = true; draw(); } });
  const verdict = para("verdict"), dots = para("dots"), what = para("soft"), rows = h("div"), note = para("note");
  const scores = plot(t("why.scores"), [{ text: t("why.frame"), kind: "dots" }, { text: t("why.window") }, { text: t("why.enter"), kind: "dash faint" }, { text: t("why.exit"), kind: "dotted faint" }],
    { format: score, height: 240, range: [0, 1.02], onhover: (index) => { at = index; explain(); } });
  const heading = scores.node.querySelector("h2"), change = (step) => button(t(step < 0 ? "why.before" : "why.after"), () => jump(step));
  let data = null, at = -1, held = false, timer = 0, isOpen = false, takenMs = null, failed = false;
  const moment = card(t("why.moment"), {}, verdict, dots, what, rows);
  moment.querySelector("header").append(live.aged(() => takenMs, () => failed || (!held && Date.now() - takenMs > 6000), moment));
  node.querySelector(".head").append(pair(t("now.label"), labels), pair(t("why.last"), seconds), hold);
  scores.node.append(h("label", { for: "moment", class: "soft" }, t("why.slide")), slider, div("row", change(-1), change(1)));
  node.append(soft(t("why.what")), note, scores.node, moment);

  async function load() {
    clearTimeout(timer);
    if (!document.hidden && !held) {
      try {
        data = await live.get(`/api/why?seconds=${seconds.value}`);
        data.steps = replay(data);
        at = data.frames.length - 1;
        takenMs = data.frames.length ? data.frames[at].time * 1000 + (Date.now() - live.nowS() * 1000) : null;
        failed = false;
        write(note, data.error ? signed("fault", data.error) : data.frames.length ? "" : t("why.none"));
        draw();
      } catch (error) {
        failed = true;
        write(note, live.fault(error));
      }
    }
    if (isOpen && !held) timer = setTimeout(load, EVERY_MS);
  }

  function draw() {
    hold.setAttribute("aria-pressed", held);
    write(hold, t(held ? "why.go" : "why.hold"));
    moment.hidden = scores.node.hidden = !data?.frames.length;
    if (moment.hidden) return;
    const names = Object.keys(data.frames.at(-1).smoothed);
    const frames = data.frames, chosen = names.includes(labels.value) ? labels.value : "", wanted = chosen || (frames[at].label ?? data.steps[at].before ?? best(frames[at].smoothed)[0]);
    if (["", ...names].join("\n") !== [...labels.options].map((one) => one.value).join("\n")) labels.replaceChildren(h("option", { value: "" }, t("why.follow")), ...names.map((name) => h("option", { value: name }, name)));
    labels.value = chosen;
    write(heading, t("why.scoresOf", { label: wanted }));
    const flat = (v) => frames.map(() => v);
    scores.set(frames.map((one) => one.time), [frames.map((one) => one.scores[wanted] ?? null), frames.map((one) => one.smoothed[wanted] ?? null), flat(data.enter), flat(data.exit)]);
    slider.max = frames.length - 1;
    slider.value = at;
    explain();
  }

  function explain() {
    const frame = data.frames[at], step = data.steps[at];
    if (!frame) return;
    slider.value = at;
    scores.read(held ? frame.time : null);
    slider.setAttribute("aria-valuetext", `${clock(frame.time)}, ${frame.label ?? t("now.uncertain")}`);
    const [top, value] = best(frame.smoothed), label = frame.label ?? t("now.uncertain");
    const values = { label, top, score: score(frame.label === null ? value : frame.smoothed[frame.label] ?? 0), best: score(value), enter: score(data.enter), exit: score(data.exit), held: step.held, hold: data.hold_frames, due: step.due ?? t("now.uncertain"), before: step.before ?? t("now.uncertain") };
    const reason = frame.partial ? "partial" : step.changed ? (frame.label === null ? "went" : "came") : step.held ? (step.due === null ? "going" : "coming") : frame.label === null ? "none" : "stays";
    write(verdict, t(`why.is.${reason}`, values));
    const shown = data.hold_frames <= 12;
    dots.hidden = !shown;
    write(dots, shown ? `${t("why.counter")} ${"●".repeat(Math.min(step.held, data.hold_frames))}${"○".repeat(Math.max(0, data.hold_frames - step.held))} ${t("why.of", values)}` : "");
    write(what, t("why.rule", { window: data.window, method: t(`why.method.${data.method}`), frame: number(frame.frame), clock: clock(frame.time) }));
    rows.replaceChildren(table(t("why.table"), [t("now.label"), t("why.frame"), t("why.window"), t("why.needs")], Object.entries(frame.smoothed).map(([name, smoothed]) =>
      [name, score(frame.scores[name]), score(smoothed), name === frame.label ? t("why.leave", values) : t("why.reach", values)])));
    toggle(verdict, "changed", step.changed);
  }

  function jump(step) {
    held = true;
    for (let next = at + step; data && next >= 0 && next < data.frames.length; next += step) {
      if (!data.steps[next].changed) continue;
      at = next;
      labels.value = "";
      return draw();
    }
    draw();
    write(note, t("why.noChange"));
  }

  return {
    node,
    open() { isOpen = true; draw(); load(); },
    close() { isOpen = false; clearTimeout(timer); },
    key(event) {
      if (!data?.frames.length || event.target.closest("button, a") && event.key === " ") return false;
      if (event.key === " ") { hold.click(); return true; }
      if (event.key !== "ArrowLeft" && event.key !== "ArrowRight") return false;
      held = true;
      at = Math.max(0, Math.min(data.frames.length - 1, at + (event.key === "ArrowLeft" ? -1 : 1)));
      draw();
      return true;
    },
  };
}

const best = (scores) => Object.entries(scores).reduce((top, one) => (one[1] > top[1] ? one : top), ["", -1]);

// What the daemon's rule made of each frame: {before, due, held, changed}. Source: edge/pipeline/smoothing.py.
export function replay({ frames, enter, exit, hold_frames }) {
  let candidate, held = 0;
  return frames.map((frame, n) => {
    const before = n ? frames[n - 1].label : frame.label;
    const changed = n > 0 && frame.label !== before;
    if (frame.partial) { held = 0; candidate = undefined; return { before, due: before, held: 0, changed: false }; }
    const [top, value] = best(frame.smoothed);
    const due = before !== null && frame.smoothed[before] >= exit ? before : value >= enter ? top : null;
    if (due === before) held = 0;
    else { held = candidate === due ? held + 1 : 1; candidate = due; }
    const shown = { before, due, held: changed ? hold_frames : held, changed };
    if (changed) held = 0;
    return shown;
  });
}
