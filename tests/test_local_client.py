"""The local socket's client: what it makes of any server, good or bad."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge import local
from edge.errors import EdgeError, LocalError
from edge.local import LocalClient
from tests.conftest import WAIT_S

EVENT = b'{"topic":"event","retained":false,"payload":{"type":"paused"}}\n'
PICTURE = b'{"topic":"snapshot","retained":true,"bytes":4}\n\xff\n\n\xd9'
Say = Callable[..., LocalClient]


class Speaker:
    """A server of one client: sends the given lines, then what ``answer`` makes of each line."""

    def __init__(self, path: Path, first: bytes, answer: Callable[[Any], bytes] | None) -> None:
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(1)
        self._first, self._answer = first, answer
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        client, _ = self._listener.accept()
        with client, client.makefile("rb") as lines:
            try:
                client.sendall(self._first)
                while self._answer is not None and (line := lines.readline()):
                    client.sendall(self._answer(json.loads(line)))
            except (BrokenPipeError, ConnectionResetError):
                pass

    def close(self) -> None:
        """Wait for its end."""
        self._thread.join(WAIT_S)
        self._listener.close()


@pytest.fixture
def say(tmp_path: Path) -> Iterator[Say]:
    """Return a function that returns the client of a server that says something."""
    made: list[Speaker | LocalClient] = []

    def begin(
        first: bytes, answer: Callable[[Any], bytes] | None = None, timeout_s: float = WAIT_S
    ) -> LocalClient:
        path = tmp_path / f"{len(made)}.sock"
        made.append(Speaker(path, first, answer))
        client = LocalClient(path, timeout_s)
        made.append(client)
        return client

    yield begin
    for one in reversed(made):
        one.close()


def ok(request: Any, **data: Any) -> bytes:
    """Return the answer to a request."""
    payload = {"transaction": request["transaction"], "error": "", "data": data, "seq": 1}
    line = {"topic": f"response/{request['command']}", "retained": False, "payload": payload}
    return json.dumps(line).encode() + b"\n"


def test_messages_and_pictures_in_order(say: Say) -> None:
    """Until the daemon ends; a picture's newlines end nothing."""
    messages = list(say(EVENT + PICTURE + EVENT))
    assert [message.topic for message in messages] == ["event", "snapshot", "event"]
    assert messages[0].body() == {"type": "paused"}
    assert (messages[1].payload, messages[1].retained) == (b"\xff\n\n\xd9", True)


def test_what_comes_before_an_answer_is_kept(say: Say) -> None:
    """In its order, for the one who asks for messages; an answer to somebody else is a message."""
    other = b'{"topic":"response/ping","payload":{"transaction":99,"data":{"not":"mine"}}}\n'
    client = say(PICTURE, lambda request: EVENT + other + ok(request, mine=True))
    assert client.request("ping", colour="red") == {"mine": True}
    topics = [message.topic for message in (client.receive(0.0) for _ in range(3)) if message]
    assert topics == ["snapshot", "event", "response/ping"]
    assert client.receive(0.0) is None


def test_a_snapshot_is_the_picture_directly_before_its_answer(say: Say) -> None:
    """One of a change of label is a message."""
    mine = PICTURE.replace(b"\xff", b"\xfe")
    client = say(b"", lambda request: PICTURE + mine + ok(request))
    assert client.snapshot() == b"\xfe\n\n\xd9"
    kept = client.receive(0.0)
    assert kept is not None
    assert kept.payload == b"\xff\n\n\xd9"
    with pytest.raises(LocalError, match="no picture came"):
        say(b"", lambda request: EVENT + ok(request)).snapshot()


def test_what_is_kept_is_bounded(say: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest go, and are counted."""
    monkeypatch.setattr(local, "KEPT", 10)
    client = say(b"", lambda request: EVENT * 25 + ok(request))
    client.request("ping")
    assert client.dropped_total == 15
    monkeypatch.setattr(local, "KEPT_BYTES", 30)
    client.request("ping")
    assert client.dropped_total == 49


@pytest.mark.parametrize(
    ("sent", "error"),
    [
        (b"hello\n", "no daemon of this kind"),
        (b"\xff\xfe\n", "no daemon of this kind"),
        (b"[]\n", "no daemon of this kind"),
        (b'{"topic":' + b"[" * 5000 + b"\n", "no daemon of this kind"),
        (b"x" * (local.LINE_MAX + 1), "line too long: no daemon of this kind"),
        (b'{"bytes":99999999}\n', "picture of 99999999 bytes"),
        (b'{"bytes":-1}\n', "picture of -1 bytes"),
        (b'{"error":"too many clients: at most 8"}\n', "too many clients: at most 8"),
        (b'{"error":"\\u001b[2J"}\n', r"\x1b[2J"),
        (b'{"topic":"event"', "the daemon has closed the connection"),
        (PICTURE[:-1], "the daemon has closed the connection"),
    ],
    ids=lambda value: repr(value[:14]),
)
def test_what_is_no_daemon_is_one_line(say: Say, sent: bytes, error: str) -> None:
    """For the one who reads and for the one who asks."""
    for use in (list, lambda client: client.request("ping")):
        with pytest.raises(LocalError) as caught:
            use(say(sent))
        assert error in str(caught.value)
        assert str(caught.value).isprintable()


def test_silence_ends_in_time(say: Say) -> None:
    """An answer that does not come, and half of a picture."""
    client = say(PICTURE[:-1], lambda _: b"", timeout_s=0.2)
    assert client.receive(0.05) is None
    with pytest.raises(LocalError, match=r"no answer to ping in 0\.2 s"):
        client.request("ping")


def test_an_error_of_the_daemon_is_its_words(say: Say) -> None:
    """Not a fault of the connection: the next request may do."""
    answers = iter(['"no such thing"', '""'])

    def answer(request: Any) -> bytes:
        return ok(request).replace(b'"error": ""', b'"error": ' + next(answers).encode())

    client = say(b"", answer)
    with pytest.raises(EdgeError, match="no such thing") as caught:
        client.request("dance")
    assert not isinstance(caught.value, LocalError)
    assert client.request("ping") == {}


@given(st.binary(max_size=200))
def test_any_bytes_are_an_error_or_messages(
    tmp_path_factory: pytest.TempPathFactory, sent: bytes
) -> None:
    """And nothing else is raised."""
    path = tmp_path_factory.mktemp("any") / "e.sock"
    speaker = Speaker(path, sent, None)
    with LocalClient(path, WAIT_S) as client, contextlib.suppress(LocalError):
        for message in client:
            assert isinstance(message.payload, bytes)
    speaker.close()
