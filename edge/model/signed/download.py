"""Reads a bundle from an http or https server: bounded in time, redirects and headers.

The bytes go to ``archive``, which takes none that a trusted key has not signed the number of: a
server can neither fill the disk nor the memory. No login, cookie or referrer is sent. https is
verified, although what protects the model is its signature; see config.bundles for addresses.

For a process of its own, or a command: this file imports TLS. Main thread only.
"""

from __future__ import annotations

import contextlib
import http.client
import signal
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from types import FrameType
from typing import Final
from urllib.parse import urljoin, urlsplit

from edge import __version__
from edge.config import bundles
from edge.errors import ConfigError, EdgeError, FetchError
from edge.model.signed.archive import Read

LIMIT_S: Final = 600.0
"""Longest time for a bundle."""
SILENCE_S: Final = 15.0
"""Longest wait for a connection, and for the next bytes."""
REDIRECTS: Final = 3
UNKNOWN: Final = "bundles.ca_file names an authority; Debian's ca-certificates has the usual ones"
Allowed = Callable[[str], bool]


class _Late(BaseException):
    """The time is over. No OSError: the library would try the next address."""


class _Stay(urllib.request.HTTPRedirectHandler):
    """Follows nothing: the handler of the library would read the whole body first."""

    def redirect_request(self, *_: object) -> None:
        return None


def opened(
    url: str, allowed: Allowed = lambda url: True, ca_file: str = "", limit_s: float = LIMIT_S
) -> AbstractContextManager[Read]:
    """Return what reads a bundle from ``url``: raises FetchError when it is entered, and read.

    allowed  whether a redirect to another address may be followed
    ca_file  authorities to trust, read at once; empty: the system's. Raises ConfigError
    """
    bundles.split(url, "url")
    return _reads(_opener(ca_file), url, allowed, limit_s)


@contextlib.contextmanager
def _reads(
    opener: urllib.request.OpenerDirector, url: str, allowed: Allowed, limit_s: float
) -> Iterator[Read]:
    with _deadline(limit_s, url):
        with _translated(url):
            answer = _answer(opener, url, allowed)
        with contextlib.closing(answer):
            left = _length(answer, url)

            def read(size: int) -> bytes:
                nonlocal left
                with _translated(url):
                    part: bytes = answer.read(size)
                if left is not None:
                    left -= len(part)
                    if not part and left > 0:
                        raise FetchError("the server ends before the bundle does", where=url)
                return part

            yield read


def _opener(ca_file: str) -> urllib.request.OpenerDirector:
    try:
        context = ssl.create_default_context(cafile=ca_file or None)
    except (OSError, ssl.SSLError) as exc:
        raise ConfigError(
            f"the authorities cannot be used: {exc.strerror or exc}", where=ca_file
        ) from exc
    opener = urllib.request.build_opener(_Stay, urllib.request.HTTPSHandler(context=context))
    opener.addheaders = [
        ("User-Agent", f"edge/{__version__}"),
        ("Accept-Encoding", "identity"),
    ]
    return opener


def _answer(
    opener: urllib.request.OpenerDirector, url: str, allowed: Allowed
) -> http.client.HTTPResponse:
    """Return the answer with the bundle, after at most REDIRECTS others."""
    at = url
    for _ in range(REDIRECTS + 1):
        try:
            answer: http.client.HTTPResponse = opener.open(
                urllib.request.Request(at), timeout=SILENCE_S
            )
        except urllib.error.HTTPError as exc:
            with contextlib.closing(exc):
                if exc.code not in (301, 302, 303, 307, 308):
                    raise FetchError(f"the server says {exc.code} {exc.reason}", where=at) from exc
                at = _next(at, exc.headers.get("Location", ""), allowed)
            continue
        if answer.status != 200 or answer.headers.get("Content-Encoding", "identity") != "identity":
            answer.close()
            raise FetchError("the server does not send the file itself", where=at)
        return answer
    raise FetchError(f"more than {REDIRECTS} redirects", where=url)


def _next(at: str, location: str, allowed: Allowed) -> str:
    """Return where a redirect leads. Raises FetchError where it is not followed."""
    try:
        url = urljoin(at, location)
        parts = bundles.split(url, at)
    except (ConfigError, ValueError) as exc:
        raise FetchError("redirects to what is no address", where=at, got=location[:200]) from exc
    if urlsplit(at).scheme == "https" and parts.scheme != "https":
        raise FetchError("redirects from https to http", where=at, got=url)
    if not allowed(url):
        raise FetchError(
            "redirects to an address that is not allowed",
            where=at,
            got=url,
            hint="bundles.fetch in the config",
        )
    return url


def _length(answer: http.client.HTTPResponse, url: str) -> int | None:
    """Return the length that the server states; None where it states none."""
    if answer.chunked:
        return None
    text = answer.headers.get("Content-Length")
    if text is not None and not (text.isascii() and text.isdecimal() and len(text) < 19):
        raise FetchError("the server states no length", where=url, got=text[:40])
    return int(text) if text is not None else None


@contextlib.contextmanager
def _translated(url: str) -> Iterator[None]:
    """Turn what the library raises into one line."""
    try:
        yield
    except EdgeError:  # some are an OSError too
        raise
    except TimeoutError as exc:
        raise FetchError(f"no answer for {SILENCE_S:.0f} s", where=url) from exc
    except (OSError, http.client.HTTPException, ValueError) as exc:
        reason = getattr(exc, "reason", exc)  # of URLError
        if isinstance(reason, TimeoutError):
            raise FetchError(f"no answer for {SILENCE_S:.0f} s", where=url) from exc
        text = getattr(reason, "strerror", None) or str(reason) or type(reason).__name__
        hint = UNKNOWN if isinstance(reason, ssl.SSLCertVerificationError) else ""
        raise FetchError(f"cannot be fetched: {text}", where=url, hint=hint) from exc


@contextlib.contextmanager
def _deadline(limit_s: float, url: str) -> Iterator[None]:
    """Raise FetchError inside after ``limit_s``, wherever it waits."""

    def late(_: int, __: FrameType | None) -> None:
        raise _Late

    before = signal.signal(signal.SIGALRM, late)
    before_s, begin_s = signal.setitimer(signal.ITIMER_REAL, limit_s)[0], time.monotonic()
    try:
        yield
    except _Late as exc:
        raise FetchError(f"takes longer than {limit_s:g} s", where=url) from exc
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        if before_s:  # the process has one of its own
            signal.setitimer(signal.ITIMER_REAL, max(1.0, before_s + begin_s - time.monotonic()))
