// A plot over time by uPlot, with what it shows in words and as a table. Colours come from style.css.
import { clock, day, h, number, t, table, write } from "/dom.js";
import { language } from "/texts.js";

const ROWS = 60;
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const all = new Set();
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { for (const plot of all) plot.redraw(); });

// series: [{text, dash, points, soft}], drawn in that order; format: a value as text.
// range: [lowest, highest] where it is fixed; onhover gets the index that the mouse is at.
export function plot(title, series, { format = (v) => number(v, 1), height = 150, range = null, sync = "", onhover = null, tabular = true, axis: tick = null } = {}) {
  const place = h("div", { class: "plot", role: "img" });
  const words = h("p", { class: "soft" });
  const rows = h("div");
  const detail = h("details", { ontoggle: fill }, h("summary", {}, t("asTable")), rows);
  const node = h("figure", { class: "card" }, h("header", {}, h("h3", {}, title), words), place, tabular && detail);
  let chart = null, data = [[]], span = null;

  function options() {
    const [low, high] = span ?? [data[0][0] ?? 0, data[0].at(-1) ?? 0];
    const label = high - low > 90000 ? day : clock;
    const axis = { stroke: () => colour("--soft"), grid: { stroke: () => colour("--line"), width: 1 }, ticks: { show: false }, font: "12px system-ui, sans-serif" };
    return {
      width: place.clientWidth, height, legend: { show: false },
      cursor: { sync: sync ? { key: sync } : undefined, points: { size: 7 }, y: false, drag: { x: Boolean(sync), y: false } },
      hooks: { setCursor: [(u) => hover(u.cursor.idx)] },
      scales: { x: { time: true, range: (_, low, high) => span ?? [low, high] }, y: range ? { range: () => range } : { range: (_, low, high) => (low == null ? [0, 1] : [Math.min(0, low), high * 1.12 || 1]) } },
      axes: [
        { ...axis, size: 28, space: 90, values: (_, marks) => marks.map((s) => label(s).replace(/:00$/, "")) },
        { ...axis, size: 56, space: 32, values: (_, marks) => marks.map((v) => tick?.(v) ?? new Intl.NumberFormat(language, { notation: "compact", maximumFractionDigits: 2 }).format(v)) },
      ],
      series: [{}, ...series.map(({ dash, points, soft }) => ({
        stroke: () => colour(soft ? "--strong" : "--accent"), width: points ? 0 : dash ? 1.5 : 2, dash, spanGaps: false,
        paths: points ? () => null : undefined, points: { show: Boolean(points), size: 5, fill: colour(soft ? "--strong" : "--accent") },
      }))],
    };
  }

  function hover(index) {
    onhover?.(index ?? null);
    const at = index ?? lastKnown();
    if (at == null) return write(words, t("plot.nothing"));
    const values = series.map(({ text }, n) => [text, data[n + 1]?.[at]]).filter(([, v]) => v != null);
    write(words, `${clock(data[0][at])}: ${values.map(([text, v]) => `${series.length > 1 ? `${text} ` : ""}${format(v)}`).join(", ")}`);
  }

  function lastKnown() {
    for (let at = data[0].length - 1; at >= 0; at--) if (series.some((_, n) => data[n + 1]?.[at] != null)) return at;
    return null;
  }

  function draw() {
    if (!place.clientWidth) return;
    chart?.destroy();
    chart = new uPlot(options(), data, place);
  }

  function fill() {
    if (!detail.open) return;
    const step = Math.max(1, Math.ceil(data[0].length / ROWS)), lines = [];
    for (let at = data[0].length - 1; at >= 0; at -= step) {
      if (series.some((_, n) => data[n + 1][at] != null)) lines.push([clock(data[0][at]), ...series.map((_, n) => format(data[n + 1][at]))]);
    }
    rows.replaceChildren(table(title, [t("plot.time"), ...series.map(({ text }) => text)], lines, { hidden: true }));
  }

  const handle = {
    node,
    // times, then values of each series; `between` is the first and last time that is drawn.
    set(times, values, between = null) {
      const first = !chart || (span === null) !== (between === null);
      span = between;
      data = [times, ...values];
      if (first) draw();
      else chart.setData(data);
      if (chart?.cursor.idx == null) hover(null);
      fill();
      const range = series.map(({ text }, n) => {
        const known = values[n].filter((v) => v != null);
        return known.length ? t("plot.range", { text, low: format(Math.min(...known)), high: format(Math.max(...known)) }) : "";
      });
      place.setAttribute("aria-label", `${title}. ${range.filter(Boolean).join(" ") || t("plot.nothing")}`);
    },
    redraw: draw,
    get chart() { return chart; },
  };
  new ResizeObserver(() => { if (chart && Math.abs(chart.width - place.clientWidth) > 1) chart.setSize({ width: place.clientWidth, height }); else if (!chart && data[0].length) draw(); }).observe(place);
  all.add(handle);
  return handle;
}
