"""HTTP client for a camera's web server: GET, login, redirects, TLS; waits and answers are bounded.

Rule 1: the head of an answer arrives within ``timeout_s``, redirects and login included;
        http.client bounds it (100 fields, 64 KB a line). The body comes piece by piece.
Rule 2: credentials go to the host that they are meant for, and not in plain text if its address
        says https. None is logged.

It knows no pictures. One thread at a time requests and reads; [1] others call only ``close``.
Imported only for an http source; paho loads its larger libraries in any case.
"""

from __future__ import annotations

import contextlib
import http.client
import re
import threading
import time
from collections.abc import Mapping
from typing import Final
from urllib.parse import SplitResult, quote, unquote, urljoin, urlsplit

from edge.camera.deadline import Connection
from edge.camera.login import Login
from edge.camera.refusal import PORTS, unreachable
from edge.errors import CameraError
from edge.frames import Seconds

CHUNK_BYTES: Final = 65_536
REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
MAX_REDIRECTS: Final = 5
_SAFE: Final = "%/:=&?~+!$,;'@()*[]"
"""Characters that stay as they are in an address; others are written as %XX."""
_BOUNDARY: Final = re.compile(r"""(?i);\s*boundary\s*=\s*(?:"([^"]*)"|([^;\s]*))""")


class NotHttp(Exception):
    """The answer is not HTTP; FFmpeg may know what it is."""


class Answer:
    """A server's answer: its head; the body is still to be read.

    type      of the body, in small letters, without parameters; empty if absent
    boundary  of a body in several parts
    """

    def __init__(self, response: http.client.HTTPResponse, raw: Connection) -> None:
        self._response, self._raw = response, raw
        self.status = response.status
        written = self.header("Content-Type")
        self.type = written.partition(";")[0].strip().lower()
        boundary = _BOUNDARY.search(written)
        self.boundary = (boundary[1] or boundary[2] or "") if boundary else ""
        if self.type.startswith("multipart/") and not response.chunked:
            response.length = None  # it has no end, whatever length is announced

    @property
    def length(self) -> int | None:
        """Bytes still to come, if known."""
        return None if self._response.chunked else self._response.length

    def header(self, name: str) -> str:
        """Return a field of the head, its values on one line; empty if absent."""
        values = self._response.headers.get_all(name) or []
        return " ".join(", ".join(map(str, values)).split())

    def challenges(self) -> list[str]:
        """Return the server's challenges to log in."""
        return [str(value) for value in self._response.headers.get_all("WWW-Authenticate") or []]

    def finish(self) -> None:
        """End this answer, so that its unread rest is not taken for the next one."""
        self._response.close()

    def read(self, until_s: Seconds | None = None) -> bytes:
        """Return the next bytes of the body, at most ``CHUNK_BYTES``; none at its end.

        until_s  on the monotonic clock; None: ``timeout_s`` from now
        Raises OSError, TimeoutError among them.
        """
        self._raw.until_s = until_s
        try:
            return self._response.read1(CHUNK_BYTES)
        except (http.client.HTTPException, ValueError):  # malformed chunks; closed meanwhile
            return b""


