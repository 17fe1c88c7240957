"""Daemons whose spool or state directory is another's, fills up, or is read-only."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from deploy.broker import PrivateBroker
from tests.conftest import Daemon, Listener
from tests.loops import fill, remount, tmpfs
from tests.test_control import CONFIG as WALL
from tests.test_control import Asker, online
from tests.test_mqtt_hostile import wait
from tests.test_outage import CONFIG, flicker, numbers, quiet

__all__ = ["flicker"]
Start = Callable[..., Daemon]
Listen = Callable[[], Listener]


def more_changes(running: Daemon, count: int) -> None:
    """Return once the daemon has logged so many more changes of label."""
    before = running.log.read_text().count(" -> ")
    wait(lambda: running.log.read_text().count(" -> ") >= before + count)


def test_a_disk_that_fills_up_during_the_run_costs_no_event(
    broker: PrivateBroker, listen: Listen, daemon: Start, rgb: Path, flicker: Path, tmp_path: Path
) -> None:
    """Events go to memory, then back to the disk by themselves; a kill after that loses none."""
    with tmpfs(tmp_path / "state", "256k") as state:
        command = ("--source", flicker, "--model", rgb, "--broker", broker.address)
        running = daemon(*command, config=CONFIG, STATE_DIRECTORY=str(state))
        before = listen()
        before.wait_for(lambda: len(before.payloads("event")) >= 3)
        running.process.send_signal(signal.SIGSTOP)  # as in the tests of outages
        quiet(before, 0.5)
        broker.stop()
        running.process.send_signal(signal.SIGCONT)
        before.close()
        filler = fill(state)
        running.wait_for_log("new events wait in memory")
        more_changes(running, 10)
        filler.unlink()
        running.wait_for_log("takes events again")
        more_changes(running, 5)
        running.stop(signal.SIGKILL)
        assert running.log.read_text().count("wait in memory") == 1
        broker.start()
        after = listen()
        daemon(*command, config=CONFIG, STATE_DIRECTORY=str(state))
        after.wait_for(lambda: len(numbers(after)) == 2)
        (run,) = numbers(before)
        came = numbers(after)[run]
        assert came[0] <= numbers(before)[run][-1] + 1
        assert came == list(range(came[0], came[0] + len(came)))
        assert len(came) > 10


def test_two_daemons_with_one_spool_file_lose_nothing(
    broker: PrivateBroker, listen: Listen, daemon: Start, rgb: Path, flicker: Path, tmp_path: Path
) -> None:
    """The second says so in one line and keeps its events in memory; the file stays whole."""
    spool = f'[spool]\npath = "{tmp_path / "spool.db"}"\n'
    command = ("--source", flicker, "--model", rgb, "--broker", broker.address)
    first = daemon(*command, config=CONFIG + spool)
    first.wait_for_log("ready after")
    second = daemon(*command, config=CONFIG.replace("wall", "door") + spool)
    second.wait_for_log("ready after")
    listener = listen()
    listener.wait_for(lambda: len(numbers(listener)) == 2)
    broker.stop()
    for running in (first, second):
        more_changes(running, 10)
    broker.start()
    after = listen()
    after.wait_for(lambda: len(numbers(after)) == 2)
    after.wait_for(lambda: all(len(came) >= 15 for came in numbers(after).values()))
    for came in numbers(after).values():
        assert came == list(range(came[0], came[0] + len(came)))
    assert "wait in memory" not in first.log.read_text()
    (line,) = [line for line in second.log.read_text().splitlines() if "spool" in line]
    assert "database is locked: another process uses it; events wait in memory" in line
    assert (first.stop(), second.stop()) == (0, 0)
    assert not list(tmp_path.glob("*unreadable*"))


@pytest.mark.parametrize("kind", ["full", "read-only"])
def test_settings_that_cannot_be_kept_are_refused_and_the_old_ones_stay(
    kind: str, broker: PrivateBroker, daemon: Start, rgb: Path, tmp_path: Path
) -> None:
    """One answer with the reason; what is in force and what the file says are as before."""
    with tmpfs(tmp_path / "state", "256k") as state:
        running = daemon(
            *("--source", "synthetic", "--model", rgb, "--broker", broker.address),
            config=WALL + ('[spool]\npath = ""\n' if kind == "read-only" else ""),  # or it is busy
            STATE_DIRECTORY=str(state),
        )
        online(broker)
        asker = Asker(broker)
        try:
            assert asker.ask("set", {"smoothing": {"window": 5}, "persist": True})["error"] == ""
            kept = (state / "settings.json").read_bytes()
            if kind == "full":
                filler = fill(state)
            else:
                remount(state, "ro")
            for _ in range(3):
                refused = asker.ask("set", {"smoothing": {"window": 7}, "persist": True})
                assert refused["status"] == "error"
                why = "No space left on device" if kind == "full" else "Read-only file system"
                assert f"cannot be kept: {why}" in refused["error"]
                assert (state / "settings.json").read_bytes() == kept
            volatile = asker.ask("set", {"smoothing": {"window": 8}})
            assert volatile["data"]["smoothing"]["window"] == 8
            if kind == "full":
                filler.unlink()
            else:
                remount(state, "rw")
            taken = asker.ask("set", {"smoothing": {"window": 9}, "persist": True})
            assert taken["error"] == ""
            assert json.loads((state / "settings.json").read_bytes())["smoothing"]["window"] == 9
            assert not list(state.glob("*.part"))
        finally:
            asker.close()
        assert running.stop() == 0
