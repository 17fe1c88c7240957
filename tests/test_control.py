"""Requests to the daemon over a real broker, and a second daemon of the same name."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from deploy.broker import PrivateBroker
from tests.conftest import MODELS, WAIT_S, Daemon, Listener, edge, model_folder

Start = Callable[..., Daemon]
Listen = Callable[[], Listener]
CONFIG = """
[device]
id = "wall"
[publish]
telemetry_interval_s = 0.5
"""


class Asker:
    """A program that asks, in MQTT 5, and hears the answers."""

    def __init__(self, broker: PrivateBroker) -> None:
        self.answers: list[tuple[str, Any, bytes]] = []
        self._came = threading.Condition()
        self._client = paho.Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
        ready = threading.Event()
        self._client.on_connect = lambda *_: self._subscribe()
        self._client.on_subscribe = lambda *_: ready.set()
        self._client.on_message = self._take
        self._client.connect(broker.host, broker.port)
        self._client.loop_start()
        assert ready.wait(WAIT_S)

    def _subscribe(self) -> None:
        self._client.subscribe([("edge/wall/response/+", 1), ("mine/#", 1)])

    def _take(self, _: Any, __: Any, message: paho.MQTTMessage) -> None:
        with self._came:
            correlation = getattr(message.properties, "CorrelationData", b"")
            self.answers.append((message.topic, json.loads(message.payload), correlation))
            self._came.notify_all()

    def send(self, command: str, body: Any = None, retain: bool = False, **properties: Any) -> None:
        """Publish a request."""
        payload = body if isinstance(body, bytes) else json.dumps(body or {}).encode()
        self.publish(f"edge/wall/request/{command}", payload, retain, **properties)

    def publish(self, topic: str, payload: bytes, retain: bool = False, **properties: Any) -> None:
        """Publish anything."""
        made = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        for name, value in properties.items():
            setattr(made, name, value)
        self._client.publish(topic, payload, 1, retain, made)

    def ask(self, command: str, body: Any = None, **properties: Any) -> Any:
        """Publish a request; return the next answer's payload."""
        before = len(self.answers)
        self.send(command, body, **properties)
        self.wait_for(before + 1)
        return self.answers[before][1]

    def wait_for(self, count: int) -> None:
        """Return once so many answers have come."""
        with self._came:
            assert self._came.wait_for(lambda: len(self.answers) >= count, WAIT_S), self.answers

    def close(self) -> None:
        """Disconnect."""
        self._client.disconnect()
        self._client.loop_stop()
        self._client.on_connect = self._client.on_message = None  # no cycle: it is freed at once


@pytest.fixture
def wall(broker: PrivateBroker, daemon: Start, rgb: Path, tmp_path: Path) -> Daemon:
    """The daemon, connected, with a state directory."""
    (tmp_path / "state").mkdir()
    running = daemon(
        *("--source", "synthetic", "--model", rgb, "--broker", broker.address),
        config=CONFIG,
        STATE_DIRECTORY=str(tmp_path / "state"),
    )
    online(broker)
    return running


def online(broker: PrivateBroker) -> None:
    """Wait until the daemon is there."""
    listener = Listener(broker)
    listener.wait_for(lambda: b"online" in listener.bodies("availability"))
    listener.close()


@pytest.fixture
def asker(broker: PrivateBroker, wall: Daemon) -> Iterator[Asker]:
    """Somebody who asks the daemon."""
    made = Asker(broker)
    yield made
    made.close()


def newest(listener: Listener, kind: str) -> Any:
    """Return the newest payload on a topic."""
    found = listener.payloads(kind)
    return found[-1] if found else None


def types(listener: Listener) -> list[str]:
    """Return the types of the events so far."""
    return [event["type"] for event in listener.payloads("event")]


def test_ping_and_stats_answer_with_the_transaction(asker: Asker) -> None:
    """Status, data and transaction."""
    told = asker.ask("ping", {"transaction": "t1"})
    assert (told["status"], told["transaction"], told["error"]) == ("ok", "t1", "")
    assert set(told["data"]) == {"run", "version", "uptime_s"}
    assert asker.ask("stats")["data"]["frames_total"] > 0


