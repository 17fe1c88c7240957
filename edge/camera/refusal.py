"""Why a server gives no stream: asked once more, in plain text, after the stream did not open.

OpenCV only says that it failed. RTSP and HTTP ask and answer in the same form, so one question
serves both. It does not know what is wrong inside a stream, and any other protocol is not asked.
Runs on the thread that opens the camera, for two time-outs at most.
"""

from __future__ import annotations

import base64
import hashlib
import re
import socket
import ssl
import time
from typing import Final
from urllib.parse import SplitResult, unquote, urlsplit

from edge.camera.fence import ROOM_BYTES
from edge.errors import CameraError
from edge.types import Seconds

PORTS: Final = {"rtsp": 554, "rtsps": 322, "http": 80, "https": 443}
TIMEOUT_S: Final = 3.0
ANSWER_BYTES: Final = 8192
SDP_BYTES: Final = 65_536
"""A longer description of a stream is none; they have some hundred bytes."""
TOO_LARGE: Final = "its description is too large"


def refusal(source: str, shown: str, timeout_s: Seconds) -> CameraError:
    """Return the error for a ``source`` that did not open.

    source     URL, may hold credentials: they are sent to the server and shown nowhere
    shown      the same without them
    timeout_s  for each step, at most ``TIMEOUT_S``
    """
    unknown = CameraError(
        "cannot be opened", where=shown, mend="check the address, and try it with ffprobe"
    )
    try:
        url = urlsplit(source)
        port = url.port or PORTS[url.scheme]
    except (ValueError, KeyError):
        return unknown
    try:
        answer = _answer(url, port, min(timeout_s, TIMEOUT_S))
        status = int(answer.split(maxsplit=2)[1])
    except socket.gaierror:
        what, mend = "the server's name cannot be resolved", "check the name and the network"
        return CameraError(what, reason="absent", where=shown, mend=mend)
    except ConnectionRefusedError:
        what, mend = f"nothing listens on port {port}", "check the port, and start the server"
        return CameraError(what, reason="absent", where=shown, mend=mend)
    except (OSError, ValueError, IndexError) as exc:
        what = "no answer in time" if isinstance(exc, TimeoutError) else "no answer"
        mend = "check the address and the network"
        return CameraError(what, reason="absent", where=shown, mend=mend)
    got = f"status {status}"
    if status in (401, 403):
        mend = "check user and password, special characters written as %XX"
        return CameraError("login refused", reason="denied", where=shown, got=got, mend=mend)
    if status in (404, 410, 454):
        mend = "check the path"
        return CameraError("no such stream", reason="absent", where=shown, got=got, mend=mend)
    length = re.search(r"(?im)^content-length: *(\d{1,18})\s*$", answer)
    if status == 200 and url.scheme.startswith("rtsp") and length and int(length[1]) > SDP_BYTES:
        expected = f"at most {SDP_BYTES} bytes"
        return CameraError(
            TOO_LARGE, reason="unsupported", where=shown, expected=expected, got=length[1]
        )
    if status == 200:
        what = "gives no stream that can be decoded"
        expected = f"one that opens within {ROOM_BYTES // 1_000_000} MB of memory"
        mend = "try it with ffprobe"
        return CameraError(what, reason="unsupported", where=shown, expected=expected, mend=mend)
    return CameraError("cannot be opened", where=shown, got=got)


def _answer(url: SplitResult, port: int, timeout_s: Seconds) -> str:
    """Return the head of the server's answer, logged in where it asks for that."""
    answer = _ask(url, port, timeout_s, "")
    asked_for = re.search(r"(?im)^www-authenticate: *(basic|digest)(.*)$", answer)
    if asked_for and url.username:
        answer = _ask(url, port, timeout_s, _login(url, *asked_for.groups()))
    return answer


def _ask(url: SplitResult, port: int, timeout_s: Seconds, login: str) -> str:
    """Return the head of the server's answer. Raises OSError; ValueError for no answer."""
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
    """Return method, address and protocol: the address names no credentials."""
    place = (url.path or "/") + (f"?{url.query}" if url.query else "")
    if url.scheme in ("http", "https"):
        return "GET", place, "HTTP/1.0"
    return "DESCRIBE", f"{url.scheme}://{url.netloc.rpartition('@')[2]}{place}", "RTSP/1.0"


def _login(url: SplitResult, scheme: str, challenge: str) -> str:
    """Return the answer to a challenge. Source: RFC 7617; RFC 2069, which RTSP cameras use."""
    user, password = unquote(url.username or ""), unquote(url.password or "")
    if scheme.lower() == "basic":
        return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
    method, place, _ = _request(url)
    asked = dict(re.findall(r'(\w+)="([^"]*)"', challenge))
    realm, nonce = asked.get("realm", ""), asked.get("nonce", "")
    known, wanted = _md5(f"{user}:{realm}:{password}"), _md5(f"{method}:{place}")
    return (
        f'Digest username="{user}", realm="{realm}", nonce="{nonce}", uri="{place}",'
        f' response="{_md5(f"{known}:{nonce}:{wanted}")}"'
    )


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
