// Elements, texts, numbers and ages. Knows neither the server nor the device.
import { texts, language } from "/texts.js";

// t("now.since", {time}): the text of that name; {one, other} by the number `n`.
export function t(name, values = {}) {
  let text = find(name);
  if (text && typeof text === "object") text = text[new Intl.PluralRules(language).select(values.n)] ?? text.other;
  return (text ?? name).replace(/\{(\w+)\}/g, (_, key) => isolated(values[key] ?? ""));
}
// What runs from right to left does not turn the words around it.
const isolated = (value) => (/[\u0590-\u08ff]/.test(value) ? `\u2068${value}\u2069` : value);

const find = (name) => name.split(".").reduce((part, key) => (part instanceof Object && Object.hasOwn(part, key) ? part[key] : undefined), texts);
export const known = (name) => find(name) !== undefined;

// h("p", {class: "age", onclick: f}, "text", child): an element. false and null are left out.
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name.startsWith("--")) element.style.setProperty(name, value);
    else if (name in element && typeof value !== "string") element[name] = value;
    else if (value !== false && value != null) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(3).filter((child) => child !== false && child != null && child !== ""));
  return element;
}

// div("row", child): the most usual elements, by their class.
const tag = (name) => (kind, ...children) => h(name, { class: kind }, ...children);
export const div = tag("div"), span = tag("span"), para = tag("p");

// A text with the sign of its kind; without a kind the text alone.
export const signed = (kind, text) => (kind ? `${t(`sign.${kind}`)} ${text}` : text);

// Write only what changes: a screen reader and a selection are not disturbed.
export function write(element, text) {
  if (element.textContent !== String(text)) element.textContent = text;
}

export const button = (text, onclick, kind = "", attributes = {}) =>
  h("button", { type: "button", class: kind, onclick, ...attributes }, text);

// A control with its label before it.
export const pair = (text, control) => span("pair", h("label", { for: control.id, class: "soft" }, text), control);

export const soft = (...content) => para("soft", ...content);

export function toggle(element, name, on) {
  if (element.classList.contains(name) !== Boolean(on)) element.classList.toggle(name, Boolean(on));
}

const formats = new Map();
export function number(value, digits = 0) {
  if (value == null || !Number.isFinite(value)) return t("unknown");
  if (!formats.has(digits)) formats.set(digits, new Intl.NumberFormat(language, { minimumFractionDigits: digits, maximumFractionDigits: digits }));
  return formats.get(digits).format(value);
}
export const percent = (share, digits = 0) => (share == null ? t("unknown") : t("percent", { value: number(share * 100, digits) }));
export const score = (value) => number(value, 2);
export const bytes = (value) =>
  value == null ? t("unknown") : value < 1e6 ? `${number(value / 1e3)} kB` : value < 1e9 ? `${number(value / 1e6, value < 1e7 ? 1 : 0)} MB` : `${number(value / 1e9, 1)} GB`;

// A length of time in its two largest units.
export function duration(s) {
  if (s == null) return t("unknown");
  s = Math.max(0, Math.round(s));
  if (s < 90) return t("time.s", { v: s });
  if (s < 5400) return t("time.min", { v: Math.round(s / 60) });
  if (s < 129600) return t("time.h", { v: Math.floor(s / 3600), m: Math.round((s % 3600) / 60) });
  return t("time.d", { v: Math.floor(s / 86400), h: Math.round((s % 86400) / 3600) });
}
export const ago = (s) => (s < 1.5 ? t("time.now") : t("time.ago", { time: duration(s) }));

const moment = (options) => {
  const format = new Intl.DateTimeFormat(language, options);
  return (s) => format.format(new Date(s * 1000));
};
export const clock = moment({ hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
export const day = moment({ day: "numeric", month: "short", hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
export const when = (s) => (Math.abs(Date.now() / 1000 - s) < 72000 ? clock(s) : day(s));

export const scroll = (label, kind, ...content) => h("div", { class: `scroll ${kind}`, tabindex: "0", role: "region", "aria-label": label }, ...content);

// A table of texts or elements; numbers from column `figures` on. The caption is unseen unless `shown`.
export function table(caption, head, rows, { figures = 1, shown = false, kind: name = "" } = {}) {
  const kind = (column) => (column >= figures ? "figure" : "");
  return scroll(caption, name, h("table", {},
      h("caption", { class: shown ? "" : "unseen" }, caption),
      h("thead", {}, h("tr", {}, head.map((text, n) => h("th", { scope: "col", class: kind(n) }, text)))),
      h("tbody", {}, rows.map((row) => h("tr", {}, row.map((cell, n) => h(n ? "td" : "th", n ? { class: kind(n) } : { scope: "row" }, cell)))))));
}

// Rows of a name and a value, changed in place: set("fps", "15.0", "warning").
export function facts(group) {
  const values = {}, node = h("dl", { class: "facts" });
  return {
    node,
    set(key, value, kind = "") {
      if (!values[key]) node.append(h("div", {}, h("dt", {}, t(`${group}.${key}`)), (values[key] = h("dd"))));
      const place = values[key];
      place.parentElement.hidden = value == null || value === "";
      if (value == null) return;
      write(place, signed(kind, value));
      if (place.dataset.kind !== kind) place.dataset.kind = kind;
    },
  };
}

export const card = (title, { age = null, kind = "" } = {}, ...children) =>
  h("section", { class: `card ${kind}` }, h("header", {}, h("h2", {}, title), age), ...children);

// Does something, and shows what went wrong.
export async function attempt(work) {
  try {
    await work();
  } catch (error) {
    if (!error.status && error.status !== 0) console.error(error);
    toast(error.message, { kind: "fault" });
  }
}

// The same with a button that cannot be pressed meanwhile.
export async function busy(control, work) {
  control.disabled = true;
  control.setAttribute("aria-busy", "true");
  await attempt(work);
  control.disabled = false;
  control.removeAttribute("aria-busy");
}

let toastTimer = 0;
export function toast(text, { kind = "", action = null, onaction = null } = {}) {
  const place = document.getElementById("toast");
  const words = h("p", {}, signed(kind, text));
  place.replaceChildren(words, action ? button(action, () => { hide(); onaction(); }) : "", button("×", hide, "plain", { "aria-label": t("close") }));
  place.dataset.kind = kind;
  place.classList.add("shown");
  clearTimeout(toastTimer);
  toastTimer = setTimeout(hide, kind === "fault" ? 15000 : 8000);
  function hide() { place.classList.remove("shown"); place.replaceChildren(); }
}

// For screen readers alone.
export const announce = (text) => write(document.getElementById("announce"), text);

// Asks before something that cannot be undone; resolves to true or false.
export function confirm(question, action) {
  return new Promise((resolve) => {
    const dialog = h("dialog", { class: "ask", onclose: () => { dialog.remove(); resolve(dialog.returnValue === "yes"); } },
      h("form", { method: "dialog" }, h("p", { id: "question" }, question),
        div("row end", h("button", { value: "no", autofocus: true }, t("cancel")), h("button", { value: "yes", class: "danger" }, action))));
    dialog.setAttribute("aria-labelledby", "question");
    document.body.append(dialog);
    dialog.showModal();
  });
}
