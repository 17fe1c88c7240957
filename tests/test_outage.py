"""Outages and slow networks: events arrive once, in order; the frame rate stays.

Those marked long take minutes: `make test-long`.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from deploy.broker import PrivateBroker
from tests.conftest import Daemon, Listener
from tests.loops import fill, tmpfs
from tests.slow_network import SlowNetwork

Start = Callable[..., Daemon]
Listen = Callable[[], Listener]
CONFIG = """
[device]
id = "wall"
[camera]
fps = 5.0
[smoothing]
window = 1
hold_frames = 1
[publish]
result = true
result_rate = 100.0
telemetry_interval_s = 1.0
"""
OUTAGE_S = 60


@pytest.fixture
def flicker(tmp_path: Path) -> Path:
    """A folder of one red and one blue picture: at five frames a second, five events."""
    folder = tmp_path / "flicker"
    folder.mkdir()
    for index, color in enumerate([(0, 0, 200), (200, 0, 0)]):
        cv2.imwrite(str(folder / f"{index}.png"), np.full((48, 64, 3), color, np.uint8))
    return folder


@pytest.fixture
def slow(broker: PrivateBroker) -> Iterator[SlowNetwork]:
    """200 ms each way, 5 % loss."""
    network = SlowNetwork(broker.port, 0.2, 5)
    yield network
    network.close()


def numbers(listener: Listener) -> dict[str, list[int]]:
    """Return the events that came, run -> numbers in the order they came."""
    found: dict[str, list[int]] = {}
    for event in listener.payloads("event"):
        run, _, number = event["id"].rpartition("-")
        found.setdefault(run, []).append(int(number))
    return found


@pytest.mark.parametrize(
    "outage_s", [3, pytest.param(OUTAGE_S, marks=pytest.mark.long)], ids=["3s", "60s"]
)
@pytest.mark.parametrize("kill", [False, True], ids=["alive", "killed"])
def test_every_event_of_an_outage_arrives_once_in_order(
    outage_s: int, kill: bool, broker: PrivateBroker, listen: Listen, daemon: Start, rgb: Path,
    flicker: Path, tmp_path: Path,
) -> None:  # fmt: skip
    """Five events a second, no broker; with ``kill`` the daemon is killed and started meanwhile."""
    command = ("--source", flicker, "--model", rgb, "--broker", broker.address)
    state = str(tmp_path / "state")
    running = daemon(*command, config=CONFIG, STATE_DIRECTORY=state)
    before = listen()
    before.wait_for(lambda: len(before.payloads("event")) >= 5)
    # What the broker takes in its last moment it acknowledges, and may not pass on.
    running.process.send_signal(signal.SIGSTOP)
    before.catch_up()
    broker.stop()
    running.process.send_signal(signal.SIGCONT)
    before.close()
    first = numbers(before)
    time.sleep(outage_s / 2)  # the outage itself
    if kill:
        running.stop(signal.SIGKILL)
        running = daemon(*command, config=CONFIG, STATE_DIRECTORY=state)
    time.sleep(outage_s / 2)  # the outage itself
    broker.start()
    after = listen()
    after.wait_for(lambda: len(after.payloads("event")) >= 4 * outage_s)
    running.stop()
    after.wait_for(lambda: after.payloads("availability")[-1:] == ["offline"])
    after.catch_up()
    second = numbers(after)
    assert len(second) == 1 + kill
    for run, came in second.items():
        expected = list(range(came[0], came[0] + len(came)))
        assert came == expected, "once each, in order"
        if run in first:  # none between the two listeners but what came twice at the break
            assert came[0] <= first[run][-1] + 1
        else:
            assert came[0] == 1
    assert next(iter(second)) in first


def test_a_slow_network_slows_nothing_but_itself(
    broker: PrivateBroker, slow: SlowNetwork, listen: Listen, daemon: Start, rgb: Path
) -> None:
    """200 ms and 5 % loss: every event arrives in order, frame rate and memory stay.

    A loop that waited for the network would make five frames a second at most.
    """
    listener = listen()
    daemon(
        *("--source", "synthetic", "--model", rgb, "--broker", f"127.0.0.1:{slow.port}"),
        config=CONFIG.replace("fps = 5.0", "fps = 30.0"),
    )
    listener.wait_for(lambda: len(listener.payloads("telemetry")) >= 3)
    first: dict[str, Any] = listener.payloads("telemetry")[-1]
    listener.wait_for(lambda: len(listener.payloads("telemetry")) >= 12)
    last = listener.payloads("telemetry")[-1]
    assert last["fps"] > 15
    assert last["reconnects_total"] == 0
    assert last["rss_bytes"] < first["rss_bytes"] + 10_000_000
    (came,) = numbers(listener).values()
    assert came == list(range(1, len(came) + 1))
    assert len(came) >= 8


def test_a_full_disk_costs_no_event_of_this_run(
    broker: PrivateBroker, listen: Listen, daemon: Start, rgb: Path, flicker: Path, tmp_path: Path
) -> None:
    """No broker, no room on the disk: logged once, counted, and everything arrives in the end."""
    with tmpfs(tmp_path / "state", "256k") as state:
        fill(state)
        broker.stop()
        command = ("--source", flicker, "--model", rgb, "--broker", broker.address)
        running = daemon(*command, config=CONFIG, STATE_DIRECTORY=str(state))
        running.wait_for_log("events wait in memory")
        time.sleep(1.0)  # the outage itself: five events
        broker.start()
        listener = listen()
        listener.wait_for(lambda: len(listener.payloads("event")) >= 10)
        (came,) = numbers(listener).values()
        assert came == list(range(1, len(came) + 1))
        listener.wait_for(
            lambda: any(t["spool_failures_total"] >= 5 for t in listener.payloads("telemetry"))
        )
        log = running.log.read_text()
        assert log.count("events wait in memory") == 1
        running.stop()
