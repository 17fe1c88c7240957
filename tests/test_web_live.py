"""Server-sent events to many readers, a daemon that says strange things, and what is stale."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import pytest

from edge.web.answers import Refused
from edge.web.link import News
from edge.web.live import READERS, WAITING, Live, event
from edge.web.newest import EVENTS, Newest
from tests.conftest import wait_until
from tests.web_server import ASK, FakeDaemon, Web, said

Serve = Callable[..., Web]
Fake = Callable[..., FakeDaemon]


def test_two_hundred_readers_get_everything(fake: Fake, web: Serve) -> None:
    """Each gets each event in order; the next reader is refused, until one leaves."""
    daemon = fake(said("state", label="red", n=0))
    server = web().ready().connected()
    before = server.rss_bytes()
    with ExitStack() as stack:
        streams = [stack.enter_context(server.live()) for _ in range(READERS - 1)]
        with server.live() as last:
            last.until("state", n=0)
            for stream in streams:
                stream.until("state", n=0)
            refused = server.ask("/api/live")
            assert (refused.status, refused.headers["retry-after"]) == (429, "10")
            for number in range(1, 21):
                daemon.say(said("state", retained=False, label="red", n=number))
            for stream in (*streams, last):
                numbers = [stream.until("state")["payload"]["n"] for _ in range(20)]
                assert numbers == list(range(1, 21))
        assert b"edge_web_live_readers 199.0" in scraped(server, 199)
        assert server.rss_bytes() - before < 40_000_000
    assert b"edge_web_live_readers 0.0" in scraped(server, 0)


def scraped(server: Web, readers: int) -> bytes:
    """Return the metrics, once there are so many readers."""
    line = b"edge_web_live_readers %.1f\n" % readers
    wait_until(lambda: line in server.ask("/metrics").body)
    return server.ask("/metrics").body


def test_a_reader_that_does_not_read_is_dropped(fake: Fake, web: Serve) -> None:
    """The daemon's flood goes on, another reader misses nothing, memory stays."""
    daemon = fake(said("state", label="red"))
    server = web().ready().connected()
    head = b"GET /api/live HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with socket.socket() as deaf, server.live() as stream:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.connect(("127.0.0.1", server.port))
        deaf.sendall(head)
        stream.until("state")
        before = server.rss_bytes(peak=True)
        big = "x" * 100_000
        for number in range(400):
            daemon.say(said("result", retained=False, n=number, text=big))
            assert stream.until("result")["payload"]["n"] == number
        assert b"edge_web_live_readers_dropped_total 1.0" in server.ask("/metrics").body
        assert server.rss_bytes(peak=True) - before < 60_000_000
        scraped(server, 1)


@pytest.mark.parametrize(
    "content",
    [
        b"no json\n",
        b"[]\n",
        b"\xff\xfe\n",
        b'{"error": "too many clients: at most 8"}\n',
        b'{"topic": "snapshot", "bytes": 99999999999}\n',
        b'{"topic": "snapshot", "bytes": -1}\n',
        b'{"topic": 7}\n',
        b'{"topic": "state", "payload": ' + b"[" * 100_000 + b"\n",
        b'{"topic": "response/ping", "payload": 3}\n',
        b"x" * 3_000_000,
    ],
    ids=range(10),
)
def test_a_daemon_that_says_nonsense_is_away(content: bytes, fake: Fake, web: Serve) -> None:
    """With a reason on one line; the server goes on, and connects again once it is back."""
    daemon = fake(content)
    server = web().ready()
    wait_until(lambda: "the daemon is away" in server.log.read_text())
    state = server.ask("/api/state").json()
    assert state["payload"] is None
    assert "Traceback" not in server.log.read_text()
    assert all(len(line) < 600 for line in server.log.read_text().splitlines())
    daemon.close()
    fake(said("state", label="red"))
    server.connected()
    assert server.rss_bytes() < 200_000_000


def test_values_that_are_none_do_not_break_the_answers(fake: Fake, web: Serve) -> None:
    """Fields of wrong types in every payload: served as they came, left out of the metrics."""
    odd: dict[str, Any] = {"ts": "soon", "model": 3, "config": [], "scores": "x", "label": 7}
    odd |= {"uptime_s": 10**400}  # no float
    odd |= {"fps": "many", "stages_ms": {"invoke": {"p50": None}, 'a"\n': 3}, "plugs": None}
    hello = b"".join(said(topic, **odd) for topic in ("info", "state", "telemetry"))
    fake(hello + said("event", retained=False, **odd))
    server = web().ready().connected()
    for topic in ("info", "state", "telemetry"):
        assert server.ask(f"/api/{topic}").json()["payload"] == odd
    assert server.ask("/metrics").status == 200
    assert len(server.ask("/api/events?limit=1").json()["events"]) == 1
    for limit in ("0", "501", "x", "-1", "1e3", "9" * 5000):
        assert server.ask(f"/api/events?limit={limit}").status == 400


