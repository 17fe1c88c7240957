"""Everybody at once, beside a real daemon: predictions, streams; bombs uploaded as cases."""

from __future__ import annotations

import socket
import struct
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from edge.web.live import READERS
from tests import bombs
from tests.case_files import jpeg
from tests.conftest import Daemon, wait_until
from tests.test_web_live import scraped
from tests.test_web_predict import form, send
from tests.web_server import ASK, Web

Serve = Callable[..., Web]
CONFIG = """
[local]
path = "{0}/edge.sock"
[model]
path = "{0}/rgb"
[publish]
telemetry_interval_s = 0.5
"""
FORM = {"Content-Type": "multipart/form-data; boundary=x0123456789abcdef"}


def descriptors(server: Web) -> int:
    """Return how many files a server has open."""
    return len(list(Path(f"/proc/{server.process.pid}/fd").iterdir()))


def frames(server: Web) -> int:
    """Return how many frames the daemon has counted."""
    return int(server.ask("/api/telemetry").json()["payload"]["frames_total"])


def rss_bytes(process: int) -> int:
    """Return the resident memory of a process. Source: proc(5), /proc/pid/statm."""
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * 4096


def test_fifty_predict_while_two_hundred_watch(
    tmp_path: Path, daemon: Callable[..., Daemon], web: Serve, rgb: Path
) -> None:
    """All are answered, the daemon counts on; memory is bounded, and nothing is left behind."""
    config = CONFIG.format(tmp_path)
    running = daemon("--source", "synthetic", config=config, STATE_DIRECTORY=str(tmp_path))
    server = web(config=config).ready().connected()
    picture = jpeg()
    expected = send(server, picture, "image/jpeg")
    assert expected.status == 200
    wait_until(lambda: server.ask("/api/telemetry").json()["payload"] is not None)
    opened, memory = descriptors(server), server.rss_bytes()
    daemons_memory, before = rss_bytes(running.process.pid), frames(server)
    with ExitStack() as stack:
        streams = [stack.enter_context(server.live()) for _ in range(READERS)]
        with ThreadPoolExecutor(50) as threads:
            answers = list(threads.map(lambda _: send(server, picture, "image/jpeg"), range(400)))
        statuses = Counter(got.status for got in answers)
        assert set(statuses) <= {200, 429, 503}, statuses
        assert statuses[200] >= 50
        assert all(got.body == expected.body for got in answers if got.status == 200)
        assert all("retry-after" in got.headers for got in answers if got.status != 200)
        for stream in streams:  # each one hears of frames that were counted since
            while stream.until("telemetry")["payload"]["frames_total"] <= before:
                pass
        assert server.rss_bytes() - memory < 60_000_000
    scraped(server, 0)
    wait_until(lambda: descriptors(server) <= opened, lambda: descriptors(server))
    assert rss_bytes(running.process.pid) - daemons_memory < 10_000_000
    assert "Traceback" not in server.log.read_text() + running.log.read_text()


def test_readers_that_vanish_are_forgotten(
    tmp_path: Path, daemon: Callable[..., Daemon], web: Serve, rgb: Path
) -> None:
    """Two hundred, twice, whose connections are cut instead of closed: no slot, no file is lost."""
    config = CONFIG.format(tmp_path)
    daemon("--source", "synthetic", config=config)
    server = web(config=config).ready().connected()
    server.ask("/metrics")
    opened = descriptors(server)
    head = b"GET /api/live HTTP/1.1\r\nHost: localhost\r\n\r\n"
    for _ in range(2):
        connections = [server.raw(head) for _ in range(READERS)]
        for connection in connections:
            assert connection.recv(12) == b"HTTP/1.1 200"
        scraped(server, READERS)
        for connection in connections:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.close()
        scraped(server, 0)
    wait_until(lambda: descriptors(server) <= opened, lambda: descriptors(server))


@pytest.mark.parametrize("name", sorted(bombs.BOMBS))
def test_a_bomb_becomes_no_case(name: str, tmp_path: Path, web: Serve) -> None:
    """It is skipped with a reason, the picture beside it is taken; no memory for its promise."""
    server = web(config=f'[local]\npath = "{tmp_path}/edge.sock"\n').ready()
    upload = ("POST", "/api/cases/upload")
    assert server.send(*upload, form(jpeg(1)), {**FORM, **ASK}).json()["added"] == 1
    before = server.rss_bytes(peak=True)
    got = server.send(*upload, form(bombs.BOMBS[name], jpeg(2)), {**FORM, **ASK})
    assert (got.status, got.json()["added"]) == (200, 1)
    (skipped,) = got.json()["skipped"]
    assert skipped["error"]
    assert "\n" not in skipped["error"]
    assert server.rss_bytes(peak=True) - before < 30_000_000
