"""Events outlive the process, outages of the broker and faults of the disk."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edge.messages import Message
from edge.mqtt.spool import IN_MEMORY, REMOVE_S, SYNC_S, Spool
from edge.mqtt.spool.queue import REOPEN_S
from tests.conftest import WAIT_S
from tests.loops import fill, remount, tmpfs


def event(number: int, size: int = 0) -> Message:
    """Return an event whose payload begins with its number."""
    return Message("edge/d/event", str(number).encode().ljust(size), 1, False)


def waiting(spool: Spool) -> list[bytes]:
    """Return the payloads that wait, in order."""
    found, at = [], 0
    while item := spool.after(at):
        at, message = item
        found.append(message.payload)
    assert len(found) == len(spool)
    return found


@pytest.fixture(autouse=True)
def closed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Close at the end what a test left open, as a process that is killed does."""
    opened: list[sqlite3.Connection] = []
    connect = sqlite3.connect

    def keep(*arguments: Any, **options: Any) -> sqlite3.Connection:
        opened.append(connect(*arguments, **options))
        return opened[-1]

    monkeypatch.setattr(sqlite3, "connect", keep)
    yield
    for database in opened:
        database.close()


def begin(folder: Path, events_max: int = 10_000, bytes_max: int = 10**7) -> Spool:
    """Open the spool of a folder."""
    return Spool(folder / "spool.db", events_max, bytes_max)


def test_what_waits_is_synced_and_what_the_broker_has_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once for all that waits, after a while; an SD card wears out."""
    synced: list[Path] = []
    fsync = os.fsync

    def recorded(file: int) -> None:
        fsync(file)
        synced.append(Path(os.readlink(f"/proc/self/fd/{file}")))

    monkeypatch.setattr(os, "fsync", recorded)
    spool = begin(tmp_path / "one")
    later = time.monotonic() + SYNC_S + 1

    def tick(spool: Spool, at_s: float) -> None:
        spool.tick(at_s)
        for thread in syncing():
            thread.join()

    spool.done(spool.add(event(0)))
    tick(spool, later)
    assert synced == [], "the broker has it"
    spool.add(event(1))
    spool.add(event(2))
    tick(spool, time.monotonic())
    assert synced == [], "it may yet go"
    tick(spool, later)
    tick(spool, later + SYNC_S + 1)
    assert synced == [tmp_path / "one" / "spool.db-wal"]
    spool.add(event(3))
    tick(spool, later + SYNC_S + 1)
    assert len(synced) == 2
    again = begin(shutil.copytree(tmp_path / "one", tmp_path / "two"))
    tick(again, time.monotonic())
    assert synced[2:] == [tmp_path / "two" / "spool.db-wal"], "what a killed process left, at once"
    spool.close()
    memory = Spool(None, 10, 1000)
    memory.add(event(0))
    tick(memory, later)
    assert len(synced) == 3, "nor what is in no file"


def syncing() -> list[threading.Thread]:
    """Return the threads that sync."""
    return [thread for thread in threading.enumerate() if thread.name == "spool-sync"]


def test_a_disk_that_does_not_answer_has_one_thread_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not one more every five seconds; what has come meanwhile is synced after that."""
    answer, calls = threading.Event(), list[int]()

    def fsync(file: int) -> None:
        calls.append(file)
        assert answer.wait(WAIT_S)

    monkeypatch.setattr(os, "fsync", fsync)
    spool, now = begin(tmp_path), time.monotonic()
    for number in range(1, 4):
        spool.add(event(number))
        spool.tick(now + number * (SYNC_S + 1))
        assert len(syncing()) == 1
    answer.set()
    for thread in syncing():
        thread.join()
    spool.tick(now + 4 * (SYNC_S + 1))
    for thread in syncing():
        thread.join()
    assert len(calls) == 2
    spool.close()


