"""The example bridge between two mosquittos: TLS, the shipped ACL, an outage."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from deploy.broker import PrivateBroker, free_port
from tests.certificates import Authority
from tests.conftest import ROOT, Daemon
from tests.slow_network import SlowNetwork
from tests.test_acl import guard, publish, read_up_to, watching

Start = Callable[..., Daemon]
EXAMPLE = ROOT / "deploy" / "mosquitto" / "bridge.conf"


@pytest.fixture
def central(tmp_path: Path) -> Iterator[tuple[PrivateBroker, int]]:
    """The fleet's broker under the shipped ACL, and the port where it wants TLS."""
    pair, port = Authority(tmp_path, "ca").sign("broker"), free_port()
    tls = (f"listener {port} 127.0.0.1", f"certfile {pair.cert}", f"keyfile {pair.key}")
    with PrivateBroker(*guard(tmp_path), *tls) as running:
        yield running, port


def example(folder: Path, port: int) -> list[str]:
    """Return the lines of the example, filled in as its head says."""
    (folder / "kept").mkdir()
    filled = {
        "DEVICE_ID": "porch",
        "PASSWORD": "secret",
        "broker.example:8883": f"127.0.0.1:{port}",
        "/etc/mosquitto/certs/ca.crt": str(folder / "ca.crt"),
    }
    text = EXAMPLE.read_text()
    for word, value in filled.items():
        assert word in text
        text = text.replace(word, value)
    here = ["allow_anonymous true", f"persistence_location {folder}/kept/"]
    return [*here, *(line for line in text.splitlines() if not line.startswith("#"))]


def test_every_event_passes_the_bridge_through_an_outage(
    central: tuple[PrivateBroker, int], daemon: Start, rgb: Path, tmp_path: Path
) -> None:
    """Events and responses reach the centre, requests the device; queued events arrive too."""
    centre, port = central
    way = SlowNetwork(port, 0.0, 0)
    with (
        PrivateBroker(*example(tmp_path, way.port)) as near,
        watching(centre, "homeassistant", "#") as listener,
    ):
        command = ("--source", "synthetic", "--model", rgb, "--broker", near.address)
        running = daemon(*command, config='[device]\nid = "porch"\n')
        read_up_to(listener, "edge/porch/availability")
        publish(centre, "homeassistant", "edge/porch/request/ping", '{"transaction": 5}')
        running.wait_for_log("green -> blue")
        way.close()
        running.wait_for_log("blue -> red")
        running.wait_for_log("red -> green")
        again = SlowNetwork(port, 0.0, 0, way.port)
        running.stop()
        listener.wait_for(lambda: "edge/porch/availability offline" in listener.lines)
        again.close()
    lines = [line.split(" ", 1) for line in listener.lines]
    events = [json.loads(body) for topic, body in lines if topic == "edge/porch/event"]
    numbers = [int(event["id"].rpartition("-")[2]) for event in events]
    once = list(dict.fromkeys(numbers))  # QoS 1: one in flight at the break may come twice
    assert once == list(range(1, 1 + len(once)))
    assert len(once) > 3
    last = dict(lines)
    assert json.loads(last["edge/porch/response/ping"])["transaction"] == 5
    assert last["edge/porch/availability"] == "offline"
    assert "homeassistant/device/porch/config" in last
