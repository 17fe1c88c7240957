"""The history of the page: what is kept, how long, and what a kill or a damaged file costs."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edge.errors import EdgeError
from edge.web import command, history_file
from edge.web.history import History
from edge.web.history_file import BYTES_MAX, KEPT_S, Figures, Happened, HistoryFile, Stretch
from edge.web.link import News
from edge.web.past import EVENTS, POINTS, read
from tests.conftest import Daemon, wait_until
from tests.web_server import FakeDaemon, Web, said

Serve = Callable[..., Web]
NOW = 1.8e9


def figures(ts: float, fps: float | None = 30.0) -> Figures:
    """Return a row of telemetry."""
    return Figures(ts, fps, 50.0, 4e7, 10.0, 20.0, 5.0, None)


def state(ts: float, label: str | None, since_s: float, **more: Any) -> News:
    """Return a state as the daemon sends it."""
    payload = {"seq": 1, "ts": ts, "label": label, "since_s": since_s, "score": 0.9, **more}
    return News("state", json.dumps(payload).encode(), False)


@pytest.fixture
def history(tmp_path: Path) -> History:
    """A history without its thread: ``written`` writes."""
    return History(tmp_path)


def written(history: History, now_s: float = NOW) -> list[tuple[float, float, str | None]]:
    """Return the labels of the file, once what waits is in it."""
    history._file.write(list(history._waiting), now_s)
    history._waiting.clear()
    past = read(history.path, now_s - KEPT_S, now_s + 1e6)
    return past.labels


def test_a_label_is_one_stretch_from_its_beginning(history: History) -> None:
    """However often its state is repeated; the next one begins where it ends."""
    for ts, label, since_s in (
        *((NOW, "open", 100.0), (NOW + 10, "open", 110.0), (NOW + 20, "open", 120.01)),
        *((NOW + 25, None, 0.0), (NOW + 26, "closed", 0.0), (NOW + 36, "closed", 10.0)),
    ):
        history.take(state(ts, label, since_s))
    assert written(history) == [
        (NOW - 100, NOW + 25, "open"),
        (NOW + 25, NOW + 26, None),
        (NOW + 26, NOW + 36, "closed"),
    ]


def test_where_nothing_is_known_is_a_gap(history: History) -> None:
    """No state for long and another beginning since, or paused: nothing is claimed."""
    history.take(state(NOW, "open", 0.0))
    history.take(state(NOW + 10, "open", 10.0))
    history.take(state(NOW + 40, "open", 40.0, paused=True))
    history.take(state(NOW + 500, "open", 100.0))
    assert written(history) == [(NOW, NOW + 10, "open"), (NOW + 400, NOW + 500, "open")]


def test_a_label_that_lasted_while_nobody_looked_has_no_gap(tmp_path: Path) -> None:
    """Its state says since when; the file had its beginning."""
    first = History(tmp_path)
    first.take(state(NOW, "open", 5.0))
    written(first)
    later = History(tmp_path)
    later._resume()
    later.take(state(NOW + 7200, "open", 7205.0))
    assert written(later, NOW + 7200) == [(NOW - 5, NOW + 7200, "open")]


def test_a_clock_that_goes_back_ruins_nothing(history: History) -> None:
    """The new rows are of the new time; a stretch never ends before it begins."""
    history.take(state(NOW, "open", 5.0))
    history.take(state(NOW - 9000, "closed", 1.0))
    history.take(state(NOW - 8990, "closed", 11.0))
    labels = written(history)
    assert (NOW - 9001, NOW - 8990, "closed") in labels
    assert all(since <= until for since, until, _ in labels)


def test_what_is_no_message_of_ours_is_left_out(history: History) -> None:
    """Nothing is raised, nothing is kept."""
    for payload in (b"", b"{", b"null", b'{"ts": "x"}', b"[" * 50_000, b"\xff", b"{}"):
        for topic in ("state", "event", "telemetry", "info", "frame"):
            history.take(News(topic, payload, False))
    history.take(News("event", b'{"id": "a", "ts": 1.0, "x": "%b"}' % (b"y" * 5_000), False))
    assert list(history._waiting) == []


def test_what_is_too_old_goes(tmp_path: Path) -> None:
    """After seven days, of every kind; a clock in the past removes nothing."""
    file = HistoryFile(tmp_path / "h.db")
    rows = [
        row
        for ts in (NOW - KEPT_S - 10, NOW - KEPT_S + 10)
        for row in (figures(ts), Happened(f"e{ts}", ts, "{}"), Stretch(ts - 5, ts, "open"))
    ]
    file.write(rows, now_s=10.0)
    assert len(read(tmp_path / "h.db", 0, 2 * NOW).labels) == 2
    file.write([figures(NOW)], NOW)
    past = read(tmp_path / "h.db", 0, 2 * NOW)
    assert (len(past.labels), len(past.events)) == (1, 1)
    file.close()


def test_the_file_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond its pages the oldest rows go; file and log stay below the limit at all times."""
    monkeypatch.setattr(history_file, "PAGES_FULL", 300)
    monkeypatch.setattr(history_file, "PAGES_MAX", 600)
    file, path = HistoryFile(tmp_path / "h.db"), tmp_path / "h.db"
    largest = 0
    for batch in range(40):
        begin = NOW + batch * 1000
        file.write([figures(begin + n) for n in range(500)], begin)
        text = json.dumps({"n": "x" * 1000})
        file.write([Happened(f"{batch}-{n}", begin + n, text) for n in range(100)], begin)
        largest = max(largest, sum(one.stat().st_size for one in tmp_path.iterdir()))
    file.close()
    assert largest < 600 * 4096 + 2_000_000
    assert history_file.PAGES_MAX * 4096 < BYTES_MAX
    past = read(path, NOW - 1, NOW + 1e6)
    assert past.series.time[-1] == pytest.approx(NOW + 39_000 + 499, abs=2000)
    assert past.since < past.series.time[0] > NOW + 1000


