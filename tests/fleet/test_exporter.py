"""Metrics of many devices: the same names as one device's page, bounded whatever is published."""

from __future__ import annotations

import json
import socket
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from prometheus_client import parser

from deploy.broker import PrivateBroker, free_port
from deploy.fleet.devices import REASONS, ROWS_MAX, SERIES_MAX, Devices
from edge.contract import metrics
from edge.messages import Incoming
from tests.conftest import ROOT, wait_until
from tests.fleet.conftest import Program, Start, mqtt

GOLDEN: Final = ROOT / "tests" / "golden"
PARTS: Final = json.loads((GOLDEN / "telemetry_parts.json").read_text())["payload"]
Samples = dict[tuple[str, str], float]
"""Metric and device -> value of its first sample."""


def payload(kind: str, **changes: Any) -> bytes:
    """Return the contract's golden message, but for ``changes``."""
    whole = PARTS if kind == "telemetry" else json.loads((GOLDEN / f"{kind}.json").read_text())
    return json.dumps(whole.get("payload", whole) | changes).encode()


class Feed:
    """Devices, and a clock that the test moves."""

    def __init__(self, most: int = 10, forget_s: float = 1000.0) -> None:
        self.devices, self.now_s = Devices(most, forget_s), 100.0

    def say(self, device: str, kind: str, body: bytes, **how: Any) -> None:
        """Take a message."""
        self.devices.take(Incoming(f"edge/{device}/{kind}", body, **how), self.now_s, 1.8e9)

    def online(self, *devices: str) -> None:
        """Let devices come online, with telemetry."""
        for device in devices:
            self.say(device, "availability", b"online")
            self.say(device, "telemetry", payload("telemetry"))

    def samples(self) -> Samples:
        """Return the first sample of each metric and device."""
        found: Samples = {}
        for family in self.devices.families(self.now_s):
            for values, value in family.rows.items():
                found.setdefault((family.name, values[0]), value)
        return found

    def up(self) -> dict[str, float]:
        """Return `edge_up` by device."""
        return {
            device: value for (name, device), value in self.samples().items() if name == "edge_up"
        }


def test_names_are_those_of_one_device() -> None:
    """Every metric of a golden message, with the device's name before its labels."""
    feed = Feed()
    feed.online("porch")
    for kind in ("state", "info"):
        feed.say("porch", kind, payload(kind))
    families = {family.name: family for family in feed.devices.families(feed.now_s)}
    alone = [*metrics.telemetry(PARTS), *metrics.state(json.loads(payload("state")))]
    assert len(alone) > 20
    for family in alone:
        labels = ("device", *family.labels)
        rows = {("porch", *values): value for values, value in family.rows.items()}
        assert families[family.name] == family._replace(labels=labels, rows=rows)
    info = families["edge_info"]
    assert info.labels == ("device", "version", "model", "model_version", "sha256")
    assert [values[0] for values in info.rows] == ["porch"]  # the topic's, not the payload's


def test_what_a_device_that_is_gone_has_said_is_left_out() -> None:
    """Offline, or silent for three intervals of telemetry and a minute: only edge_up."""
    feed = Feed()
    feed.online("a", "b", "c")
    feed.say("b", "availability", b"offline")
    feed.say("c", "telemetry", payload("telemetry", interval_s=100.0))
    assert feed.up() == {"a": 1.0, "b": 0.0, "c": 1.0}
    assert ("edge_frame_rate_hertz", "b") not in feed.samples()
    feed.now_s += 61
    assert feed.up() == {"a": 0.0, "b": 0.0, "c": 1.0}
    assert ("edge_frame_rate_hertz", "a") not in feed.samples()
    assert ("edge_last_message_timestamp_seconds", "a") in feed.samples()
    feed.say("a", "state", payload("state"))
    assert feed.up()["a"] == 1.0
    assert ("edge_frame_rate_hertz", "a") in feed.samples()


def test_nothing_of_before_a_lost_connection_counts() -> None:
    """A device is up again when the broker says so."""
    feed = Feed()
    feed.online("a")
    feed.devices.begin(feed.now_s)
    assert feed.up() == {"a": 0.0}
    feed.say("a", "availability", b"online", retained=True)
    assert feed.up() == {"a": 1.0}
    assert ("edge_frame_rate_hertz", "a") not in feed.samples()


