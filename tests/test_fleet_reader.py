"""What reads other devices: one connection for all who ask, bounds, a broker that hangs."""

from __future__ import annotations

import json
import threading
from typing import Any

import msgspec
import pytest

from deploy.broker import PrivateBroker
from edge.contract import DEVICES_MAX, Request
from edge.daemon import fleet as fleets
from edge.daemon.commands import Pending
from edge.daemon.fleet import Fleets, fleet
from edge.errors import EdgeError
from edge.local import LINE_MAX
from edge.messages import Broker
from tests.conftest import wait_until
from tests.test_fleet import retain


def test_more_devices_than_are_given_are_counted() -> None:
    """The answer says how many are missing; the worst one fits in a line of the local socket."""
    state = {"label": "\U000e0001" * 5000, "ts": 9.0, "since_s": 1.0}
    info = {"version": "\U000e0001" * 5000}
    payloads = {"edge/me/info": b"{}", "edge/gone/info": b""}
    for n in range(DEVICES_MAX + 7):
        payloads[f"edge/d{n}/state"] = json.dumps(state).encode()
        payloads[f"edge/d{n}/info"] = json.dumps(info).encode()
    got = fleet(payloads, "edge", "me")
    assert (len(got.devices), got.left_out, got.own) == (DEVICES_MAX, 7, True)
    assert len(msgspec.json.encode(got)) < LINE_MAX / 2


def test_one_connection_serves_all_who_wait(broker: PrivateBroker) -> None:
    """Nothing is connected before somebody asks; later ones get the same until it is old."""
    now_s = [100.0]
    retain(broker, "edge/wall/availability", b"online")
    asker = Fleets(Broker(broker.host, broker.port), "edge", "porch", lambda: now_s[0])
    asker.tick()
    assert asker._call is None
    answers: list[tuple[Any, str]] = []
    for _ in range(3):
        pending = asker.handle(Request())
        assert isinstance(pending, Pending)
        pending.settle = lambda answer, error: answers.append((answer, error))

    def settled() -> bool:
        asker.tick()
        return len(answers) == 3

    wait_until(settled)
    assert answers[0] == answers[1] == answers[2]
    assert [one.id for one in answers[0][0]["devices"]] == ["wall"]
    assert answers[0][1] == ""
    now_s[0] += 4.0
    again = asker.handle(Request())
    assert not isinstance(again, Pending)
    assert again["age_s"] == 4.0
    assert asker._call is None
    now_s[0] += fleets.FRESH_S
    assert isinstance(asker.handle(Request()), Pending)


def test_a_connection_that_hangs_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waits is answered in time, and no second connection is begun beside it."""
    end, begun = threading.Event(), []

    def hang(*_: object) -> dict[str, bytes]:
        begun.append(1)
        end.wait()
        return {}

    monkeypatch.setattr(fleets, "kept", hang)
    now_s = [0.0]
    asker = Fleets(Broker("name.invalid", 1883), "edge", "porch", lambda: now_s[0])
    answers: list[str] = []
    for _ in range(fleets.WAITING):
        pending = asker.handle(Request())
        assert isinstance(pending, Pending)
        pending.settle = lambda _, error: answers.append(error)
    with pytest.raises(EdgeError, match="wait for the broker already"):
        asker.handle(Request())
    asker.tick()
    assert answers == []
    now_s[0] = fleets.PATIENCE_S + 1
    asker.tick()
    assert (
        answers
        == ["name.invalid:1883: broker does not answer in 9 s; see [mqtt] in edge.toml"]
        * fleets.WAITING
    )
    with pytest.raises(EdgeError, match="does not answer"):
        asker.handle(Request())
    end.set()

    def over() -> bool:
        asker.tick()
        return asker._call is None

    wait_until(over)
    assert begun == [1]
