"""The local socket's server: who gets what, limits, and what becomes of hostile clients."""

from __future__ import annotations

import json
import logging
import os
import select
import socket
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.daemon.local import connection
from edge.daemon.local.place import listen
from edge.daemon.local.server import PICTURES
from edge.errors import LocalError
from edge.messages import PAYLOAD_MAX, Message
from tests.local_server import BASE, Raw, Server

ONLINE = {"topic": "availability", "retained": True, "payload": "online"}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A server for eight clients."""
    with Server(tmp_path / "e.sock") as made:
        yield made


def test_a_new_client_gets_what_is_current(server: Server) -> None:
    """What MQTT retains and the newest telemetry, then `online`; nothing of another's topics."""
    for kind, retain in (("state", True), ("telemetry", False), ("event", False), ("info", True)):
        server.local.publish(Message(f"{BASE}/{kind}", b'{"seq":1}', 0, retain))
    server.local.publish(Message("homeassistant/device/wall/config", b"{}", 0, True))
    first = server.connect().lines(4)
    assert [line["topic"] for line in first] == ["info", "state", "telemetry", "availability"]
    assert all(line["retained"] for line in first)
    assert first[1]["payload"] == {"seq": 1}
    assert first[3] == ONLINE


def test_every_client_gets_what_is_published(server: Server) -> None:
    """The payload as on MQTT, to the byte."""
    clients = [server.client(), server.client()]
    message = server.wire.event("paused", evidence={"text": 'a"\n\u2028'})
    server.local.publish(message)
    for client in clients:
        server.until(lambda client=client: b"\n" in client.read())  # type: ignore[misc]
        expected = b'{"topic":"event","retained":false,"payload":%b}\n' % message.payload
        assert client.received == expected


def test_a_picture_is_a_line_and_its_bytes(server: Server) -> None:
    """Newlines in it end nothing."""
    client = server.client()
    server.local.publish(server.wire.snapshot(b"\xff\n\n\xd9", retain=False))
    server.event()
    header = client.lines(1)[0]
    assert header == {"topic": "snapshot", "retained": False, "bytes": 4}
    server.until(lambda: len(client.read()) > 4)
    client.received, picture = client.received[4:], client.received[:4]
    assert picture == b"\xff\n\n\xd9"
    assert client.lines(1)[0]["topic"] == "event"


def test_an_answer_goes_to_the_one_who_asked(server: Server) -> None:
    """Its transaction is its own: the same number of another client is another request."""
    one, other = server.client(), server.client()
    for client in (one, other):
        answer = client.ask({"command": "ping", "transaction": 7})
        assert answer["topic"] == "response/ping"
        assert answer["payload"]["transaction"] == 7
        assert answer["payload"]["data"] == {"pong": True}
    server.event()
    assert [client.lines(1)[0]["topic"] for client in (one, other)] == ["event", "event"]
    assert server.requests == 2


def test_an_answer_may_come_later(server: Server) -> None:
    """After that of a later request; and to nobody, if the client has gone."""
    one, other = server.client(), server.client()
    for client in (one, other):
        client.send(b'{"command":"later","transaction":"a"}\n')
    server.until(lambda: len(server.pending) == 2)
    assert one.ask({"command": "ping", "transaction": "b"})["payload"]["transaction"] == "b"
    other.socket.close()
    server.event()
    assert one.lines(1)[0]["topic"] == "event"
    for pending in server.pending:
        pending.settle({"done": 1}, "")
    assert one.lines(1)[0]["payload"]["data"] == {"done": 1}


@pytest.mark.parametrize(
    ("body", "command", "error"),
    [
        ({"command": "dance"}, "unknown", "unknown command"),
        ({"command": "x/ping"}, "unknown", "unknown command"),
        ({"command": "ping", "colour": 1}, "ping", "unknown field `colour`"),
        ({"command": "ping", "transaction": []}, "ping", "transaction"),
    ],
)
def test_a_wrong_request_is_answered(
    server: Server, body: object, command: str, error: str
) -> None:
    """As on MQTT; the connection stays."""
    client = server.client()
    answer = client.ask(body)
    assert answer["topic"] == f"response/{command}"
    assert answer["payload"]["status"] == "error"
    assert error in answer["payload"]["error"]
    assert client.ask({"command": "ping"})["payload"]["status"] == "ok"


@pytest.mark.parametrize(
    "line",
    [
        *(b"", b"hello", b"[]", b"{}", b'"ping"', b"\x00\xff\xfe", b'{"command":1}', b"null"),
        *(b'{"command":"\xff"}', b'{"a":' * 2500 + b"1" + b"}" * 2500, b'{"command":"ping"'),
    ],
    ids=lambda line: repr(line[:12]),
)
def test_what_is_no_request_ends_the_connection(server: Server, line: bytes) -> None:
    """With one line that says why; the others stay."""
    client, other = server.client(), server.client()
    client.send(line + b"\n")
    assert client.rest() == [{"error": 'expected a JSON object with "command"'}]
    assert other.ask({"command": "ping"})["payload"]["status"] == "ok"