def test_a_daemon_that_does_not_answer_is_not_waited_for_for_ever(fake: Fake, web: Serve) -> None:
    """Requests in flight fail once it ends; those beyond the limit at once; others are served."""
    daemon = fake(said("state", label="red"), answers=False)
    server = web().ready().connected()
    head = b"POST /api/request/pause HTTP/1.1\r\nHost: localhost\r\nX-Edge-Request: 1\r\n"
    head += b"Content-Length: 2\r\n\r\n{}"
    waiting = [server.raw(head) for _ in range(16)]
    wait_until(lambda: len(daemon.received) == 16)
    assert server.send("POST", "/api/request/pause", b"{}", ASK).status == 429
    assert server.ask("/api/state").status == 200
    daemon.close()
    for connection in waiting:
        with connection:
            assert connection.makefile("rb").readline().split()[1] == b"503"


def test_a_picture_is_taken_once_for_all_who_wait(fake: Fake, web: Serve) -> None:
    """One request to the daemon, whoever leaves meanwhile; the answer is everyone's."""
    daemon = fake(said("state", label="red"), answers=False)
    server = web().ready().connected()
    head = b"GET /snapshot.jpg HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    first = server.raw(head)
    wait_until(lambda: len(daemon.received) == 1)
    others = [server.raw(head) for _ in range(20)]
    server.ask("/healthz")
    first.close()
    server.ask("/healthz")
    daemon.say(daemon.answer(daemon.received[0]))
    for connection in others:
        with connection:
            answer = connection.makefile("rb").read()
            assert answer.endswith(b"\xff\xd8\xff\xd9")
    assert len(daemon.received) == 1


def test_what_waits_for_a_reader_is_bounded() -> None:
    """Beyond it the reader's stream ends, and that is counted once."""

    async def run() -> int:
        live = Live(list, dict)
        with ExitStack() as done:
            stream = live.stream(done)
            assert await anext(stream) == b"retry: 2000\n\n"
            for number in range(WAITING + 10):
                live.publish(event("state", number))
            rest = [piece async for piece in stream]
            assert b"".join(rest).count(b"event: ") <= WAITING
        return live.dropped_total

    assert asyncio.run(run()) == 1


def test_a_stream_says_that_it_lives() -> None:
    """A heartbeat with the state of the daemon, where nothing else is said."""

    async def run() -> bytes:
        live = Live(list, lambda: {"connected": False})
        with ExitStack() as done:
            stream = live.stream(done)
            await anext(stream)
            return await anext(stream)

    assert asyncio.run(run()) == b'event: heartbeat\ndata: {"connected":false}\n\n'


def test_a_reader_counts_until_its_request_is_done() -> None:
    """Also one whose stream was never begun, or is held by somebody."""

    async def run() -> None:
        live = Live(list, dict)
        with ExitStack() as done:
            held = [live.stream(done) for _ in range(READERS)]
            with pytest.raises(Refused):
                live.stream(done)
        assert (len(live), len(held)) == (0, READERS)

    asyncio.run(run())


def test_an_event_is_one_event_whatever_is_in_it() -> None:
    """A line break in the data would begin another one."""
    made = event("state", {"text": "a\n\ndata: b\r\u2028"})
    assert made.count(b"\n") == 3
    assert json.loads(made.split(b"data: ", 1)[1]) == {"text": "a\n\ndata: b\r\u2028"}


def news(topic: str, retained: bool = False, **payload: Any) -> News:
    """Return a message."""
    return News(topic, json.dumps(payload).encode(), retained)


def test_what_was_retained_is_as_old_as_it_says() -> None:
    """A state of three hours ago is not new because we have just come."""
    newest = Newest(100.0)
    newest.turn(True, "", 100.0)
    newest.take(news("state", retained=True, ts=1_000.0), 100.0, 11_800.0)
    assert newest.answer("state", 100.0)["age_s"] == 10_800.0
    newest.take(news("state", ts=1_000.0), 101.0, 11_801.0)
    assert newest.answer("state", 101.5)["age_s"] == 0.5
    newest.take(news("state", retained=True, ts=99_999.0), 102.0, 11_802.0)  # a clock set back
    assert newest.answer("state", 102.0)["age_s"] == 0.0


def test_a_daemon_that_says_nothing_is_stale() -> None:
    """Connected, but silent for three intervals of telemetry, and at least 15 s."""
    newest = Newest(0.0)
    newest.turn(True, "", 0.0)
    interval = {"publish": {"telemetry_interval_s": 20.0}}
    newest.take(news("info", config=interval), 1.0, 1.0)
    newest.take(news("state"), 1.0, 1.0)
    assert newest.answer("state", 61.0)["stale"] is False
    late = newest.answer("state", 61.1)
    assert (late["stale"], late["daemon"]["silent"]) == (True, True)
    newest.take(news("state"), 62.0, 62.0)
    assert newest.answer("state", 62.0)["stale"] is False


def test_kept_events_are_bounded_in_number_and_bytes() -> None:
    """The oldest goes first."""
    newest = Newest(0.0)
    for number in range(EVENTS + 10):
        newest.take(news("event", n=number), 0.0, 0.0)
    assert len(newest.events) == EVENTS
    assert json.loads(bytes(newest.events[0]["payload"]))["n"] == 10
    newest.take(news("event", text="x" * 999_000), 0.0, 0.0)
    assert sum(len(bytes(one["payload"])) for one in newest.events) <= 1_000_000
    assert len(newest.events) >= 1
