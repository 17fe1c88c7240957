"""Finds out why a server gives no stream: sends one request in plain text after the failure.

OpenCV only says that it failed. RTSP and HTTP have requests of the same form, so one serves both.
It does not know what is wrong inside a stream; other protocols get no request.
Runs on the thread that opens the camera, for two time-outs at most.
"""

from __future__ import annotations

import re
import socket
import ssl
import time
from typing import Final
from urllib.parse import SplitResult, urlsplit

from edge.camera.login import Login
from edge.errors import CameraError
from edge.fence import ROOM_BYTES
from edge.frames import Seconds

PORTS: Final = {"rtsp": 554, "rtsps": 322, "http": 80, "https": 443}
TIMEOUT_S: Final = 3.0
ANSWER_BYTES: Final = 8192
SDP_BYTES: Final = 65_536
"""Longest description of a stream; usual ones have some hundred bytes."""
TOO_LARGE: Final = "its description is too large"


def refusal(source: str, where: str, timeout_s: Seconds) -> CameraError:
    """Return the error for a ``source`` that did not open.

    source     URL, may hold credentials: they are sent to the server and never logged
    where      the same without them
    timeout_s  for each step, at most ``TIMEOUT_S``
    """
    unknown = CameraError(
        "cannot be opened", where=where, hint="check the address, and try it with ffprobe"
    )
    try:
        url = urlsplit(source)
        port = url.port or PORTS[url.scheme]
    except (ValueError, KeyError):
        return unknown
    try:
        answer = _answer(url, port, min(timeout_s, TIMEOUT_S))
        status = int(answer.split(maxsplit=2)[1])
    except (OSError, ValueError, IndexError) as exc:
        return unreachable(exc, port, where)
    length = re.search(r"(?im)^content-length: *(\d{1,18})\s*$", answer)
    if status == 200 and url.scheme.startswith("rtsp") and length and int(length[1]) > SDP_BYTES:
        expected = f"at most {SDP_BYTES} bytes"
        return CameraError(
            TOO_LARGE, reason="unsupported", where=where, expected=expected, got=length[1]
        )
    return refused(status, where)


def unreachable(error: Exception, port: int, where: str) -> CameraError:
    """Return the error for a server that did not answer because of ``error``."""
    if isinstance(error, socket.gaierror):
        what, hint = "the server's name cannot be resolved", "check the name and the network"
        return CameraError(what, reason="absent", where=where, hint=hint)
    if isinstance(error, ConnectionRefusedError):
        what, hint = f"nothing listens on port {port}", "check the port, and start the server"
        return CameraError(what, reason="absent", where=where, hint=hint)
    what = "no answer in time" if isinstance(error, TimeoutError) else "no answer"
    hint = "check the address and the network"
    return CameraError(what, reason="absent", where=where, hint=hint)


def refused(status: int, where: str) -> CameraError:
    """Return the error for a server that answered with ``status`` and gave no stream."""
    got = f"status {status}"
    if status in (401, 403):
        hint = "check user and password, special characters written as %XX"
        return CameraError("login refused", reason="denied", where=where, got=got, hint=hint)
    if status in (404, 410, 454):
        hint = "check the path"
        return CameraError("no such stream", reason="absent", where=where, got=got, hint=hint)
    if status == 200:
        what = "gives no stream that can be decoded"
        expected = f"one that opens within {ROOM_BYTES // 1_000_000} MB of memory"
        hint = "try it with ffprobe"
        return CameraError(what, reason="unsupported", where=where, expected=expected, hint=hint)
    return CameraError("cannot be opened", where=where, got=got)


def _answer(url: SplitResult, port: int, timeout_s: Seconds) -> str:
    """Return the head of the server's answer, with a login if it requests one."""
    answer = _ask(url, port, timeout_s, "")
    login = Login(url.username or "", url.password or "")
    if login.challenge(re.findall(r"(?im)^www-authenticate: *(.*)$", answer)):
        answer = _ask(url, port, timeout_s, login.answer(*_request(url)[:2]))
    return answer


def _ask(url: SplitResult, port: int, timeout_s: Seconds, login: str) -> str:
    """Return the head of the server's answer. Raises OSError; ValueError for another protocol."""
    host, until_s = url.hostname or "", time.monotonic() + timeout_s
    lines = [" ".join(_request(url)), "CSeq: 1", f"Host: {host}:{port}", "Connection: close"]
    if login:
        lines.append(f"Authorization: {login}")
    with socket.create_connection((host, port), timeout_s) as plain:
        if url.scheme in ("rtsps", "https"):
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # as FFmpeg does
            connection: socket.socket = context.wrap_socket(plain, server_hostname=host)
        else:
            connection = plain
        with connection:
            connection.sendall("\r\n".join([*lines, "", ""]).encode())
            answer = b""
            while b"\r\n\r\n" not in answer and len(answer) < ANSWER_BYTES:
                connection.settimeout(max(0.001, until_s - time.monotonic()))
                more = connection.recv(ANSWER_BYTES)
                if not more:
                    break
                answer += more
    if not answer.startswith((b"RTSP/", b"HTTP/")):
        raise ValueError("neither RTSP nor HTTP")
    return answer.decode("latin-1")


def _request(url: SplitResult) -> tuple[str, str, str]:
    """Return method, address and protocol; the address has no credentials."""
    place = (url.path or "/") + (f"?{url.query}" if url.query else "")
    if url.scheme in ("http", "https"):
        return "GET", place, "HTTP/1.0"
    return "DESCRIBE", f"{url.scheme}://{url.netloc.rpartition('@')[2]}{place}", "RTSP/1.0"