def test_a_line_has_a_limit(server: Server) -> None:
    """The longest one is read; of one that never ends, no more than the limit is held."""
    client = server.client()
    body = b'{"command":"ping","transaction":"%b"}'
    longest = body % (b"x" * 128)
    longest = longest[:-1] + b" " * (PAYLOAD_MAX - len(longest)) + b"}"
    client.send(longest + b"\n")
    assert client.lines(1)[0]["payload"]["status"] == "ok"
    client.send(b"x" * 10_000_000)
    assert client.rest() == [{"error": f"line too long: expected at most {PAYLOAD_MAX} bytes"}]


def test_half_a_line_is_no_request(server: Server) -> None:
    """Whoever ends it later is served; whoever closes is forgotten."""
    slow, gone = server.client(), server.client()
    gone.send(b'{"command":"ping"')
    gone.socket.close()
    for byte in b'{"command":"ping"}\n':
        slow.send(bytes([byte]))
    assert slow.lines(1)[0]["payload"]["status"] == "ok"
    assert server.requests == 1


def test_a_request_before_the_end_is_executed(server: Server) -> None:
    """As by a shell script that does not wait; one that closes its half alone gets the answer."""
    client = server.client()
    client.send(b'{"command":"later"}\n{"command":"ping"}\n')
    client.socket.shutdown(socket.SHUT_WR)
    assert client.lines(1)[0]["topic"] == "response/ping"
    server.event()
    assert client.lines(1)[0]["topic"] == "event"
    hasty = server.client()
    hasty.send(b'{"command":"ping"}\n{"command":"ping"}\n')
    hasty.socket.close()
    server.until(lambda: server.requests == 4)


def test_one_client_more_is_told_so(tmp_path: Path) -> None:
    """A thousand of them take nothing from those who are there; a place becomes free again."""
    with Server(tmp_path / "e.sock", clients=2) as server:
        first, second = server.client(), server.client()
        for _ in range(1000):
            more = server.connect()
            assert more.rest() == [{"error": "too many clients: at most 2"}]
            more.socket.close()
        assert first.ask({"command": "ping"})["payload"]["status"] == "ok"
        second.socket.close()
        server.event()
        first.lines(1)
        server.client()


