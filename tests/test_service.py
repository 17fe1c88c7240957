"""The daemon as a process, against a real broker."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import jsonschema
import numpy as np
import pytest

from deploy.broker import PrivateBroker
from edge import contract
from tests.conftest import WAIT_S, Daemon, Listener, edge

Start = Callable[..., Daemon]
Listen = Callable[[], Listener]
CONFIG = """
[device]
id = "wall"
[publish]
result = true
telemetry_interval_s = 0.5
"""


def last(listener: Listener, kind: str) -> Any:
    """Return the newest payload on a topic, None before there is one."""
    found = listener.payloads(kind)
    return found[-1] if found else None


def test_every_payload_is_as_its_schema_says(
    broker: PrivateBroker, listen: Listen, daemon: Start, rgb: Path
) -> None:
    """What a stranger subscribes to is what `edge schema` promises."""
    listener = listen()
    daemon("--source", "synthetic", "--model", rgb, "--broker", broker.address, config=CONFIG)
    kinds = ("info", "state", "result", "event", "telemetry")
    listener.wait_for(lambda: all(listener.payloads(kind) for kind in kinds))
    schemas = contract.schema()
    for kind in kinds:
        for payload in listener.payloads(kind):
            jsonschema.validate(payload, schemas[kind])
    order = [kind for kind, _, _ in listener.messages]
    assert order.index("info") < order.index("availability")
    assert order.index("state") < order.index("availability")
    info = last(listener, "info")
    assert info["device"] == "wall"
    assert info["model"]["xnnpack"] is True
    assert info["camera"]["driver"] == "synthetic"


def test_each_change_is_reported_once_and_in_order(
    broker: PrivateBroker, listen: Listen, daemon: Start, rgb: Path
) -> None:
    """Red, green, blue, one second each: one event a change, none between."""
    listener = listen()
    daemon("--source", "synthetic", "--model", rgb, "--broker", broker.address, config=CONFIG)
    listener.wait_for(lambda: len(listener.payloads("event")) >= 4)
    events = listener.payloads("event")[:4]
    assert [event["after"] for event in events] == ["red", "green", "blue", "red"]
    assert [event["before"] for event in events] == [None, "red", "green", "blue"]
    assert len({event["id"] for event in events}) == 4
    # The window is 10 frames at 30 frames/s; each colour begins at a multiple of 30 frames.
    assert all(0 <= event["evidence"]["frame"] % 30 <= 13 for event in events)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_offline_follows_every_end(
    number: int, broker: PrivateBroker, listen: Listen, daemon: Start, rgb: Path
) -> None:
    """A clean stop says offline itself; after SIGKILL the last will does."""
    listener = listen()
    running = daemon("--source", "synthetic", "--model", rgb, "--broker", broker.address)
    listener.wait_for(lambda: last(listener, "availability") == "online")
    status = running.stop(number)
    listener.wait_for(lambda: last(listener, "availability") == "offline")
    assert status == (-number if number == signal.SIGKILL else 0)
    late = listen()
    late.wait_for(lambda: ("availability", b"offline", True) in late.messages)


def test_runs_on_without_a_broker_and_catches_up(
    broker: PrivateBroker, listen: Listen, daemon: Start, rgb: Path
) -> None:
    """The broker comes late, goes and comes back: events and state arrive, told once each."""
    broker.stop()
    running = daemon(
        "--source", "synthetic", "--model", rgb, "--broker", broker.address, config=CONFIG
    )
    running.wait_for_log("red -> green")
    broker.start()
    first = listen()
    first.wait_for(lambda: last(first, "availability") == "online")
    broker.stop()
    changes = running.log.read_text().count(" -> ")
    until = time.monotonic() + WAIT_S
    while running.log.read_text().count(" -> ") < changes + 2:
        assert time.monotonic() < until
        time.sleep(0.05)
    broker.start()
    again = listen()
    again.wait_for(lambda: last(again, "availability") == "online")
    again.wait_for(lambda: (last(again, "telemetry") or {}).get("reconnects_total") == 1)
    assert last(again, "info")["device"] == "wall"
    assert last(again, "telemetry")["unsent_total"] > 0
    log = running.log.read_text()
    assert log.count("cannot be reached") in (1, 2)  # an outage that is short ends before a try
    assert running.process.poll() is None


def test_events_outlive_broker_and_daemon(
    broker: PrivateBroker, listen: Listen, daemon: Start, rgb: Path, tmp_path: Path
) -> None:
    """No broker, then SIGKILL, then another run: every event of both, once, in order."""
    broker.stop()
    command = ("--source", "synthetic", "--model", rgb, "--broker", broker.address)
    state = str(tmp_path / "state")
    killed = daemon(*command, config=CONFIG, STATE_DIRECTORY=state)
    killed.wait_for_log("red -> green")
    killed.wait_for_log("green -> blue")
    killed.stop(signal.SIGKILL)
    told = killed.log.read_text().count(" -> ")
    running = daemon(*command, config=CONFIG, STATE_DIRECTORY=state)
    running.wait_for_log("red -> green")
    broker.start()
    listener = listen()
    listener.wait_for(lambda: len(listener.payloads("event")) > told + 2)
    ids = [event["id"].rsplit("-", 1) for event in listener.payloads("event")]
    runs = list(dict.fromkeys(run for run, _ in ids))
    assert len(runs) == 2
    first, second = ([int(number) for run, number in ids if run == mine] for mine in runs)
    assert first == list(range(1, len(first) + 1))
    assert len(first) in (told, told - 1)  # killed between the log's line and the event
    assert second == list(range(1, len(second) + 1))
    assert ids == [[runs[0], str(n)] for n in first] + [[runs[1], str(n)] for n in second]


def test_once_ends_with_the_file(
    broker: PrivateBroker, listen: Listen, daemon: Start, rgb: Path, tmp_path: Path
) -> None:
    """--once classifies every picture of a folder and exits with 0."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for index in range(6):
        cv2.imwrite(str(folder / f"{index}.png"), np.full((48, 64, 3), (0, 0, 200), np.uint8))
    (folder / "9.png").write_bytes(b"not a picture")
    listener = listen()
    running = daemon(
        "--source", folder, "--model", rgb, "--broker", broker.address, "--once", config=CONFIG
    )
    assert running.process.wait(WAIT_S) == 0
    listener.wait_for(lambda: last(listener, "availability") == "offline")
    telemetry = last(listener, "telemetry")
    assert telemetry["frames_total"] == 6
    assert telemetry["corrupt_total"] == 1
    assert [e["type"] for e in listener.payloads("event")][-1] == "frames_corrupt"


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["--source", "no/such.mp4"], 74, ["no/such.mp4", "no such source"]),
        (["--model", "no/model"], 78, ["no/model", "model not found"]),
        (["--config", "no.toml"], 78, ["no.toml", "file not found"]),
        (["--broker", "host:port"], 2, ["expected HOST or HOST:PORT"]),
    ],
)
def test_bad_arguments_end_in_one_line(
    arguments: list[str], status: int, words: list[str], rgb: Path
) -> None:
    """What, where, and a status of its own; no traceback."""
    given = dict(zip(arguments[::2], arguments[1::2], strict=True))
    given = {"--model": str(rgb), "--source": "synthetic"} | given
    done = edge("run", *(part for pair in given.items() for part in pair))
    assert done.returncode == status
    line = done.stderr.strip().splitlines()[-1]
    assert all(word in line for word in words), done.stderr
    assert "Traceback" not in done.stderr


