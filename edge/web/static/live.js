// What the server says: requests, and the stream of messages, each with its age.
// Rule: nothing stale looks fresh. What counts as stale, only this file decides.
import { ago, signed, t, toggle, write } from "/dom.js";

const DEAF_MS = 16000; // three heartbeats
const HIDDEN_MS = 10000; // so long after the page was hidden the stream is closed: a browser has six connections
const topics = {}; // name -> {payload, ms}: when it was said, by this browser's clock
const readers = new Set();
const ages = new Set();
let source = null, lost = false, heardMs = Date.now(), daemon = null, daemonMs = 0, hideTimer = 0;
export const events = []; // {payload, ms}, newest first
export let begun = 0; // connections

export class Refused extends Error {
  constructor(text, status) { super(text); this.status = status; }
}

// An error in words. What is not the server's is this page's, and goes to the console.
export function fault(error) {
  if (!(error instanceof Refused)) console.error(error);
  return signed("fault", error.message);
}

async function call(path, options = {}) {
  let answer;
  try {
    answer = await fetch(path, { ...options, headers: { "X-Edge-Request": "1", ...options.headers } });
  } catch {
    throw new Refused(t("server.away"), 0);
  }
  if (answer.ok) return answer;
  const body = await answer.json().catch(() => ({}));
  if (answer.status === 401 && path !== "/api/login") document.dispatchEvent(new Event("edge-login"));
  throw new Refused(body.error ?? t("server.failed", { status: answer.status }), answer.status);
}
export async function get(path) {
  const value = await (await call(path)).json();
  setTimeout(tick); // what it brings has an age
  return value;
}
export const blob = async (path) => (await call(path)).blob();
export const send = async (path, body) => (await call(path, { method: "POST", body })).json();
export const post = (path, value) =>
  call(path, { method: "POST", body: JSON.stringify(value), headers: { "Content-Type": "application/json" } }).then((answer) => answer.json());
export const request = async (command, payload = {}) => (await post(`/api/request/${command}`, payload)).data;

export const said = (topic) => topics[topic]?.payload ?? null;
export const saidMs = (topic) => topics[topic]?.ms ?? null;
export const nowS = () => (daemon ? daemon.time_s + (Date.now() - daemonMs) / 1000 : Date.now() / 1000);
export const info = () => said("info");
export const settings = () => info()?.config ?? {};

// Called with the topic that is new; "" where only the connection is. Returns what ends it.
export function listen(reader) {
  readers.add(reader);
  return () => readers.delete(reader);
}

// Why what is shown is old, as a text; empty while all is well.
export function away() {
  const since = (s) => ago(Math.max(2, s));
  if (lost) return t("server.lost", { ago: since((Date.now() - heardMs) / 1000) });
  if (Date.now() - heardMs > DEAF_MS) return t("server.silent", { ago: since((Date.now() - heardMs) / 1000) });
  if (!daemon) return t("server.connecting");
  if (daemon.connected && !daemon.silent) return "";
  return t("server.daemon", { ago: since(daemon.since_s + (Date.now() - daemonMs) / 1000), error: daemon.error });
}

const intervals = { state: "state_interval_s", telemetry: "telemetry_interval_s" };
export function old(topic) {
  if (!topics[topic] || away()) return true;
  const interval = intervals[topic];
  if (!interval) return false; // it holds until another is said
  return Date.now() - topics[topic].ms > 1000 * Math.max(15, 3 * (settings().publish?.[interval] ?? 10));
}

// A text that says how old a topic is; `owner` becomes pale where it is too old.
export function age(topic, owner) {
  return aged(() => saidMs(topic), () => old(topic), owner);
}

// The same in the header of a card.
export function dated(card, topic) {
  card.querySelector("header").append(age(topic, card));
  return card;
}

export function aged(ms, isOld = () => false, owner = null) {
  const node = document.createElement("span");
  node.className = "age";
  const entry = { node, draw() {
    const at = ms();
    const stale = isOld();
    write(node, at == null ? t("never") : signed(stale && "old", ago((Date.now() - at) / 1000)));
    toggle(node, "stale", stale && at != null);
    if (owner) toggle(owner, "old", stale && at != null);
  } };
  ages.add(entry);
  queueMicrotask(entry.draw);
  return node;
}

// Sections are made once and come back, so no age is ever forgotten.
export function tick() {
  for (const entry of ages) if (entry.node.isConnected) entry.draw();
}

function tell(topic) {
  for (const reader of [...readers]) reader(topic);
}

function take(event) {
  heardMs = Date.now();
  lost = false;
  return JSON.parse(event.data);
}

export function begin() {
  if (source) return;
  source = new EventSource("/api/live");
  heardMs = Date.now();
  for (const name of ["daemon", "heartbeat"]) {
    source.addEventListener(name, (event) => { daemon = take(event); daemonMs = Date.now(); tell(""); });
  }
  for (const name of ["info", "state", "telemetry", "event"]) {
    source.addEventListener(name, (event) => {
      const { payload, age_s } = take(event);
      const entry = { payload, ms: Date.now() - 1000 * (age_s ?? 0) };
      if (name === "event") {
        events.unshift(entry);
        events.length = Math.min(events.length, 50);
      } else topics[name] = entry;
      tell(name);
    });
  }
  source.addEventListener("result", take);
  source.onopen = () => { begun += 1; };
  source.onerror = () => {
    lost = true;
    tell("");
    if (source?.readyState !== EventSource.CLOSED) return; // it tries again by itself
    end();
    setTimeout(() => document.dispatchEvent(new Event("edge-again")), 2000);
  };
}

export function end() {
  source?.close();
  source = null;
}

addEventListener("pagehide", end); // else the browser keeps it, with a page that one may come back to
addEventListener("pageshow", (event) => { if (event.persisted) document.dispatchEvent(new Event("edge-again")); });
document.addEventListener("visibilitychange", () => {
  clearTimeout(hideTimer);
  if (document.hidden) hideTimer = setTimeout(end, HIDDEN_MS);
  else if (!source) document.dispatchEvent(new Event("edge-again"));
});