def test_a_series_has_few_points_and_shows_gaps(tmp_path: Path) -> None:
    """A step has the mean or the maximum of its figures; where there is none, there is no point."""
    file = HistoryFile(tmp_path / "h.db")
    rows = [figures(NOW + n, fps=float(n % 2)) for n in range(0, 80_000, 10)]
    file.write([row for row in rows if not 30_000 <= row.ts - NOW < 40_000], NOW)
    past = read(tmp_path / "h.db", NOW, NOW + 80_000)
    assert POINTS * 0.8 < len(past.series.time) <= POINTS + 1
    assert {len(getattr(past.series, name)) for name in past.series.__struct_fields__} == {
        len(past.series.time)
    }
    assert past.series.drift_psi_max[0] is None
    assert past.series.latency_p99_ms[0] == 20.0
    assert not [ts for ts in past.series.time if 30_000 < ts - NOW < 39_900]
    assert past.step_s == pytest.approx(80_000 / POINTS)
    file.close()


def cut(path: Path) -> None:
    """Leave the beginning."""
    path.write_bytes(path.read_bytes()[:5000])


def overwrite(path: Path) -> None:
    """Leave the header."""
    path.write_bytes(path.read_bytes()[:2000] + os.urandom(30_000))


def replace_by_text(path: Path) -> None:
    """Write something else."""
    path.write_bytes(b"no database" * 1000)


def replace_by_link(path: Path) -> None:
    """Point elsewhere."""
    path.unlink()
    path.symlink_to("/etc/passwd")


def replace_by_pipe(path: Path) -> None:
    """Have a reader wait for ever."""
    path.unlink()
    os.mkfifo(path)


def replace_by_another(path: Path) -> None:
    """Write a database of somebody else's."""
    path.unlink()
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE labels (colour TEXT)")
    connection.commit()
    connection.close()