def test_pause_and_resume(asker: Asker, listen: Listen) -> None:
    """Nothing is classified while paused; the state says so; it ends by itself."""
    listener = listen()
    assert asker.ask("pause")["status"] == "ok"
    listener.wait_for(lambda: (newest(listener, "state") or {}).get("paused") is True)
    events = len(listener.payloads("event"))
    listener.wait_for(lambda: newest(listener, "telemetry") is not None)
    frames = newest(listener, "telemetry")["frames_total"]
    # The colour changes every second, of 30 frames.
    listener.wait_for(lambda: newest(listener, "telemetry")["frames_total"] > frames + 40)
    assert len(listener.payloads("event")) == events
    asker.ask("pause", {"seconds": 0.2})
    listener.wait_for(lambda: newest(listener, "state")["paused"] is False)
    listener.wait_for(lambda: types(listener).count("resumed") == 1)
    listener.wait_for(lambda: newest(listener, "event")["type"] == "label_changed")


def test_set_is_validated_applied_and_lasts(
    asker: Asker, wall: Daemon, listen: Listen, daemon: Start, broker: PrivateBroker, rgb: Path,
    tmp_path: Path,
) -> None:  # fmt: skip
    """All or nothing; `info` shows it; persisted settings outlive the process."""
    listener = listen()
    wrong = asker.ask("set", {"smoothing": {"window": 5, "enter": 7}})
    assert wrong["status"] == "error"
    assert "smoothing.enter" in wrong["error"]
    assert asker.ask("set")["error"].startswith("nothing to set")
    good = asker.ask("set", {"smoothing": {"window": 5}, "persist": True})
    assert good["data"]["smoothing"]["window"] == 5
    listener.wait_for(
        lambda: (newest(listener, "info") or {})["config"]["smoothing"]["window"] == 5
    )
    listener.wait_for(lambda: "changed" in types(listener))
    changed = [e for e in listener.payloads("event") if e["type"] == "changed"]
    assert [e["evidence"] for e in changed] == [{"smoothing.window": 5}]
    wall.stop()
    state = str(tmp_path / "state")
    running = daemon(
        *("--source", "synthetic", "--model", rgb, "--broker", broker.address),
        config=CONFIG,
        STATE_DIRECTORY=state,
    )
    running.wait_for_log("ready")
    again = listen()
    again.wait_for(lambda: b"online" in again.bodies("availability"))
    assert newest(again, "info")["config"]["smoothing"]["window"] == 5


def test_camera_controls_are_named_and_validated(asker: Asker, listen: Listen) -> None:
    """What the source has not is refused and changes nothing; what it has is seen in the frames."""
    listener = listen()
    listener.wait_for(lambda: newest(listener, "event") is not None)
    told = asker.ask("set", {"camera": {"gain": 2.0}, "smoothing": {"window": 2}})
    assert "this source has no control `gain`" in told["error"]
    assert asker.ask("stats")["status"] == "ok"
    assert "camera.controls.brightness" in asker.ask("set", {"camera": {"brightness": 7}})["error"]
    assert "unknown key" in asker.ask("set", {"camera": {"width": 320}})["error"]
    assert newest(listener, "info")["config"]["smoothing"]["window"] == 10
    told = asker.ask("set", {"camera": {"brightness": 1.0}})
    assert told["data"]["camera"]["brightness"] == 1.0
    # All white: no colour prevails any more.
    listener.wait_for(lambda: max(newest(listener, "state")["scores"].values()) < 0.9)
    listener.wait_for(
        lambda: newest(listener, "info")["config"]["camera"]["controls"]["brightness"] == 1.0
    )


def test_a_request_that_comes_twice_is_done_once(asker: Asker, listen: Listen) -> None:
    """The second gets the first's answer."""
    listener = listen()
    first = asker.ask("pause", {"transaction": 1})
    asker.ask("resume", {"transaction": 2})
    assert asker.ask("pause", {"transaction": 1}) == first
    listener.wait_for(lambda: newest(listener, "event")["type"] == "label_changed")
    assert types(listener).count("paused") == 1


def test_a_kept_request_is_ignored(
    asker: Asker, wall: Daemon, daemon: Start, broker: PrivateBroker, rgb: Path
) -> None:
    """A retained `pause` does not stop the next run."""
    wall.stop()
    asker.send("pause", retain=True)
    daemon("--source", "synthetic", "--model", rgb, "--broker", broker.address, config=CONFIG)
    online(broker)
    assert asker.ask("ping")["status"] == "ok"
    assert all("/pause" not in topic for topic, _, _ in asker.answers)


