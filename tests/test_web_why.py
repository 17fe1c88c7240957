"""Why a label changed or did not, over the API: frames of a real daemon, while somebody asks."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
from starlette.requests import Request

from edge.local import LocalClient
from edge.web import why
from edge.web.newest import Newest
from tests.conftest import WAIT_S, Daemon, wait_until
from tests.web_server import FakeDaemon, Web, said

Serve = Callable[..., Web]
CONFIG = '[local]\npath = "{}/edge.sock"\n[smoothing]\nwindow = 7\nhold_frames = 2\n'


def ask(server: Web, query: str = "") -> Any:
    """Return the answer."""
    got = server.ask(f"/api/why{query}")
    assert got.status == 200, got
    return got.json()


def test_frames_explain_each_change_of_label(
    tmp_path: Path, web: Serve, daemon: Callable[..., Daemon], rgb: Path
) -> None:
    """From their own scores, window, thresholds and hold follow their smoothed ones and labels."""
    config = CONFIG.format(tmp_path)
    daemon("--source", "synthetic", "--model", rgb, config=config)
    server = web(config=config).ready().connected()
    first = ask(server)
    assert (first["window"], first["hold_frames"], first["method"]) == (7, 2, "mean")
    assert first["watching"] is True
    assert first["error"] == ""

    def changed() -> bool:
        frames = ask(server)["frames"]
        return len(frames) > 40 and len({frame["label"] for frame in frames} - {None}) > 1

    wait_until(changed)
    found = ask(server)
    frames = found["frames"]
    numbers = [frame["frame"] for frame in frames]
    assert numbers == sorted(set(numbers))
    assert abs(frames[-1]["time"] - time.time()) < WAIT_S
    window = found["window"]
    explained = 0
    for end in range(window, len(frames)):
        newest = frames[end - window + 1 : end + 1]
        if not newest[-1]["partial"]:
            for label, score in newest[-1]["smoothed"].items():
                mean = sum(frame["scores"][label] for frame in newest) / window
                assert score == pytest.approx(mean, abs=0.001)
            explained += 1
    assert explained > 10
    for before, after in itertools.pairwise(frames):
        if after["label"] not in (None, before["label"]):
            assert after["smoothed"][after["label"]] >= found["enter"] - 1e-3


def test_the_time_asked_for_is_what_one_gets(
    tmp_path: Path, web: Serve, daemon: Callable[..., Daemon], rgb: Path
) -> None:
    """Only frames that are so young; a wrong number is refused."""
    config = CONFIG.format(tmp_path)
    daemon("--source", "synthetic", "--model", rgb, config=config)
    server = web(config=config).ready().connected()
    wait_until(lambda: len(ask(server)["frames"]) > 60)
    some = ask(server, "?seconds=0.5")["frames"]
    assert len(some) < len(ask(server)["frames"])
    for seconds in ("", "0", "601", "x", "-1"):
        assert server.ask(f"/api/why?seconds={seconds}").status == 400


def test_without_a_daemon_there_is_a_reason(web: Serve) -> None:
    """No frames, no rule, and why."""
    found = ask(web().ready())
    assert (found["frames"], found["watching"], found["window"]) == ([], False, None)
    assert "edge.sock" in found["error"]


def test_a_daemon_that_is_back_is_watched_again(
    tmp_path: Path, web: Serve, daemon: Callable[..., Daemon], rgb: Path
) -> None:
    """Killed and started: frames of the new one follow."""
    config = CONFIG.format(tmp_path)
    arguments = ("--source", "synthetic", "--model", rgb)
    running = daemon(*arguments, config=config)
    server = web(config=config).ready().connected()
    wait_until(lambda: bool(ask(server)["frames"]))
    running.stop(signal.SIGKILL)
    wait_until(lambda: ask(server)["watching"] is False)
    daemon(*arguments, config=config)
    begin_s = time.time()
    wait_until(lambda: any(frame["time"] > begin_s for frame in ask(server)["frames"]))


def test_an_older_daemon_that_has_no_frames_is_a_line(tmp_path: Path, web: Serve) -> None:
    """Its refusal in its words; whatever else it sends does no harm."""

    class Old(FakeDaemon):
        def answer(self, request: dict[str, Any]) -> bytes:
            body = {"seq": 1, "ts": 1.0, "status": "error", "data": {}, "error": "unknown command"}
            body["transaction"] = request["transaction"]
            return said("response/unknown", False, **body)

    fake = Old(tmp_path / "edge.sock", said("state", label=None))
    server = web().ready().connected()
    wait_until(lambda: ask(server)["error"] == "unknown command")
    for payload in ("{}", "[]", '{"frame": "x"}', "[" * 5_000):
        with contextlib.suppress(OSError):  # it has given that connection up
            fake.say(b'{"topic": "frame", "retained": false, "payload": %b}\n' % payload.encode())
    wait_until(lambda: ask(server)["watching"] is False)
    assert ask(server)["frames"] == []
    fake.close()


def test_nothing_is_sent_while_nobody_asks(
    tmp_path: Path, daemon: Callable[..., Daemon], rgb: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The subscription begins with the first request and ends some time after the last one."""
    config = CONFIG.format(tmp_path)
    daemon("--source", "synthetic", "--model", rgb, config=config).wait_for_log("local socket:")
    path = tmp_path / "edge.sock"
    monkeypatch.setattr(why, "AGAIN_S", 0.02)
    clock = [0.0]

    class Query:
        def __init__(self) -> None:
            self.query_params = dict[str, str]()

    async def watched() -> None:
        watch = why.Watch(path, Newest(0.0), clock=lambda: clock[0])
        assert connections(path) == 0
        body = json.loads(bytes((await watch.why(cast(Request, Query()))).body))
        assert body["frames"]
        assert connections(path) == 1
        clock[0] += why.LINGER_S + 1
        task = watch._task
        assert task is not None
        await asyncio.wait_for(task, WAIT_S)
        assert not watch.watching

    asyncio.run(watched())
    wait_until(lambda: connections(path) == 0)


def connections(path: Path) -> int:
    """Return how many clients a daemon's socket has. Source: proc(5), /proc/net/unix."""
    lines = Path("/proc/net/unix").read_text().splitlines()
    connected = [line for line in lines if line.endswith(f" {path}") and line.split()[5] == "03"]
    return len(connected)


def test_many_who_ask_share_one_subscription(
    tmp_path: Path, web: Serve, daemon: Callable[..., Daemon], rgb: Path
) -> None:
    """The daemon has clients for others left."""
    config = CONFIG.format(tmp_path)
    daemon("--source", "synthetic", "--model", rgb, config=config)
    server = web(config=config).ready().connected()
    threads = [threading.Thread(target=ask, args=(server,)) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    clients = [LocalClient(tmp_path / "edge.sock", timeout_s=WAIT_S) for _ in range(6)]
    for client in clients:
        assert client.request("ping")
        client.close()
