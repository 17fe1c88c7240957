"""Each frame's result over the local socket: for those who subscribed, and for nobody else."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from paho.mqtt.publish import single

from deploy.broker import PrivateBroker
from edge.daemon.local import frames
from edge.frames import Classified, Frame, FrameTimes, InvalidScores, Prediction
from edge.local import LocalClient
from tests.conftest import WAIT_S, Daemon, Listener
from tests.local_server import Server

Start = Callable[..., Daemon]
LABELS = ("red", "green")
SECOND_NS = 10**9


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A server for eight clients."""
    with Server(tmp_path / "e.sock") as made:
        yield made


def seen(number: int, labels: int = 2, valid: bool = True, at_ns: int | None = None) -> Classified:
    """Return a frame whose own scores rise with the label's number, the window's fall."""
    rising = np.linspace(1 / labels, 1, labels, dtype=np.float32)
    now_ns = time.monotonic_ns() if at_ns is None else at_ns
    prediction: Prediction | InvalidScores = InvalidScores("not finite")
    if valid:
        falling = tuple(rising[::-1].tolist())
        prediction = Prediction(number, now_ns, "red", 0.5, falling, now_ns, partial=False)
    frame = Frame(number, now_ns, np.zeros((1, 1, 3), np.uint8), "bgr")
    return Classified(frame, rising, prediction, None, None, FrameTimes(0, 0, 0), now_ns)


def test_a_subscriber_gets_each_frame_and_others_get_none(server: Server) -> None:
    """Its own scores beside the window's, until it wants no more."""
    one, other = server.client(), server.client()
    assert not server.local.frames
    server.local.frames.classified(seen(1), LABELS)
    assert one.ask({"command": "subscribe", "results": True})["payload"]["status"] == "ok"
    for number in (2, 3):
        server.local.frames.classified(seen(number), LABELS)
    first, second = one.lines(2)
    assert first["topic"] == "frame"
    assert [line["payload"]["frame"] for line in (first, second)] == [2, 3]
    assert first["payload"]["scores"] == {"red": 0.5, "green": 1.0}
    assert first["payload"]["smoothed"] == {"red": 1.0, "green": 0.5}
    assert abs(first["payload"]["time_s"] - time.time()) < WAIT_S
    assert one.ask({"command": "subscribe", "results": False})["payload"]["status"] == "ok"
    assert not server.local.frames
    server.local.frames.classified(seen(4), LABELS)
    server.event()
    assert [client.lines(1)[0]["topic"] for client in (one, other)] == ["event", "event"]


def test_a_subscriber_that_leaves_is_forgotten(server: Server) -> None:
    """Nothing is encoded any more."""
    client = server.client()
    client.ask({"command": "subscribe"})
    assert len(server.local.frames) == 1
    client.socket.close()
    server.until(lambda: not server.local.frames)


def test_a_subscriber_that_does_not_read_is_dropped(server: Server) -> None:
    """What waits for it is bounded; the other one gets everything."""
    deaf, other = server.client(), server.client()
    for client in (deaf, other):
        client.ask({"command": "subscribe"})
    labels = tuple(f"label {number:03d}" + "x" * 500 for number in range(10))
    for number in range(1000):
        frame = seen(number, 10, at_ns=number * SECOND_NS)
        server.local.frames.classified(frame, labels)
        other.lines(1)
        if len(server.local.frames) == 1:
            break
    assert len(server.local.frames) == 1
    server.local.frames.classified(seen(5000, 10), labels)
    assert other.lines(1)[0]["payload"]["frame"] == 5000


def test_a_fast_source_is_thinned_out(server: Server) -> None:
    """Beyond the rate frames are left out; their numbers say so."""
    client = server.client()
    client.ask({"command": "subscribe"})
    for number in range(10 * frames.RATE):
        at_ns = SECOND_NS + number * SECOND_NS // (10 * frames.RATE)
        server.local.frames.classified(seen(number, at_ns=at_ns), LABELS)
    server.event()
    received: list[int] = []
    while (line := client.lines(1)[0])["topic"] == "frame":
        received.append(line["payload"]["frame"])
    assert frames.RATE <= len(received) <= 2 * frames.RATE
    assert received == sorted(received)


def test_of_many_labels_the_best_are_sent(server: Server) -> None:
    """Those of the window and those of the frame."""
    client = server.client()
    client.ask({"command": "subscribe"})
    labels = tuple(map(str, range(1000)))
    server.local.frames.classified(seen(1, 1000), labels)
    payload = client.lines(1)[0]["payload"]
    expected = {*map(str, range(frames.BEST)), *map(str, range(1000 - frames.BEST, 1000))}
    assert set(payload["scores"]) == set(payload["smoothed"]) == expected


def test_a_frame_without_scores_is_left_out(server: Server) -> None:
    """There is nothing to explain with."""
    client = server.client()
    client.ask({"command": "subscribe"})
    server.local.frames.classified(seen(1, valid=False), LABELS)
    server.local.frames.classified(seen(2), LABELS)
    assert client.lines(1)[0]["payload"]["frame"] == 2


@pytest.mark.parametrize("body", [{"results": 1}, {"results": True, "rate": 5}, {"results": None}])
def test_a_wrong_subscription_is_refused(server: Server, body: dict[str, Any]) -> None:
    """As any request; nothing is sent."""
    client = server.client()
    answer = client.ask({"command": "subscribe", **body})
    assert answer["payload"]["status"] == "error"
    assert not server.local.frames


def test_nobody_else_sees_that_one_has_subscribed(
    tmp_path: Path,
    broker: PrivateBroker,
    listen: Callable[[], Listener],
    daemon: Start,
    rgb: Path,
) -> None:
    """Of a real daemon: frames for this client; no result on MQTT, no change of the settings."""
    config = f'[local]\npath = "{tmp_path}/edge.sock"\n'
    listener = listen()
    arguments = ("--source", "synthetic", "--model", rgb, "--broker", broker.address)
    daemon(*arguments, config=config).wait_for_log("local socket:")
    with LocalClient(tmp_path / "edge.sock", timeout_s=WAIT_S) as client:
        assert client.request("subscribe", results=True) == {"results": True}
        received: list[dict[str, Any]] = []
        while len(received) < 50:
            message = client.receive(WAIT_S)
            assert message is not None
            if message.topic == "frame":
                received.append(json.loads(message.payload))
    numbers = [one["frame"] for one in received]
    assert numbers == sorted(set(numbers))
    assert all(set(one["scores"]) == {"red", "green", "blue"} for one in received)
    assert all(abs(sum(one["smoothed"].values()) - 1) < 0.01 for one in received)
    listener.wait_for(lambda: bool(listener.payloads("state")))
    assert listener.bodies("result") == []
    assert listener.payloads("info")[-1]["config"]["publish"]["result"] is False


def test_mqtt_has_no_such_request(
    broker: PrivateBroker, listen: Callable[[], Listener], daemon: Start, rgb: Path
) -> None:
    """It would have the whole broker get every frame."""
    listener = listen()
    daemon("--source", "synthetic", "--model", rgb, "--broker", broker.address)
    listener.wait_for(lambda: bool(listener.payloads("state")))
    topic = f"edge/{listener.payloads('info')[-1]['device']}/request/subscribe"
    single(topic, b'{"results": true}', 1, hostname=broker.host, port=broker.port)
    listener.wait_for(lambda: bool(listener.payloads("unknown")))
    assert "unknown command" in listener.payloads("unknown")[0]["error"]