def test_a_device_is_forgotten() -> None:
    """After so long without a sign of life, which no retained message is; or once purged."""
    feed = Feed(forget_s=1000.0)
    feed.online("a", "b", "c")
    feed.say("b", "availability", b"", retained=True)
    assert feed.up().keys() == {"a", "c"}
    feed.now_s += 999
    feed.say("a", "availability", b"offline", retained=True)
    feed.say("c", "state", payload("state"))
    assert feed.up().keys() == {"a", "c"}
    feed.now_s += 2
    assert feed.up().keys() == {"c"}


def test_devices_are_bounded() -> None:
    """Further ones are counted; one that goes makes room. No name but a device id is taken."""
    feed = Feed(most=2)
    feed.online("a", "b", "c")
    for name in ("", "x" * 64, "-x", "a b", "a\n", "\u202e", "$share"):
        feed.say(name, "availability", b"online")
    assert feed.up().keys() == {"a", "b"}
    assert feed.devices.ignored == dict.fromkeys(REASONS, 0) | {"devices": 2, "name": 7}
    feed.say("a", "availability", b"")
    feed.online("c")
    assert feed.up().keys() == {"b", "c"}


def test_labels_are_bounded() -> None:
    """In number, now and over time, and in length; known ones go on."""
    feed = Feed()
    feed.online("a")
    many = {f"label {n}": 0.1 for n in range(ROWS_MAX + 5)}
    feed.say("a", "state", payload("state", scores=many | {"x" * 65: 0.1}))

    def scores() -> dict[tuple[str, ...], float]:
        families = {family.name: family for family in feed.devices.families(feed.now_s)}
        return families["edge_score_ratio"].rows

    assert len(scores()) == ROWS_MAX
    assert feed.devices.ignored["labels"] == 6
    for number in range(SERIES_MAX + 50):
        feed.say("a", "state", payload("state", scores={f"new {number}": 0.2}))
    seen = SERIES_MAX - ROWS_MAX - 5  # those beyond the rows of one message are known, too
    assert feed.devices.ignored["labels"] == 6 + SERIES_MAX + 50 - seen
    feed.say("a", "state", payload("state", scores={"label 1": 0.3, "\x1b[31m": 0.3}))
    assert scores() == {("a", "label 1"): 0.3}


HOSTILE: Final = (
    b'{"label":"\xff"}',
    *(b"", b"{", b"[]", b"7", b"null", b"\xff", b"[" * 60_000, b'{"fps": 1e999}', b'"\\ud800"'),
    *(b'{"scores": {"\\ud800": 1}}', b'{"a": "' + b"x" * 70_000 + b'"}'),
)
ODD: Final = (
    b"{}",
    b'{"fps": ' + b"9" * 400 + b"}",
    b'{"stages_ms": 3, "plugs": [], "drift": 1, "shadow": null, "cases": "x"}',
    b'{"interval_s": -1e308, "model": {"name": {"a": [[[[]]]]}}, "label": {"a": 1}, "device": 3}',
)
"""JSON objects that say nothing: no figure comes of them, and no fault."""


def pub(broker: PrivateBroker, topic: str, body: bytes, *more: str) -> None:
    """Publish one message."""
    address = ("-h", broker.host, "-p", str(broker.port))
    command = ["mosquitto_pub", *address, "-q", "1", "-t", topic, "-s" if body else "-n", *more]
    subprocess.run(command, input=body, check=True)


@pytest.fixture
def exporter(tmp_path: Path, program: Start, broker: PrivateBroker) -> Iterator[Callable[[], str]]:
    """A running exporter; the function scrapes it."""
    port = free_port()
    options = ("--config", mqtt(tmp_path, broker), "--listen", f"127.0.0.1:{port}")
    running = program("exporter", *options, "--devices", "20")
    running.wait_for_log("/metrics")

    def scrape() -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=20) as got:
            return str(got.read().decode())

    yield scrape
    assert running.end() == 0
    assert "Traceback" not in running.log.read_text()


