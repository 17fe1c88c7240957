"""What `edge watch` makes of messages, good and bad; the drawing is rich's."""

from __future__ import annotations

import io
import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from edge.cli.screen import Screen
from edge.contract import StageTimes, Telemetry
from edge.contract.encode import Wire
from edge.contract.telemetry import PARTS
from edge.frames import Prediction
from tests.figures import figures
from tests.test_wire import GOLDEN


def drawn(view: Screen) -> str:
    """Return the screen as text."""
    console = Console(width=120, file=io.StringIO())
    with console.capture() as captured:
        console.print(view.render())
    return captured.get()


def test_the_screen_shows_state_event_and_times() -> None:
    """Label, scores, changes, fps, percentiles, memory."""
    view = Screen()
    assert "waiting" in drawn(view)
    wire = Wire("edge/wall", ("cat", "dog"), "cafe", lambda: 1.0)
    stages = {"invoke": StageTimes(1.25, 2.0, 3.5, 9.0)}
    told = figures(fps=14.9, stages_ms=stages, pss_bytes=61_000_000, temperature_celsius=None)
    for message in (
        wire.availability(online=True),
        wire.state(Prediction(1, 9, "dog", 0.9, (0.1, 0.9), 9, partial=False)),
        wire.telemetry(told),
        wire.event("label_changed", "cat", "dog"),
    ):
        assert view.take(message.topic, message.payload)
    screen = drawn(view)
    for text in ("wall", "online", "dog", "0.90", "14.9 fps", "1.25", "61 MB", "cat -> dog"):
        assert text in screen, screen


@pytest.mark.parametrize(("label", "green"), [("cat", True), ("neither", False), (None, False)])
def test_a_background_label_does_not_stand_out(label: str | None, green: bool) -> None:
    """The current label is green, unless `info` says that it means nothing of interest."""
    view, golden = Screen(), json.loads((GOLDEN / "info_background.json").read_text())
    assert view.take(golden["topic"], json.dumps(golden["payload"]).encode())
    wire = Wire("edge/wall", ("cat", "dog", "neither"), "cafe", lambda: 1.0)
    message = wire.state(Prediction(1, 9, label, 0.5, (0.5, 0.0, 0.5), 9, partial=False))
    assert view.take(message.topic, message.payload)
    console = Console(width=120, file=io.StringIO(), force_terminal=True, color_system="standard")
    with console.capture() as captured:
        console.print(view.render())
    rows = [row for row in captured.get().splitlines() if "█" in row]
    (row,) = [row for row in rows if (label or "neither") in row]
    assert ("32m" in row) == green
    assert ("\x1b[1" in row) == (label is not None)


def test_a_camera_that_is_away_is_seen() -> None:
    """State and reason, from `info`."""
    view, golden = Screen(), json.loads((GOLDEN / "info.json").read_text())
    assert view.take(golden["topic"], json.dumps(golden["payload"]).encode())
    assert "camera recovering: picamera2:0: no frame for 10 s" in " ".join(drawn(view).split())


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["seq", "ts", "score", "label", "stages_ms"]), inner)
    ),
    max_leaves=6,
)


@given(
    st.sampled_from(["state", "event", "info", "telemetry", "result", "availability"]),
    st.binary(max_size=40) | JSON.map(lambda value: json.dumps(value).encode()),
)
def test_whatever_else_is_published_there_is_survived(kind: str, payload: bytes) -> None:
    """Another program's bytes, or another version's fields: counted, or shown; never a crash."""
    view = Screen()
    taken = view.take(f"edge/x/{kind}", payload)
    assert view.unreadable_total == (taken is None)
    drawn(view)


STATE = {"seq": 1, "ts": 1.0, "label": "a", "score": 0.5, "scores": {"a": 0.5}}
STATE |= {"since_s": 1.0, "partial": False, "frame": 1}


@pytest.mark.parametrize(
    ("kind", "payload"),
    [
        ("state", STATE | {"scores": {"a": 1e300}}),
        ("event", {"seq": 1, "ts": 1e300, "id": "x", "type": "label_changed"}),
    ],
)
def test_values_outside_the_contract_are_counted(kind: str, payload: dict[str, Any]) -> None:
    """No bar as long as the universe, no date beyond the calendar."""
    view = Screen()
    assert view.take(f"edge/x/{kind}", json.dumps(payload).encode()) is None
    assert view.unreadable_total == 1
    drawn(view)


def test_nothing_commands_the_terminal() -> None:
    """Neither escape sequences nor rich's markup."""
    view = Screen()
    shown = view.take("edge/x/state", json.dumps(STATE | {"label": "\x1b[2J"}).encode())
    assert shown is not None
    assert "\x1b" not in shown
    times = {"p50": 1.0, "p90": 1.0, "p99": 1.0, "max": 1.0}
    told: dict[str, Any] = {
        field: None if field.endswith(("bytes", "share", "celsius", "hz", "bits", "1m")) else 1
        for field in Telemetry.__struct_fields__
        if field not in PARTS
    }
    told |= {"stages_ms": {"[/b]": times}, "camera_problem": False}
    assert view.take("edge/x/telemetry", json.dumps(told).encode())
    assert "[/b]" in drawn(view)
    deep = b'{"config": ' + b"[" * 100_000
    assert view.take("edge/x/info", deep) is None


def test_other_topics_are_left_alone() -> None:
    """Only the public topics of devices."""
    view = Screen()
    assert view.take("edge/wall/request/ping", b"{}") is None
    assert view.take("edge/wall/snapshot", b"\xff") is None
    assert view.devices == {}


def test_many_devices_are_a_table() -> None:
    """A row each: label, rate, p99, temperature, age; who is offline, and how many are not."""
    view = Screen()
    stages = {"latency": StageTimes(1.0, 1.0, 7.5, 9.0)}
    told = figures(fps=14.9, stages_ms=stages, temperature_celsius=51.0)
    for number in range(5):
        wire = Wire(f"edge/d{number}", ("cat", "dog"), "cafe", time.time)
        for message in (
            wire.availability(online=number != 2),
            wire.state(Prediction(1, 9, "dog", 0.93, (0.1, 0.9), 9, partial=False)),
            wire.telemetry(told),
        ):
            assert view.take(message.topic, message.payload)
    rows = drawn(view).splitlines()
    assert "4 of 5 online" in rows[0]
    (first,) = (row for row in rows if "d0" in row)
    assert first.split()[1:6] == ["dog", "0.93", "14.9", "7.5", "51"]
    (gone,) = (row for row in rows if "d2" in row)
    assert "offline" in gone