def test_who_does_not_read_is_dropped(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    """Its memory is bounded, the others miss nothing, and the log has one line about it."""
    deaf, reader = server.connect(), server.client()
    server.local.tick()
    held = server.local._clients[min(server.local._clients)][0]
    payload = json.dumps({"text": "x" * 50_000}).encode()
    sent = 0
    with caplog.at_level(logging.WARNING):
        while not held.fault:
            server.local.publish(Message(f"{BASE}/event", payload, 1, False))
            sent += 1
            assert held._waiting_bytes < connection.WAITING_MAX + 2 * len(payload)
            assert len(reader.lines(1)[0]["payload"]["text"]) == 50_000
        server.until(lambda: bool(caplog.records))
    assert sent < 40
    assert "1 clients closed so far, the last one: does not read" in caplog.text
    server.until(lambda: (deaf.read(), deaf.closed)[1])
    assert reader.ask({"command": "ping"})["payload"]["status"] == "ok"


def test_a_picture_larger_than_the_buffer_arrives(tmp_path: Path) -> None:
    """Nothing else waits for the one who reads it."""
    with Server(tmp_path / "e.sock", jpeg=bytes(9_000_000)) as server:
        client = server.client()
        client.send(b'{"command":"snapshot"}\n')
        assert client.lines(1)[0]["bytes"] == 9_000_000
        server.until(lambda: len(client.read()) > 9_000_000)
        client.received = client.received[9_000_000:]
        assert client.lines(1)[0]["payload"]["data"] == {"bytes": 9_000_000}


def test_who_leaves_during_a_picture_harms_nobody(tmp_path: Path) -> None:
    """Half of it has been read."""
    with Server(tmp_path / "e.sock", jpeg=bytes(3_000_000)) as server:
        hasty, other = server.client(), server.client()
        hasty.send(b'{"command":"snapshot"}\n')
        readable = select.poll()
        readable.register(hasty.socket, select.POLLIN)
        server.until(lambda: bool(readable.poll(0)))
        hasty.socket.close()
        assert other.ask({"command": "ping"})["payload"]["status"] == "ok"
        server.until(lambda: len(server.local._clients) == 1)


def test_requests_and_pictures_have_a_rate(server: Server) -> None:
    """Of requests each client has its own; pictures are counted for all."""
    eager, other = server.client(), server.client()

    def first_error(client: Raw, command: str) -> str:
        for _ in range(1000):
            client.send(b'{"command":"%b"}\n' % command.encode())
            answer = client.lines(1)[0]
            if answer["topic"] == "snapshot":
                server.until(lambda: len(client.read()) > len(b"JPEG"))
                client.received = client.received[len(b"JPEG") :]
                answer = client.lines(1)[0]
            if answer["payload"]["error"]:
                return str(answer["payload"]["error"])
        return ""

    assert first_error(other, "snapshot") == f"too many pictures: at most {PICTURES} a second"
    assert first_error(eager, "ping") == "too many requests: at most 20 a second"
    assert server.client().ask({"command": "ping"})["payload"]["status"] == "ok"


def test_a_handlers_fault_ends_its_connection_alone(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    """With its traceback in the log; the daemon goes on."""
    client, other = server.client(), server.client()
    client.send(b'{"command":"broken"}\n')
    assert client.rest() == [{"error": "the request failed: ZeroDivisionError"}]
    assert "ZeroDivisionError: integer division" in caplog.text
    assert other.ask({"command": "ping"})["payload"]["status"] == "ok"


@given(st.lists(st.binary(max_size=60) | st.sampled_from([b"\n", b'{"command":"ping"}\n'])))
def test_any_bytes_are_survived(
    tmp_path_factory: pytest.TempPathFactory, chunks: list[bytes]
) -> None:
    """Every line that comes back is a response or an error, and a client after it is served."""
    with Server(tmp_path_factory.mktemp("fuzz") / "e.sock") as server:
        client = server.client()
        for chunk in chunks:
            client.send(chunk)
        client.send(b'\n{"command":"ping"}\n')
        for line in client.rest():
            assert "error" in line or line["topic"].startswith("response/")
        assert server.client().ask({"command": "ping"})["payload"]["status"] == "ok"


def test_the_end_is_said_and_the_file_goes(server: Server) -> None:
    """`offline`, then the end of the connection."""
    client = server.client()
    server.local.close()
    client.read()
    assert client.closed
    assert json.loads(client.received) == {
        "topic": "availability",
        "retained": False,
        "payload": "offline",
    }
    assert not server.path.exists()


def test_a_file_that_was_removed_is_made_again(server: Server) -> None:
    """Within half a minute; those who are connected stay. One of another is not removed."""
    client = server.client()
    server.path.unlink()
    server.local._tend_s = 0.0
    server.until(server.path.exists)
    assert server.client().ask({"command": "ping"})["payload"]["status"] == "ok"
    assert client.ask({"command": "ping"})["payload"]["status"] == "ok"
    server.path.unlink()
    server.path.write_text("mine")
    server.local.close()
    assert server.path.read_text() == "mine"


def test_the_group_may_connect_and_no_other(tmp_path: Path) -> None:
    """Whatever the umask."""
    before = os.umask(0o077)
    try:
        place = listen(tmp_path / "e.sock")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "e.sock").stat().st_mode) == 0o660
    place.close()


def test_a_socket_that_nobody_listens_on_is_replaced(tmp_path: Path) -> None:
    """As a killed daemon leaves it; one that somebody listens on is not."""
    path = tmp_path / "e.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    place = listen(path)
    with pytest.raises(LocalError, match="another daemon listens there; end it"):
        listen(path)
    assert place.is_there()
    place.close()


@pytest.mark.parametrize("kind", ["file", "folder", "link", "dangling", "pipe"])
def test_what_is_no_socket_stays(tmp_path: Path, kind: str) -> None:
    """One line, and nothing is removed or followed."""
    path, target = tmp_path / "e.sock", tmp_path / "target"
    target.write_text("mine")
    mode = stat.S_IMODE(target.stat().st_mode)
    make: dict[str, Callable[[], object]] = {
        "file": lambda: path.write_text("mine"),
        "folder": path.mkdir,
        "link": lambda: path.symlink_to(target),
        "dangling": lambda: path.symlink_to(tmp_path / "nowhere"),
        "pipe": lambda: os.mkfifo(path),
    }
    make[kind]()
    with pytest.raises(LocalError, match="something else is there: expected nothing, or a socket"):
        listen(path)
    assert os.path.lexists(path)
    assert (target.read_text(), stat.S_IMODE(target.stat().st_mode)) == ("mine", mode)
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("path", ["nowhere/e.sock", "file/e.sock", "x" * 108, "a\0b"])
def test_a_place_that_cannot_be_is_one_line(tmp_path: Path, path: str) -> None:
    """No folder, a path too long, a path that no file has."""
    (tmp_path / "file").write_text("")
    with pytest.raises(LocalError, match=r"see local\.path in the config") as caught:
        listen(tmp_path / path)
    assert "\n" not in str(caught.value)
