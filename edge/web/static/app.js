"use strict";
// Shows the state as it comes; what is old is marked as such.
const at = (id) => document.getElementById(id);
const silenceMs = 20000; // four heartbeats
let state = null, stateMs = 0, heardMs = 0, daemon = null, source = null;

const seconds = (s) => (s < 120 ? `${Math.round(s)} s` : s < 7200 ? `${Math.round(s / 60)} min` : `${Math.round(s / 3600)} h`);

function draw() {
  const now = performance.now();
  const deaf = now - heardMs > silenceMs;
  const away = deaf || !daemon || !daemon.connected || daemon.silent;
  if (deaf) at("daemon").textContent = "no connection to the server";
  else if (away) at("daemon").textContent = `the daemon is away since ${seconds(daemon.since_s + (now - daemon.ms) / 1000)}: ${daemon.error}`;
  else at("daemon").textContent = "connected";
  at("now").classList.toggle("stale", away);
  if (!state) return;
  at("label").textContent = state.paused ? "paused" : state.label === null ? "uncertain" : state.label;
  at("score").textContent = state.score.toFixed(3);
  at("age").textContent = `said ${seconds((now - stateMs) / 1000)} ago`;
  at("scores").replaceChildren(...Object.entries(state.scores).map(([label, score]) => {
    const row = document.createElement("tr");
    for (const text of [label, score.toFixed(3)]) row.appendChild(document.createElement("td")).textContent = text;
    return row;
  }));
}

function heard(event) {
  heardMs = performance.now();
  return JSON.parse(event.data);
}

function listen() {
  at("login").hidden = true;
  at("now").hidden = false;
  source = new EventSource("/api/live");
  for (const name of ["daemon", "heartbeat"]) source.addEventListener(name, (e) => { daemon = { ...heard(e), ms: performance.now() }; draw(); });
  source.addEventListener("state", (e) => { const m = heard(e); state = m.payload; stateMs = performance.now() - m.age_s * 1000; draw(); });
  source.addEventListener("info", (e) => { at("device").textContent = heard(e).payload.device; });
  for (const name of ["telemetry", "event", "result"]) source.addEventListener(name, heard);
  source.onerror = () => { if (source.readyState === EventSource.CLOSED) begin(); };
}

async function begin() {
  try {
    const session = await (await fetch("/api/session")).json();
    if (session.caller !== "nobody") return listen();
    at("daemon").textContent = "log in to see the device";
    at("login").hidden = false;
  } catch {
    setTimeout(begin, 2000);
  }
}

at("login").addEventListener("submit", async (event) => {
  event.preventDefault();
  const answer = await fetch("/api/login", {
    method: "POST",
    headers: { "X-Edge-Request": "1", "Content-Type": "application/json" },
    body: JSON.stringify({ password: at("password").value }),
  });
  at("password").value = "";
  at("refused").textContent = answer.ok ? "" : (await answer.json()).error;
  if (answer.ok) listen();
});
setInterval(draw, 1000);
begin();