def test_a_sync_that_comes_after_the_close_is_nothing_to_report(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """SQLite has written its log back, synced that and removed it."""
    spool = begin(tmp_path)
    spool.add(event(1))
    file = spool._file
    assert file is not None
    spool.close()
    file.sync()
    assert caplog.messages == []


def test_what_waits_is_there_after_the_process(tmp_path: Path) -> None:
    """Whole messages, in order, under growing numbers; what was done is not."""
    spool = begin(tmp_path)
    numbers = [spool.add(event(n)) for n in range(5)]
    spool.done(numbers[0])
    spool.close()
    again = begin(tmp_path)
    assert waiting(again) == [b"1", b"2", b"3", b"4"]
    assert again.add(event(5)) > numbers[-1]
    first = again.after(0)
    assert first == (numbers[1], event(1))
    assert again.volatile == 0
    again.close()


def test_sigkill_at_any_instant_loses_nothing_that_was_added(tmp_path: Path) -> None:
    """A process that adds and removes without end is killed ten times; the file stays whole."""
    program = (
        "import sys; from pathlib import Path; from edge.mqtt.spool import Spool;"
        " from edge.messages import Message; s = Spool(Path(sys.argv[1]), 50, 10**7)\n"
        "while True:\n"
        "  n = s.add(Message('t', b'x' * 100, 1, False)); s.done(n - 30)\n"
        "  print(n, flush=True)"
    )
    for _ in range(10):
        command = [sys.executable, "-c", program, str(tmp_path / "spool.db")]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
            assert running.stdout
            added = [int(running.stdout.readline()) for _ in range(60)]
            running.kill()
            added += [int(line) for line in running.stdout if line.endswith("\n")]
        spool = begin(tmp_path)
        found, at = [], 0
        while item := spool.after(at):
            at = item[0]
            found.append(at)
        assert set(range(added[-1] - 29, added[-1] + 1)) <= set(found)
        spool.close()
    assert not list(tmp_path.glob("*unreadable*"))


def test_the_oldest_give_way_by_number_and_by_bytes(tmp_path: Path) -> None:
    """Each dropped one is counted."""
    spool = begin(tmp_path, events_max=3)
    for number in range(5):
        spool.add(event(number))
    assert waiting(spool) == [b"2", b"3", b"4"]
    assert spool.dropped_total == 2
    spool.close()
    small = begin(tmp_path, bytes_max=250)
    for number in (5, 6):
        small.add(event(number, size=100))
    assert [body[:1] for body in waiting(small)] == [b"2", b"3", b"4", b"5", b"6"]
    small.add(event(7, size=100))
    assert [body[:1] for body in waiting(small)] == [b"6", b"7"]
    small.close()


def test_an_event_that_the_broker_cannot_have_is_set_aside(tmp_path: Path) -> None:
    """Counted once; the others wait on, in order, also after the process."""
    spool = begin(tmp_path)
    numbers = [spool.add(event(n)) for n in range(4)]
    spool.set_aside(numbers[1])
    spool.set_aside(numbers[1])
    assert waiting(spool) == [b"0", b"2", b"3"]
    assert (spool.set_aside_total, spool.dropped_total) == (1, 1)
    spool.close()
    with contextlib.closing(sqlite3.connect(tmp_path / "spool.db")) as database:
        kept = database.execute("SELECT number, payload, reason FROM set_aside").fetchall()
    assert kept == [(numbers[1], b"1", "the broker cannot take it")]
    assert waiting(begin(tmp_path)) == [b"0", b"2", b"3"]


@pytest.mark.parametrize("damage", ["garbage", "cut", "zeros"])
def test_an_unreadable_file_is_set_aside_and_replaced(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The daemon runs on; the old file is kept for inspection."""
    spool = begin(tmp_path)
    for number in range(500):
        spool.add(event(number, size=500))
    spool.close()
    file = tmp_path / "spool.db"
    content = bytearray(file.read_bytes())
    if damage == "garbage":
        content = bytearray(b"not a database at all" * 1000)
    elif damage == "cut":
        del content[len(content) // 2 :]
    else:
        content[4096 : len(content) // 2] = bytes(len(content) // 2 - 4096)
    file.write_bytes(content)
    again = begin(tmp_path)
    assert len(again) == 0
    again.add(event(1))
    again.close()
    assert len(list(tmp_path.glob("spool.db.unreadable-*"))) == 1
    assert "set aside" in caplog.text
    assert waiting(begin(tmp_path)) == [b"1"]


def test_a_full_disk_stops_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """On a disk of 256 KB: logged once, counted, kept in memory, and written when there is room."""
    caplog.set_level("INFO", "edge.mqtt.spool")
    with tmpfs(tmp_path / "disk", "256k") as disk:
        spool = begin(disk)
        for number in range(300):
            spool.add(event(number, size=1000))
        assert 0 < spool.failures_total < 300
        assert spool.volatile == spool.failures_total
        assert [int(body) for body in waiting(spool)] == list(range(300))
        assert caplog.text.count("new events wait in memory") == 1
        remount(disk, "size=8m")
        spool.add(event(300))
        assert spool.volatile == 0
        assert "takes events again" in caplog.text
        assert [int(body) for body in waiting(spool)] == list(range(301))
        spool.close()


def test_what_waits_in_memory_is_written_without_another_event(tmp_path: Path) -> None:
    """Some seconds after there is room again; those that wait are bounded by number meanwhile."""
    with tmpfs(tmp_path / "disk", "256k") as disk:
        spool = begin(disk)
        filler = fill(disk)
        for number in range(IN_MEMORY + 200):
            spool.add(event(number, size=1000))
        assert spool.volatile == IN_MEMORY
        assert len(spool) + spool.dropped_total == IN_MEMORY + 200
        spool.tick(time.monotonic() + REMOVE_S)
        assert spool.volatile == IN_MEMORY
        filler.unlink()
        remount(disk, "size=8m")
        spool.tick(time.monotonic() + REMOVE_S)
        assert spool.volatile == 0
        expected = waiting(spool)
        spool.close()
        assert waiting(begin(disk)) == expected


def test_a_disk_that_comes_and_goes_is_not_reported_each_time(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Once a minute at most: another program may fill and free it all day."""
    caplog.set_level("INFO", "edge.mqtt.spool")
    with tmpfs(tmp_path / "disk", "256k") as disk:
        spool = begin(disk)
        number = spool.add(event(0, size=1000))
        for _ in range(50):
            filler = fill(disk)
            while not spool.volatile:
                number = spool.add(event(0, size=1000))
            filler.unlink()
            spool.done(number)
            spool.add(event(0))
            assert spool.volatile == 0
        assert len(caplog.records) == 2
        spool.close()


def test_a_disk_that_is_read_only_at_the_start_is_taken_when_it_can_be(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What waits in the file is sent after what came meanwhile: those numbers are taken."""
    caplog.set_level("INFO", "edge.mqtt.spool")
    with tmpfs(tmp_path / "disk", "1m") as disk:
        spool = begin(disk)
        for number in range(3):
            spool.add(event(number))
        spool.close()
        remount(disk, "ro")
        spool = begin(disk)
        spool.add(event(3))
        spool.add(event(4))
        assert spool.volatile == len(spool) == 2
        spool.tick(time.monotonic() + REOPEN_S)
        assert spool.volatile == 2
        handed = spool.after(0)
        assert handed is not None
        remount(disk, "rw")
        spool.tick(time.monotonic() + 2 * REOPEN_S)
        assert spool.volatile == 0
        assert waiting(spool) == [b"3", b"4", b"0", b"1", b"2"]
        assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
        expected = waiting(spool)
        spool.close()
        assert waiting(begin(disk)) == expected


def test_a_folder_that_cannot_be_is_memory(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A path below a file: logged, and events wait in memory, bounded."""
    (tmp_path / "file").write_text("")
    spool = Spool(tmp_path / "file" / "spool.db", 10_000, 10**7)
    for number in range(IN_MEMORY + 5):
        spool.add(event(number))
    assert spool.volatile == len(spool) == IN_MEMORY
    assert spool.dropped_total == 5
    assert "events wait in memory" in caplog.text


def test_a_second_daemon_does_not_share_the_file(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The first has it; the second says so and keeps its events in memory."""
    first, second = begin(tmp_path), begin(tmp_path)
    second.add(event(2))
    assert "locked" in caplog.text
    assert (len(first), second.volatile) == (0, 1)
    first.close()


def test_an_acknowledged_event_leaves_the_disk_after_a_while(tmp_path: Path) -> None:
    """Not at once: removals wait for the next event, or for some seconds."""
    spool = begin(tmp_path)
    spool.done(spool.add(event(1)))

    def on_disk() -> int:
        copy = tmp_path / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        copy.mkdir()
        for file in tmp_path.glob("spool.db*"):
            shutil.copy(file, copy)
        with sqlite3.connect(copy / "spool.db") as database:
            return int(database.execute("SELECT count(*) FROM events").fetchone()[0])

    spool.tick(time.monotonic())
    assert on_disk() == 1
    spool.tick(time.monotonic() + REMOVE_S)
    assert on_disk() == 0
    spool.close()
