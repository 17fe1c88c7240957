// A plot over time, as SVG; what it shows in words and as a table. Colours: parts.css.
import { clock, day, h, number, para, t, table, write } from "/dom.js";
import { language } from "/texts.js";

const ROWS = 60;
const LEFT = 58, RIGHT = 8, TOP = 8, BOTTOM = 24; // pixels around the lines
const synced = new Set(); // plots whose cursors move together
const compact = new Intl.NumberFormat(language, { notation: "compact", maximumFractionDigits: 2 });

function svg(tag, attributes = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

// Round numbers between two, about so many.
function rounded(low, high, about) {
  const raw = (high - low) / about, power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].find((n) => n * power >= raw) * power, found = [];
  for (let n = Math.ceil(low / step); n * step <= high + step / 1e6; n++) found.push(n * step);
  return found;
}

const STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400, 172800];
// Round times of this place between two: seconds and their texts.
export function moments(since, until, most) {
  const step = STEPS.find((s) => (until - since) / s <= most) ?? 604800, zone = new Date(since * 1000).getTimezoneOffset() * 60, found = [];
  for (let s = Math.ceil((since - zone) / step) * step + zone; s < until; s += step) {
    found.push([s, step >= 43200 ? day(s).split(",")[0] : step < 60 ? clock(s) : clock(s).slice(0, 5)]);
  }
  return found;
}

// series: [{text, kind}], kind: line, dash, dots, faint; format: a value as text; range: [lowest, highest] where fixed.
export function plot(title, series, { format = (v) => number(v, 1), axis = (v) => compact.format(v), height = 150, range = null, sync = false, onhover = null } = {}) {
  const chart = svg("svg", { role: "img", class: "plot", height, "aria-label": title });
  const words = para("soft"), rows = h("div");
  const detail = h("details", { ontoggle: fill }, h("summary", {}, t("asTable")), rows);
  const node = h("figure", { class: "card" }, h("header", {}, h("h2", {}, title), words), chart, detail);
  const cursor = svg("line", { class: "cursor", y1: TOP, y2: height - BOTTOM });
  let times = [], values = [], since = 0, until = 1, width = 0;
  const x = (s) => LEFT + ((s - since) / (until - since)) * (width - LEFT - RIGHT);

  function draw() {
    width = chart.clientWidth;
    if (!width || !times.length) return chart.replaceChildren();
    const known = values.flat().filter((v) => v != null);
    const [low, high] = range ?? [Math.min(0, ...known), Math.max(...known, 0) * 1.08 || 1];
    const y = (v) => height - BOTTOM - ((v - low) / (high - low)) * (height - TOP - BOTTOM);
    const parts = [];
    for (const v of rounded(low, high, height / 50)) parts.push(svg("line", { class: "rule", x1: LEFT, x2: width - RIGHT, y1: y(v), y2: y(v) }), svg("text", { x: LEFT - 8, y: y(v) + 4, "text-anchor": "end" }, axis(v)));
    for (const [s, text] of moments(since, until, width / 90).filter(([s]) => x(s) < width - 28)) parts.push(svg("line", { class: "rule", x1: x(s), x2: x(s), y1: TOP, y2: height - BOTTOM }), svg("text", { x: x(s), y: height - 6, "text-anchor": "middle" }, text));
    series.forEach(({ kind = "line" }, n) => {
      let path = "", down = false;
      values[n].forEach((v, at) => {
        const there = v != null;
        if (there) path += `${kind === "dots" || !down ? "M" : "L"}${x(times[at]).toFixed(1)} ${y(v).toFixed(1)}${kind === "dots" ? "h0" : ""}`;
        down = there;
      });
      parts.push(svg("path", { class: kind, d: path }));
      if (kind.includes("faint") && values[n].at(-1) != null) parts.push(svg("text", { x: width - RIGHT, y: y(values[n].at(-1)) - 5, "text-anchor": "end" }, series[n].text));
    });
    chart.replaceChildren(...parts, cursor);
  }

  // What was there at a time; the newest without one.
  function read(s) {
    let at = times.length - 1;
    if (s === null) while (at > 0 && values.every((one) => one[at] == null)) at--;
    else at = times.reduce((best, time, n) => (Math.abs(time - s) < Math.abs(times[best] - s) ? n : best), 0);
    cursor.style.display = s === null ? "none" : "";
    for (const name of ["x1", "x2"]) cursor.setAttribute(name, x(times[at] ?? 0));
    const texts = series.map(({ text }, n) => [text, values[n]?.[at]]).filter(([, v]) => v != null);
    write(words, texts.length ? `${clock(times[at])}: ${texts.map(([text, v]) => `${series.length > 1 ? `${text} ` : ""}${format(v)}`).join(", ")}` : t("plot.nothing"));
    return at;
  }

  function hover(event) {
    if (!times.length) return;
    const s = event === null ? null : since + ((event.clientX - chart.getBoundingClientRect().x - LEFT) / (width - LEFT - RIGHT)) * (until - since);
    for (const other of sync ? synced : [handle]) other.read(s);
    if (s !== null) onhover?.(handle.read(s));
  }
  chart.addEventListener("pointermove", hover);
  chart.addEventListener("pointerleave", () => hover(null));

  function fill() {
    if (!detail.open) return;
    const step = Math.max(1, Math.ceil(times.length / ROWS)), lines = [];
    for (let at = times.length - 1; at >= 0; at -= step) {
      if (values.some((one) => one[at] != null)) lines.push([clock(times[at]), ...values.map((one) => format(one[at]))]);
    }
    rows.replaceChildren(table(title, [t("plot.time"), ...series.map(({ text }) => text)], lines));
  }

  const handle = {
    node,
    read,
    // times; values of each series, null in gaps; the first and last time that is drawn.
    set(newTimes, newValues, between = [newTimes[0], newTimes.at(-1)]) {
      [times, values] = [newTimes, newValues];
      [since, until] = between[1] > between[0] ? between : [between[0] - 1, between[0] + 1];
      node.hidden = values.every((one) => one.every((v) => v == null));
      draw();
      read(null);
      fill();
      const ranges = series.map(({ text }, n) => {
        const known = values[n].filter((v) => v != null);
        return known.length ? t("plot.range", { text, low: format(Math.min(...known)), high: format(Math.max(...known)) }) : "";
      });
      chart.setAttribute("aria-label", `${title}. ${ranges.filter(Boolean).join(" ") || t("plot.nothing")}`);
    },
  };
  new ResizeObserver(() => { if (chart.clientWidth !== width) { draw(); read(null); } }).observe(chart);
  if (sync) synced.add(handle);
  return handle;
}
