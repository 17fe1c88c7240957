// The frame of the page: log-in, sections, keys that work everywhere.
import { announce, button, div, h, para, signed, t, toggle, write } from "/dom.js";
import * as live from "/live.js";
import { language, texts } from "/texts.js";

const SECTIONS = ["now", "history", "why", "pictures", "teach", "settings", "health"];
const opened = {}; // name -> {node, open, close, key}
let here = "", hasPassword = false, firstDraw = true, beginning = false, lacking = false;

const status = h("p", { class: "status", role: "status" });
const device = para("device", "edge");
const links = Object.fromEntries(SECTIONS.map((name) => [name, h("a", { href: `#/${name}` }, t(`${name}.title`))]));
const logout = button(t("login.out"), leave, "plain", { hidden: true });
const main = h("main", { id: "main", tabindex: "-1" });
const header = h("header", { class: "top" },
  div("name", device, status),
  h("nav", { "aria-label": t("sections") }, h("ul", {}, SECTIONS.map((name) => h("li", {}, links[name])))),
  div("tools", button("?", showKeys, "plain round", { "aria-label": t("keys.title"), title: t("keys.title") }), logout));

document.documentElement.lang = language;
document.body.append(
  h("a", { class: "skip", href: "#main", onclick: (event) => { event.preventDefault(); main.focus(); } }, t("skip")),
  header, main,
  h("div", { id: "announce", class: "unseen", "aria-live": "polite" }),
  h("div", { id: "toast", role: "status" }));

async function show(name, focus) {
  if (here === name) return;
  opened[here]?.close?.();
  here = name;
  for (const [other, link] of Object.entries(links)) {
    if (other === name) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  links[name].scrollIntoView({ block: "nearest", inline: "center" });
  if (!opened[name]) {
    const { make } = await import(`/${name}.js`).catch(() => ({}));
    if (!make) return (lacking = true); // the server has gone: all is loaded again when it is back
    const title = h("h1", { tabindex: "-1" }, t(`${name}.title`));
    opened[name] ??= make(h("section", { class: `section ${name}` }, div("head", title)));
  }
  if (here !== name) return; // somebody was faster
  main.replaceChildren(opened[name].node);
  opened[name].open?.();
  if (focus) opened[name].node.querySelector("h1").focus({ preventScroll: true });
  scrollTo(0, 0);
  live.tick();
  draw();
}

function route(focus) {
  const name = location.hash.slice(2);
  show(SECTIONS.includes(name) ? name : "now", focus);
}

let announced;
function draw() {
  if (header.classList.contains("locked")) return;
  const state = live.said("state"), why = live.away(), name = live.info()?.device ?? "edge";
  write(device, name);
  write(status, why ? signed("fault", why) : signed("ok", t("server.connected")));
  toggle(document.body, "away", why);
  const label = !state ? "" : state.paused ? t("now.paused") : state.label ?? t("now.uncertain");
  document.title = [why ? t("server.offline") : label, name].filter(Boolean).join(" · ");
  if (label && label !== announced && !why) {
    if (announced !== undefined) announce(t("now.announce", { label }));
    announced = label;
  }
}

async function begin() {
  if (beginning) return;
  beginning = true;
  try {
    const session = await live.get("/api/session");
    hasPassword = session.password;
    logout.hidden = !hasPassword || session.caller !== "session";
    if (session.caller === "nobody") return hasPassword ? askPassword() : lock(t("login.never"));
    if (lacking) return location.reload();
    live.begin();
    header.classList.remove("locked");
    if (firstDraw) route(false);
    firstDraw = false;
  } catch (error) {
    write(status, live.fault(error));
    setTimeout(begin, 2000);
  } finally {
    beginning = false;
  }
}

// Nothing of the device stays on the page of somebody who is not logged in.
function lock(text) {
  live.end();
  opened[here]?.close?.();
  here = "";
  firstDraw = true;
  header.classList.add("locked");
  document.title = "edge";
  write(device, "edge");
  write(status, text);
  for (const box of document.querySelectorAll("dialog")) box.remove();
  document.getElementById("toast").replaceChildren();
  announce("");
  main.replaceChildren();
}

function askPassword() {
  if (document.getElementById("password")) return;
  lock(t("login.needed"));
  const refused = h("p", { role: "alert", class: "refused" });
  const password = h("input", { id: "password", type: "password", autocomplete: "current-password", required: true });
  const form = h("form", { class: "card login", onsubmit: async (event) => {
    event.preventDefault();
    try {
      await live.post("/api/login", { password: password.value });
      main.replaceChildren();
      begin();
    } catch (error) {
      write(refused, live.fault(error));
      password.select();
    }
  } }, h("h1", {}, t("login.title")), h("label", { for: "password" }, t("login.password")), password, refused,
  h("button", { class: "primary" }, t("login.in")));
  main.replaceChildren(form);
  password.focus();
}

async function leave() {
  await live.post("/api/logout", {});
  location.reload();
}

// One character is enough for a shortcut only where it is wanted (WCAG 2.1.4).
const keysOn = () => localStorage.getItem("keys") !== "off";

function showKeys() {
  const box = h("input", { type: "checkbox", checked: keysOn(), onchange: () => localStorage.setItem("keys", box.checked ? "on" : "off") });
  const dialog = h("dialog", { class: "keys", onclose: () => dialog.remove(), "aria-labelledby": "keys-title" },
    h("h1", { id: "keys-title" }, t("keys.title")),
    ["all", "pictures", "why"].map((part) => [h("h2", {}, t(`keys.in.${part}`)),
      h("dl", {}, Object.entries(texts.keys.list[part]).map(([key, text]) => h("div", {}, h("dt", {}, h("kbd", {}, key)), h("dd", {}, text))))]),
    h("label", { class: "check" }, box, t("keys.on")),
    h("form", { method: "dialog", class: "row end" }, h("button", { autofocus: true }, t("close"))));
  document.body.append(dialog);
  dialog.showModal();
}

document.addEventListener("keydown", (event) => {
  if (event.target.closest("input, textarea, select, dialog") || event.altKey || !keysOn()) return;
  if (opened[here]?.key?.(event)) return event.preventDefault();
  if (event.ctrlKey || event.metaKey) return;
  if (event.key === "?") { event.preventDefault(); showKeys(); }
  if (event.key === "[" || event.key === "]") {
    const step = event.key === "]" ? 1 : SECTIONS.length - 1;
    location.hash = `/${SECTIONS[(SECTIONS.indexOf(here) + step) % SECTIONS.length]}`;
  }
});
addEventListener("hashchange", () => { if (!header.classList.contains("locked")) route(true); });
document.addEventListener("edge-login", askPassword);
document.addEventListener("edge-again", begin);
live.listen((topic) => { if (lacking && !live.away()) location.reload(); else if (topic !== "telemetry") draw(); });
setInterval(() => { live.tick(); draw(); }, 1000);
begin();
