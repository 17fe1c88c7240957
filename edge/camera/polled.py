"""A camera's web server that gives one picture for each request; ``fps`` requests a second.

A request names the last picture, so that the server need not send the same again; that picture is
then a new frame, for the camera still sees it. A request without a good answer is repeated: the
camera is lost only if none was good for as long as a camera may be silent.
Runs on the receiver's thread.
"""

from __future__ import annotations

import email.utils
import time
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge.camera import jpeg
from edge.camera.http import Answer, Client, NotHttp
from edge.camera.partbuffer import PartBuffer
from edge.camera.receiver import Receiver
from edge.camera.refusal import refused
from edge.camera.spec import CameraSpec
from edge.errors import CameraError
from edge.frames import Seconds

FIRST_WAIT_S: Final = 0.25
"""After a request without a good answer; twice as long each time."""
LONGEST_WAIT_S: Final = 5.0
SILENT: Final = 0.9
"""Of the time after which the reader gives up: here the reason is known."""
VALIDATORS: Final = {"ETag": "If-None-Match", "Last-Modified": "If-Modified-Since"}
OK: Final = 200
NOT_MODIFIED: Final = 304


class Polled(Receiver):
    """Sends requests from here on.

    answer  to the first request, its body still to be read
    begun   the bytes of it that were already read
    """

    def __init__(self, client: Client, answer: Answer, begun: bytes, spec: CameraSpec) -> None:
        self._first: Answer | None = answer
        self._begun = begun
        self._period_s = 1.0 / spec.config.fps
        client.timeout_s = spec.timeout_s / 2  # a single missing answer is not silence
        self._last: NDArray[np.uint8] | None = None
        self._fields: dict[str, str] = {}
        self._retry_s = 0.0
        super().__init__(client, spec)

    def _receive(self) -> CameraError:
        silence_s = SILENT * max(self._spec.timeout_s, 3 * self._period_s)
        due_s = good_s = time.monotonic()
        bad = 0
        while not self._stopped.is_set():
            wait_s = 0.0
            try:
                content = self._picture()
                bad = 0
                if content is not None:
                    self._offer(content, time.monotonic_ns())
                    good_s = time.monotonic()
            except CameraError as exc:
                self._client.drop()
                silent_s = time.monotonic() - good_s
                if exc.reason == "corrupt" or silent_s >= silence_s:
                    return exc
                wait_s = max(self._retry_s, min(LONGEST_WAIT_S, FIRST_WAIT_S * 2.0 ** min(bad, 9)))
                wait_s = min(wait_s, silence_s - silent_s)  # one last request, then
                bad += 1
            now = time.monotonic()
            due_s = max(due_s + self._period_s, now + wait_s)
            self._stopped.wait(due_s - now)
        return self._error("is closed", "gone")

    def _picture(self) -> NDArray[np.uint8] | None:
        """Return the current picture; None for an answer that is none, which is counted.

        Raises CameraError if there is no good answer.
        """
        answer, self._first, self._retry_s = self._first, None, 0.0
        if answer is None:
            try:
                answer = self._client.get(self._fields)
            except NotHttp as exc:
                raise self._error("no answer", "absent") from exc
        if answer.status == NOT_MODIFIED and self._last is not None:
            answer.finish()
            return self._last
        if answer.status != OK:
            self._retry_s = _retry_s(answer.header("Retry-After"))
            raise refused(answer.status, self._where)
        content = self._body(answer)
        if content is None:
            return None
        if not jpeg.is_whole(content):
            kind = answer.type or "unknown"
            self._count_corrupt(f"an answer of type {kind} that is not a whole JPEG")
            return None
        names = VALIDATORS.items()
        self._fields = {field: value for name, field in names if (value := answer.header(name))}
        self._last = content
        return content

    def _body(self, answer: Answer) -> NDArray[np.uint8] | None:
        """Return the whole body; None if it is too large. Raises CameraError."""
        max_bytes, until_s = self._spec.config.max_bytes, time.monotonic() + self._client.timeout_s
        body = PartBuffer()
        body.held, self._begun = bytearray(self._begun), b""
        length = (answer.length or 0) + body.left
        try:
            while max(length, body.total_bytes) <= max_bytes and (chunk := answer.read(until_s)):
                body.held += chunk
                if body.total_bytes <= max_bytes:
                    body.store(body.left, max_bytes)
                    body.compact()
                if body.stored:
                    self._make_room()
        except TimeoutError as exc:
            raise self._error("its picture does not end in time", "stalled") from exc
        except OSError as exc:
            raise self._error(f"the connection is broken: {exc.strerror or exc}", "gone") from exc
        if max(length, body.total_bytes) > max_bytes:
            self._client.drop()  # rather than read the rest
            size = f"{length}" if length > max_bytes else f"more than {max_bytes}"
            limit = f"expected at most {max_bytes} (camera.max_bytes)"
            self._count_corrupt(f"a picture of {size} bytes: {limit}")
            return None
        if answer.length:
            raise self._error("the server has closed the connection within a picture", "gone")
        answer.finish()
        return body.take(body.left)


def _retry_s(header: str) -> Seconds:
    """Return the seconds in Retry-After: a number, or until a date."""
    if header.isdecimal() and len(header) < 10:
        return float(header)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(header).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return 0.0