def test_answers_go_where_they_are_wanted_but_never_forge_our_own(asker: Asker) -> None:
    """MQTT 5: response topic and correlation data."""
    asker.ask("ping", ResponseTopic="mine/answers", CorrelationData=b"42")
    assert asker.answers[-1][0] == "mine/answers"
    assert asker.answers[-1][2] == b"42"
    asker.ask("ping", ResponseTopic="edge/wall/availability")
    assert asker.answers[-1][0] == "edge/wall/response/ping"


def test_a_daemon_that_speaks_the_older_protocol_answers_too(
    broker: PrivateBroker, daemon: Start, rgb: Path
) -> None:
    """MQTT 3.1.1 has no response topic: the answer goes where answers go."""
    command = ("--source", "synthetic", "--model", rgb, "--broker", broker.address)
    daemon(*command, config=CONFIG + '[mqtt]\nprotocol = "3.1.1"\n')
    online(broker)
    asker = Asker(broker)
    told = asker.ask("ping", {"transaction": 9}, ResponseTopic="mine/answers")
    assert (told["status"], told["transaction"]) == ("ok", 9)
    assert asker.answers[-1][0] == "edge/wall/response/ping"
    asker.close()


def test_reload_takes_a_new_model_and_keeps_the_old_for_a_bad_one(
    asker: Asker, wall: Daemon, listen: Listen, rgb: Path
) -> None:
    """By request and by SIGHUP; what needs a restart is named."""
    listener = listen()
    config = wall.log.parent / "edge.toml"
    config.write_text(CONFIG + "[smoothing]\nwindow = 0\n")
    told = asker.ask("reload")
    assert "smoothing.window" in told["error"]
    wall.process.send_signal(signal.SIGHUP)
    listener.wait_for(lambda: types(listener).count("reload_failed") == 2)
    config.write_text(CONFIG + "[smoothing]\nwindow = 4\n[camera]\nwidth = 320\n")
    assert asker.ask("reload")["data"] == {"needs_restart": ["camera"]}
    listener.wait_for(lambda: newest(listener, "info")["config"]["smoothing"]["window"] == 4)
    good = (rgb / "uint8io.tflite").read_bytes()
    (rgb / "uint8io.tflite").write_bytes(good[: len(good) // 2])
    assert asker.ask("reload")["status"] == "error"
    model_folder(rgb, "float")
    assert (MODELS / "float.tflite").is_file()
    assert asker.ask("reload")["status"] == "ok"
    listener.wait_for(lambda: newest(listener, "info")["model"]["kind"] == "float")
    listener.wait_for(lambda: types(listener).count("reloaded") == 2)
    assert types(listener).count("reload_failed") == 3
    listener.wait_for(lambda: newest(listener, "event")["type"] == "label_changed")


def test_ten_thousand_fuzzed_requests(
    asker: Asker, wall: Daemon, listen: Listen, broker: PrivateBroker
) -> None:
    """Alive, its memory bounded, the frame rate kept, and it answers a good one afterwards."""
    listener = listen()
    listener.wait_for(lambda: len(listener.payloads("telemetry")) >= 2)
    before = newest(listener, "telemetry")
    random_ = random.Random(3)
    commands = [
        "ping",
        "pause",
        "resume",
        "set",
        "stats",
        "snapshot",
        "nothing",
        "reload!",
        "claim",
    ]
    for number in range(10_000):
        body = bytes(random_.randrange(256) for _ in range(random_.randrange(40)))
        if number % 3 == 0:
            body = b'{"transaction":%d,"seconds":%d}' % (number, random_.randrange(-2, 3))
        asker.send(random_.choice(commands), body)
    until = time.monotonic() + 2 * WAIT_S
    while True:  # those beyond the rate are refused; in the end one is not
        told = asker.ask("resume", {"transaction": f"last-{time.monotonic()}"})
        if told["status"] == "ok" and str(told["transaction"]).startswith("last"):
            break
        assert time.monotonic() < until
        time.sleep(0.2)
    listener.wait_for(lambda: newest(listener, "telemetry")["requests_total"] > 2_000)
    after = newest(listener, "telemetry")
    assert wall.process.poll() is None
    assert after["rss_bytes"] < before["rss_bytes"] + 30_000_000


def test_the_second_daemon_of_a_name_says_so_and_ends(
    wall: Daemon, daemon: Start, broker: PrivateBroker, rgb: Path, listen: Listen
) -> None:
    """Status 78, one line; the first goes on, online, with no reconnect."""
    listener = listen()
    listener.wait_for(lambda: bool(listener.payloads("info")))
    run = newest(listener, "info")["run"]
    second = daemon(
        *("--source", "synthetic", "--model", rgb, "--broker", broker.address),
        config=CONFIG,
    )
    assert second.process.wait(WAIT_S) == 78
    line = second.log.read_text().strip().splitlines()[-1]
    assert "device.id wall: another daemon has this device id" in line
    assert run in line
    seen = len(listener.payloads("telemetry"))
    listener.wait_for(lambda: len(listener.payloads("telemetry")) >= seen + 3)
    assert listener.bodies("availability") == [b"online"]
    assert {info["run"] for info in listener.payloads("info")} == {run}
    assert newest(listener, "telemetry")["reconnects_total"] == 0


def test_the_will_of_a_dead_connection_does_not_stand(
    broker: PrivateBroker, wall: Daemon, listen: Listen
) -> None:
    """As after a power cut: the broker notices late, when the device is back already."""
    listener = listen()
    listener.wait_for(lambda: b"online" in listener.bodies("availability"))
    publish(broker, "edge/wall/availability", b"offline")
    listener.wait_for(lambda: listener.bodies("availability") == [b"online", b"offline", b"online"])
    wall.stop()
    listener.wait_for(lambda: listener.bodies("availability")[-1] == b"offline")
    publish(broker, "edge/last", b"")  # comes after everything that the daemon has sent
    listener.wait_for(lambda: listener.bodies("last") == [b""])
    assert listener.bodies("availability")[3:] == [b"offline"]


def test_snapshots_on_request_and_of_every_change(
    broker: PrivateBroker, daemon: Start, rgb: Path, listen: Listen
) -> None:
    """JPEGs within the limit; a request cannot switch them on."""
    listener = listen()
    config = CONFIG + "[snapshot]\nenabled = true\nmax_bytes = 20000\nretain = true\n"
    daemon("--source", "synthetic", "--model", rgb, "--broker", broker.address, config=config)
    listener.wait_for(lambda: len(listener.bodies("snapshot")) >= 2)
    assert all(body[:2] == b"\xff\xd8" for body in listener.bodies("snapshot"))
    assert max(map(len, listener.bodies("snapshot"))) <= 20_000
    asker = Asker(broker)
    told = asker.ask("snapshot", {"caption": False})
    listener.wait_for(lambda: told["data"]["bytes"] in map(len, listener.bodies("snapshot")))
    asker.close()


def test_a_snapshot_that_nobody_wanted_is_refused(asker: Asker) -> None:
    """Opt-in, in the config alone."""
    assert "snapshots are off" in asker.ask("snapshot")["error"]
    assert "unknown field" in asker.ask("set", {"snapshot": {"enabled": True}})["error"]


def test_home_assistant_is_told_again_when_it_starts_and_purge_takes_all_back(
    broker: PrivateBroker, wall: Daemon, listen: Listen
) -> None:
    """Retained; again on homeassistant/status; not while the device is online."""
    home = Listener(broker, "homeassistant/#")
    home.wait_for(lambda: len(home.bodies("config")) == 1)
    assert json.loads(home.bodies("config")[0])["device"]["name"] == "wall"
    publish(broker, "homeassistant/status", b"online")
    home.wait_for(lambda: len(home.bodies("config")) == 2)
    refused = edge("purge", "--broker", broker.address, "wall")
    assert refused.returncode == 78
    assert "online" in refused.stderr
    wall.stop()
    done = edge("purge", "--broker", broker.address, "wall")
    assert done.stdout.split()[1::2] == [
        *(f"edge/wall/{kind}" for kind in ("availability", "info", "state")),
        "homeassistant/device/wall/config",
    ]
    home.wait_for(lambda: home.bodies("config")[-1] == b"")
    home.close()
    late = listen()
    publish(broker, "edge/last", b"")  # comes after everything that the broker has retained
    late.wait_for(lambda: bool(late.messages))
    assert [kind for kind, _, _ in late.messages] == ["last"]


def publish(broker: PrivateBroker, topic: str, payload: bytes) -> None:
    """Publish one message as somebody else would."""
    command = ["mosquitto_pub", "-h", broker.host, "-p", str(broker.port), "-t", topic]
    subprocess.run([*command, "-m", payload.decode()], check=True)
