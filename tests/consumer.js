// A subscriber in another language, written from docs/mqtt.md alone, with MQTT.js.
//
//     node consumer.js mqtt://HOST:PORT EVENTS
//
// Keeps a table of devices, counts each event once by its id, asks every device for a ping, and ends
// after EVENTS events with one line of JSON.
"use strict";
const mqtt = require("mqtt");
const [address, wanted] = [process.argv[2], Number(process.argv[3])];
const devices = {}, seen = new Set();
let duplicates = 0, answered = 0, done = false;
const client = mqtt.connect(address, { protocolVersion: 5 });

client.on("connect", () => client.subscribe(["edge/+/+", "edge/+/response/+"], { qos: 1 }));
client.on("message", (topic, payload, packet) => {
  const [, name, kind] = topic.split("/");
  const device = (devices[name] ??= { changes: [] });
  if (kind === "availability") {
    device.online = payload.toString() === "online";
    if (device.online)
      client.publish(`edge/${name}/request/ping`, JSON.stringify({ transaction: 1 }), { qos: 1 });
    return;
  }
  if (kind === "snapshot" || kind === "claim") return;
  const body = JSON.parse(payload);
  if (kind === "info") {
    if (body.schema !== 1) throw new Error(`schema ${body.schema}`);
    device.labels = body.model.labels;
  } else if (kind === "state") {
    device.label = body.label;
    device.scores = Object.values(body.scores).reduce((sum, score) => sum + score, 0);
    device.retained ??= packet.retain;
  } else if (kind === "telemetry") {
    device.fps = body.fps;
    device.p99 = body.stages_ms.pipeline?.p99;
  } else if (kind === "response") {
    if (body.status === "ok" && body.transaction === 1) answered += 1;
  } else if (kind === "event") {
    if (seen.has(body.id)) duplicates += 1;
    seen.add(body.id);
    if (body.type === "label_changed") device.changes.push([body.before, body.after]);
  }
  if (!done && seen.size >= wanted && answered && Object.values(devices).every((d) => d.fps)) {
    done = true;
    console.log(JSON.stringify({ devices, events: seen.size, duplicates, answered }));
    client.end(true, () => process.exit(0));
  }
});
setTimeout(() => { console.error(JSON.stringify(devices)); process.exit(1); }, 30000);