class Client:
    """Keeps the connection between requests if the server does.

    source     an address, may hold credentials
    where      the same without them, for messages
    timeout_s  for each answer's head, and for each piece of its body
    Raises CameraError where ``source`` is not an address.
    """

    def __init__(self, source: str, where: str, timeout_s: Seconds) -> None:
        self._where, self.timeout_s = where, timeout_s
        self._own = self._place = self._parsed(source)
        self._login = Login(self._own.username or "", self._own.password or "")
        self._kept: http.client.HTTPConnection | None = None
        self._to: tuple[str, str, int] | None = None  # scheme, host and port of it
        self._lock = threading.Lock()
        self._raw: Connection | None = None  # [1]
        self._closed = False  # [1]

    def get(self, fields: Mapping[str, str] | None = None) -> Answer:
        """Return the server's answer, whatever its status; redirects and logins are followed.

        Raises CameraError where there is no answer; NotHttp.
        """
        place, until_s = self._place, time.monotonic() + self.timeout_s
        redirects = logins = 0
        while True:
            try:
                answer = self._request(place, fields or {}, until_s)
            except (http.client.BadStatusLine, http.client.UnknownProtocol) as exc:
                self.drop()
                if isinstance(exc, http.client.RemoteDisconnected):
                    raise unreachable(exc, _port(place), self._where) from exc
                raise NotHttp from exc
            except http.client.HTTPException as exc:
                self.drop()
                what = "the head of its answer is too large or malformed"
                raise CameraError(what, where=self._where, got=str(exc)) from exc
            except (OSError, ValueError) as exc:
                self.drop()
                self._place = self._own
                raise unreachable(exc, _port(place), self._where) from exc
            if answer.status == 401 and logins < 2 and self._trusted(place):
                logins += 1
                if self._login.challenge(answer.challenges()):
                    self.drop()
                    continue
            elif answer.status in REDIRECTS and (target := answer.header("Location")):
                redirects += 1
                self.drop()
                if redirects > MAX_REDIRECTS:
                    what = f"redirected more than {MAX_REDIRECTS} times"
                    raise CameraError(what, where=self._where, hint="check the address")
                place = self._parsed(target, _without_login(place))
                continue
            self._place = place if answer.status < 400 else self._own
            return answer

    def close(self) -> None:
        """[1] End the wait of the thread that requests at once; its call fails."""
        with self._lock:
            self._closed = True
            if self._raw is not None:
                self._raw.shut()

    def drop(self) -> None:
        """Close the connection; called by the thread that requests."""
        with self._lock:
            before, self._raw = self._raw, None
        self._kept = None
        if before is not None:
            before.end()

    def _request(self, place: SplitResult, fields: Mapping[str, str], until_s: Seconds) -> Answer:
        """Send one request; again if the server has closed a kept connection."""
        to = (place.scheme, place.hostname or "", _port(place))
        if self._kept is not None and self._kept.sock is not None and to == self._to:
            with contextlib.suppress(OSError, http.client.HTTPException):
                return self._exchange(place, fields, until_s)
        self.drop()
        self._connect(to, until_s)
        return self._exchange(place, fields, until_s)

    def _exchange(self, place: SplitResult, fields: Mapping[str, str], until_s: Seconds) -> Answer:
        kept, raw = self._kept, self._raw
        if kept is None or raw is None:
            raise ConnectionError
        raw.until_s = until_s
        path = quote((place.path or "/") + (f"?{place.query}" if place.query else ""), safe=_SAFE)
        headers = {"User-Agent": "edge-camera", "Accept": "*/*", **fields}
        if self._trusted(place) and (login := self._login.answer("GET", path)):
            headers["Authorization"] = login
        kept.request("GET", path, headers=headers)  # its headers ask for a body without encoding
        return Answer(kept.getresponse(), raw)

    def _connect(self, to: tuple[str, str, int], until_s: Seconds) -> None:
        scheme, host, port = to
        raw = Connection(unquote(host), port, scheme == "https", until_s, self.timeout_s)
        with self._lock:
            self._raw = raw
            if self._closed:
                raise ConnectionAbortedError
        kept = http.client.HTTPConnection(host.partition("%")[0], port)
        kept.default_port = PORTS[scheme]
        kept.sock = raw  # it has all of a socket that is needed
        self._kept, self._to = kept, to

    def _trusted(self, place: SplitResult) -> bool:
        """Return whether the login may be sent there."""
        own = self._own
        return place.hostname == own.hostname and (
            place.scheme == "https" or (own.scheme == "http" and _port(place) == _port(own))
        )

    def _parsed(self, address: str, base: str = "") -> SplitResult:
        try:
            place = urlsplit(urljoin(base, address))
            if place.scheme in ("http", "https") and place.hostname and _port(place):
                return place
        except ValueError:
            pass
        hint = "check the address, and try it with ffprobe"
        raise CameraError("cannot be opened", where=self._where, hint=hint)


def _port(place: SplitResult) -> int:
    """Return the port. Raises ValueError for an invalid one."""
    return place.port or PORTS[place.scheme]


def _without_login(place: SplitResult) -> str:
    return place._replace(netloc=place.netloc.rpartition("@")[2]).geturl()