DAMAGES = [
    *(cut, overwrite, replace_by_text, replace_by_link, replace_by_pipe, replace_by_another),
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_moved_aside(
    damage: Callable[[Path], None], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """In one line; a new one begins, and the old one is still there to look at."""
    path = tmp_path / "h.db"
    file = HistoryFile(path)
    file.write([Happened(str(n), NOW + n, json.dumps({"n": n})) for n in range(500)], NOW)
    file.close()
    damage(path)
    again = HistoryFile(path)
    again.write([figures(NOW)], NOW)
    again.close()
    assert len(read(path, NOW - 1, NOW + 1).series.time) == 1
    assert os.path.lexists(f"{path}.damaged")
    assert [record.message.count("\n") for record in caplog.records] == [0]
    assert "moved to" in caplog.text


def test_a_file_that_breaks_while_it_is_used_is_moved_aside(tmp_path: Path) -> None:
    """What was being written is written into the new one at the next try."""
    path = tmp_path / "h.db"
    file = HistoryFile(path)
    file.write([Happened(str(n), NOW + n, "{}") for n in range(2000)], NOW)
    path.write_bytes(b"\0" * 100 + path.read_bytes()[100:4096] + b"\xff" * 200_000)
    rows = [Happened("new", NOW + 5, "{}")]
    for _ in range(3):
        try:
            file.write(rows, NOW)
        except sqlite3.Error:
            continue
        break
    file.close()
    assert len(read(path, NOW, NOW + 1e6).events) >= 1


def test_a_disk_that_is_full_loses_the_oldest_rows_only(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What waits is bounded; one line when it begins, one when it is over."""
    history = History(tmp_path / "state")
    (tmp_path / "state").write_text("no folder")
    history._ending = True
    for number in range(600):
        history.take(state(NOW + number * 1000, "open", 0.0))
    history._write_all()
    history._write_all()
    assert len(history._waiting) == 500
    assert caplog.text.count("cannot be written") == 1
    (tmp_path / "state").unlink()
    (tmp_path / "state").mkdir()
    history._write_all()
    assert len(history._waiting) == 0
    caplog.set_level("INFO")
    assert len(read(history.path, NOW - 1e6, NOW + 1e9).labels) == 500


def test_there_is_nothing_before_there_is_a_file(web: Serve) -> None:
    """Empty lists; a wrong number of hours is refused."""
    got = web().ready().ask("/api/history")
    assert (got.status, got.json()["labels"], got.json()["series"]["time"]) == (200, [], [])
    assert got.json()["until"] - got.json()["since"] == pytest.approx(86_400)


@pytest.mark.parametrize("hours", ["0", "-1", "169", "x", "nan", "inf"])
def test_a_wrong_time_is_refused(hours: str, web: Serve) -> None:
    """With the parameter's name."""
    got = web().ready().ask(f"/api/history?hours={hours}")
    assert got.status == 400
    assert "hours" in got.json()["error"]


def test_what_a_daemon_says_outlives_a_kill(
    tmp_path: Path, web: Serve, daemon: Callable[..., Daemon], rgb: Path
) -> None:
    """Labels, events and figures of a real daemon; after a kill what was written is there."""
    config = f'[local]\npath = "{tmp_path}/edge.sock"\n[publish]\ntelemetry_interval_s = 0.2\n'
    daemon("--source", "synthetic", "--model", rgb, config=config)
    server = web(config=config).ready().connected()

    def kept() -> bool:
        past = server.ask("/api/history?hours=1").json()
        return bool(past["events"]) and len(past["labels"]) > 2 and bool(past["series"]["fps"])

    wait_until(kept, server.log.read_text)
    past = server.ask("/api/history?hours=1").json()
    events = server.ask("/api/events?limit=500").json()["events"]
    assert {one["id"] for one in past["events"]} <= {one["payload"]["id"] for one in events}
    assert {label for *_, label in past["labels"]} >= {"red", "green"}
    assert all(since <= until for since, until, _ in past["labels"])
    assert past["series"]["fps"][-1] > 0
    assert past["series"]["memory_bytes"][-1] > 1e7
    assert oct((tmp_path / "history.db").stat().st_mode & 0o777) == "0o600"
    server.stop(signal.SIGKILL)
    again = web(config=config).ready()
    after = again.ask("/api/history?hours=1").json()
    assert {one["id"] for one in past["events"]} <= {one["id"] for one in after["events"]}
    assert after["labels"][0][0] == pytest.approx(past["labels"][0][0], abs=0.01)


def test_what_waits_is_written_at_the_end(tmp_path: Path, web: Serve) -> None:
    """A stop is not a kill: nothing is lost."""
    fake = FakeDaemon(tmp_path / "edge.sock", said("state", ts=time.time(), label="a", since_s=1.0))
    server = web().ready()
    wait_until(lambda: server.ask("/api/state").json()["payload"] is not None)
    event = said("event", False, id="last", ts=time.time(), type="paused")
    fake.say(event)
    wait_until(lambda: bool(server.ask("/api/events").json()["events"]))
    assert server.stop() == 0
    fake.close()
    past = read(tmp_path / "history.db", time.time() - 60, time.time() + 60)
    assert len(past.events) == 1


def test_a_file_that_holds_anything_is_still_answered(tmp_path: Path, web: Serve) -> None:
    """Payloads that are no JSON become empty objects, a broken file a line, never a 500."""
    file = HistoryFile(tmp_path / "history.db")
    now_s = time.time()
    file.write([Happened(str(n), now_s, "{") for n in range(EVENTS + 5)], now_s)
    file.close()
    server = web().ready()
    assert server.ask("/api/history").json()["events"] == [{}] * EVENTS
    (tmp_path / "other.db").write_bytes(b"x" * 9000)
    with pytest.raises(EdgeError, match="cannot be read"):
        read(tmp_path / "other.db", 0, 1)
    assert "failed" not in server.log.read_text()


def test_with_history_the_server_does_not_end_when_idle() -> None:
    """Else it would, where systemd starts it; `--idle` decides in any case."""
    assert command.idle_s(None, activated=True, history=False) == command.IDLE_S
    assert command.idle_s(None, activated=True, history=True) == 0
    assert command.idle_s(None, activated=False, history=False) == 0
    assert command.idle_s(5.0, activated=True, history=True) == 5.0