def test_password_is_never_shown(tmp_path: Path) -> None:
    """`edge check` redacts what a camera's URL holds, and never reads out the password."""
    (tmp_path / "secret").write_text("hunter2\n")
    config = tmp_path / "edge.toml"
    config.write_text(
        '[camera]\nsource = "rtsp://admin:hunter3@cam/1"\n'
        f'[mqtt]\nusername = "me"\npassword_file = "{tmp_path / "secret"}"\n'
    )
    done = edge("check", "--config", config, env={**os.environ, "PYTHONWARNINGS": "error"})
    shown = json.loads(done.stdout[: done.stdout.rindex("}") + 1])
    assert shown["camera"]["source"] == "rtsp://***@cam/1"
    assert "hunter" not in done.stdout + done.stderr


def test_the_state_is_told_again_and_frames_that_nobody_looked_at_are_counted(
    broker: PrivateBroker, listen: Listen, daemon: Start, rgb: Path
) -> None:
    """A heartbeat without a change; a source that is faster than the daemon."""
    listener = listen()
    daemon(
        *("--source", "synthetic", "--model", rgb, "--broker", broker.address),
        config="[camera]\nwidth = 4096\nheight = 4096\nfps = 240\n"
        "[publish]\nstate_interval_s = 0.1\ntelemetry_interval_s = 0.5\n[smoothing]\nenter = 1.0\n",
    )
    listener.wait_for(lambda: len(listener.payloads("state")) >= 6)
    listener.wait_for(lambda: (last(listener, "telemetry") or {}).get("dropped_total", 0) > 0)


def test_a_folder_whose_name_is_not_text_is_shown(
    broker: PrivateBroker, listen: Listen, daemon: Start, rgb: Path, tmp_path: Path
) -> None:
    """Linux allows any bytes in a name; JSON does not."""
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    folder.mkdir()
    cv2.imwrite(str(tmp_path / "red.png"), np.full((48, 64, 3), (0, 0, 200), np.uint8))
    (tmp_path / "red.png").rename(folder / "red.png")
    listener = listen()
    running = daemon("--source", folder, "--model", rgb, "--broker", broker.address, "--once")
    assert running.process.wait(WAIT_S) == 0
    listener.wait_for(lambda: bool(listener.payloads("info")))
    assert last(listener, "info")["camera"]["source"].endswith(r"caf\udce9")