def test_hostile_messages_are_counted_and_change_nothing(
    exporter: Callable[[], str], broker: PrivateBroker
) -> None:
    """Prometheus's own parser reads the scrape; the device beside them is as it was."""
    pub(broker, "edge/good/availability", b"online", "-r")
    pub(broker, "edge/good/telemetry", payload("telemetry"))
    for kind in ("telemetry", "state", "info"):
        for body in (*HOSTILE, *ODD):
            pub(broker, f"edge/bad/{kind}", body)
    pub(broker, "edge/bad/availability", b"perhaps")
    for number in range(30):
        pub(broker, f"edge/more-{number}/availability", b"online")
    sent = 2 + 3 * len((*HOSTILE, *ODD)) + 1 + 30
    wait_until(lambda: f"edge_exporter_messages_total {sent}.0" in exporter(), exporter)
    text = exporter()
    families: Any = parser.text_string_to_metric_families
    samples = [sample for family in families(text) for sample in family.samples]
    ignored = {s.labels["reason"]: s.value for s in samples if s.name.endswith("ignored_total")}
    assert ignored["payload"] == 3 * len(HOSTILE) + 1
    assert ignored["devices"] == 30 - 18
    up = {s.labels["device"]: s.value for s in samples if s.name == "edge_up"}
    assert len(up) == 20
    assert (up["good"], up["bad"]) == (1.0, 0.0)
    assert {"edge_frame_rate_hertz", "edge_stage_seconds"} <= {
        s.name for s in samples if s.labels.get("device") == "good"
    }


def test_without_a_broker_nothing_is_said_of_a_device(
    exporter: Callable[[], str], broker: PrivateBroker
) -> None:
    """Not that they are away: nobody knows. With the broker they are back."""
    pub(broker, "edge/a/availability", b"online", "-r")
    wait_until(lambda: 'edge_up{device="a"} 1.0' in exporter())
    broker.stop()
    wait_until(lambda: "edge_exporter_connected 0.0" in exporter())
    assert "edge_up{" not in exporter()
    broker.start()
    wait_until(lambda: 'edge_up{device="a"} 0.0' in exporter())  # this broker has lost its word
    pub(broker, "edge/a/availability", b"online", "-r")
    wait_until(lambda: 'edge_up{device="a"} 1.0' in exporter())


WRONG: Final = {
    "--listen": (("nowhere", 78, "--listen: not an address"), ("127.0.0.1:99999", 78, "--listen")),
    "--devices": (
        ("0", 78, "--devices: out of range: expected 1 to 10000, got 0"),
        ("many", 78, "command line: argument --devices: invalid int value: 'many'"),
    ),
    "--days": (("1000", 78, "--days: out of range"),),
    "--config": (("/nonexistent", 78, "/nonexistent"),),
}


@pytest.mark.parametrize("option", WRONG)
def test_bad_input_is_one_line(option: str, program: Start) -> None:
    """With the status of what is written wrong."""
    for value, status, text in WRONG[option]:
        check(program("exporter", option, value), status, text)


def check(running: Program, status: int, text: str) -> None:
    """Fail unless a program ends so."""
    assert running.process.wait(60) == status
    (line,) = running.log.read_text().splitlines()[-1:]
    assert line.startswith(f"edge: {text}"), line
    assert "Traceback" not in running.log.read_text()


def test_what_cannot_be_reached_is_one_line(
    tmp_path: Path, program: Start, broker: PrivateBroker
) -> None:
    """No broker, one that refuses the login, an address in use: status 69."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        options = ("--config", mqtt(tmp_path, broker), "--listen", address)
        check(
            program("exporter", *options), 69, f"{address}: cannot listen: Address already in use"
        )
    (tmp_path / "passwords").write_text("")
    with PrivateBroker("allow_anonymous false", f"password_file {tmp_path}/passwords") as strict:
        options = ("--config", mqtt(tmp_path, strict), "--listen", "127.0.0.1:0")
        check(program("exporter", *options), 69, f"{strict.address}: refused the connection")
    check(program("exporter", *options), 69, f"{strict.address}: broker cannot be reached")
