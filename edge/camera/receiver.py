"""Takes every picture of a camera's web server the moment it comes; the newest waits for a reader.

Only the receiver's thread sends requests and reads. [1] marks what it shares with the reader;
``_changed`` guards it. [2] ``stop`` sets an event and shuts the connection; the thread ends soon
after. Pictures are kept undecoded, one newest and one with the reader: nothing queues.

It does not know whether a JPEG can be decoded, nor its size.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge.camera import jpeg
from edge.camera.http import Answer, Client
from edge.camera.multipart import Multipart, Part
from edge.camera.newest import BAD_FRAMES, STOP_S, Newest, Picture
from edge.camera.partbuffer import LARGE_BYTES
from edge.camera.spec import CameraSpec
from edge.errors import CameraError
from edge.frames import Seconds

log = logging.getLogger(__name__)
BURST_PARTS: Final = 64
"""In one piece of the body: no camera sends more; the thread then rests between two pieces."""
REST_S: Final = 0.01
OTHERS: Final = ("audio/", "text/", "video/", "application/")
"""Types of parts that are not pictures, but not damage either."""


class Receiver(Newest):
    """What motion JPEG and single pictures share. Owns ``client`` from here on."""

    def __init__(self, client: Client, spec: CameraSpec) -> None:
        self._client, self._spec = client, spec
        self._lent_bytes = 0  # [1] of the picture that the reader has
        self._stopped = threading.Event()  # [2]
        self._corrupt = 0  # in a row
        super().__init__(spec.name)

    def take(self, timeout_s: Seconds) -> Picture | None:
        """Return what ``peek`` does; it is the reader's until its next ``take``."""
        with self._changed:  # reentrant
            self._lent_bytes = 0
            self._changed.notify_all()
            picture = super().take(timeout_s)
            self._lent_bytes = len(picture.pixels) if picture else 0
            return picture

    def stop(self) -> None:
        """[2] End the thread; one that resolves a name is left behind."""
        self._stopped.set()
        with self._changed:
            self._changed.notify_all()
        self._client.close()
        self._thread.join(STOP_S)

    def _release(self) -> None:
        self._client.drop()

    def _offer(self, content: NDArray[np.uint8], captured_ns: int) -> None:
        """[1] Make a picture the newest one."""
        self._corrupt = 0
        self._put(content, captured_ns)

    def _make_room(self) -> None:
        """[1] Drop a large picture, for the next is large, too; wait for the reader's."""
        with self._changed:
            if self._newest is not None and len(self._newest.pixels) > LARGE_BYTES:
                self._newest = None
                self._replaced_total += 1
            self._changed.wait_for(
                lambda: self._lent_bytes <= LARGE_BYTES or self._stopped.is_set()
            )

    def _count_corrupt(self, what: str) -> None:
        """[1] Count a part that is not a picture. Raises CameraError after many in a row.

        what  what it is, as the subject of a sentence
        """
        self._corrupt += 1
        with self._changed:
            self._corrupt_total += 1
            first = self._corrupt_total == 1
        if self._corrupt >= BAD_FRAMES:
            text = f"{BAD_FRAMES} frames in a row are corrupt"
            raise CameraError(text, reason="corrupt", where=self._where, got=what)
        if first:
            log.warning("%s: skipped %s; more are only counted", self._where, what)


class MotionJpeg(Receiver):
    """The parts of ``answer``, whose body has many and no end."""

    def __init__(self, client: Client, answer: Answer, spec: CameraSpec) -> None:
        self._answer = answer
        super().__init__(client, spec)

    def _receive(self) -> CameraError:
        parser = Multipart(self._answer.boundary, self._spec.config.max_bytes)
        timeout_s, last_s = self._spec.timeout_s, time.monotonic()
        while not self._stopped.is_set():
            try:
                chunk = self._answer.read()
            except TimeoutError:
                return self._error(f"no frame for {time.monotonic() - last_s:.1f} s", "stalled")
            except OSError as exc:
                return self._error(f"the connection is broken: {exc.strerror or exc}", "gone")
            captured_ns = time.monotonic_ns()
            if not chunk:
                return self._error("the server has closed the connection", "gone")
            parts = parser.feed(chunk)
            for part in parts:
                if isinstance(part, Part):
                    if self._take_part(part, captured_ns):
                        last_s = captured_ns / 1e9
                else:
                    limit = f": expected at most {self._spec.config.max_bytes} (camera.max_bytes)"
                    self._count_corrupt(part.what + (limit if part.too_large else ""))
            if captured_ns / 1e9 - last_s >= timeout_s:
                return self._error(f"no frame for {captured_ns / 1e9 - last_s:.1f} s", "stalled")
            if parser.held_bytes > LARGE_BYTES:
                self._make_room()
            if len(parts) > BURST_PARTS:
                self._stopped.wait(REST_S)
        return self._error("is closed", "gone")

    def _take_part(self, part: Part, captured_ns: int) -> bool:
        """Offer a part; return whether it is a picture."""
        if part.content[:2].tobytes() == jpeg.START:
            self._offer(part.content, captured_ns)
            return True
        if not part.type.startswith(OTHERS) or part.type == "application/octet-stream":
            kind = f" of type {part.type}" if part.type else ""
            self._count_corrupt(f"a part{kind} that is not a JPEG")
        return False
