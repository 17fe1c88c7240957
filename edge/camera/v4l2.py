"""USB and other V4L2 cameras, straight from the driver's buffers.

A grabber thread takes every buffer the moment it is full and returns the one before, so that a slow
reader gets the newest frame; it touches no pixel. One buffer is the reader's, one the newest, the
others are the driver's. A frame in a raw format is a view of its buffer, not a copy; a JPEG is
decoded on the reader's thread, when it is read, no larger than is useful.

[1] marks what both threads touch; ``_changed`` guards it. [2] The grabber alone writes this number,
the reader only looks at it. [3] A byte in a pipe ends the grabber. Sequence and time are the
driver's.
Source: the kernel's V4L2 documentation, "Streaming I/O (Memory Mapping)".
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
import select
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from edge.camera import controls
from edge.camera import v4l2_abi as abi
from edge.camera.spec import CameraSpec
from edge.camera.v4l2_controls import V4l2Controls
from edge.camera.v4l2_device import identify, open_device, translated
from edge.camera.v4l2_formats import Decoder, negotiate
from edge.errors import CameraError
from edge.frames import CameraMode, ControlValue, Frame, Seconds

BUFFERS: Final = 4
"""One for the reader, one newest, two for the driver: with one it would have to wait."""
STILL_S: Final = 1.0
"""Longest wait for a picture in full size: the loop blocks meanwhile."""
CORRUPT_MAX: Final = 30
"""After so many undecodable frames in a row, the camera is given up."""


@dataclass(frozen=True, slots=True)
class Filled:
    """A buffer with a frame in it."""

    index: int
    bytes: int
    sequence: int
    captured_ns: int


class V4l2Camera:
    """A video device. Raises CameraError if it cannot be opened or cannot do what ``spec`` says."""

    def __init__(self, spec: CameraSpec) -> None:
        self._where, self._view = spec.name, spec.view
        self._changed = threading.Condition()
        self._newest: Filled | None = None  # [1]
        self._failure: CameraError | None = None  # [1]
        self._closed = False
        self._held: int | None = None
        self._flagged_total = 0  # [2]
        self._undecodable_total = self._undecodable_row = 0
        self._next, self._driver_last = spec.first_sequence, -1
        self._maps: list[mmap.mmap] = []
        try:
            self._device = open_device(spec.source)
        except OSError as exc:
            raise translated(exc, spec.name) from exc
        try:
            device_name = identify(self._device)
            got = negotiate(self._device, spec)
            self._controls = V4l2Controls(self._device, spec.name)
            pix = got.pix
            self._decoder = decoder = Decoder(pix, spec)
            self._stream()
        except CameraError:
            self._release()
            raise
        except OSError as exc:
            self._release()
            raise translated(exc, spec.name) from exc
        self.mode = CameraMode(
            driver="v4l2",
            source=spec.name,
            width=decoder.width,
            height=decoder.height,
            fps=round(got.fps or spec.config.fps, 3),
            format=abi.name(pix.pixelformat).lower(),
            device=device_name,
            still=decoder.still if decoder.still > (decoder.width, decoder.height) else None,
        )
        self._awake, self._wake = os.pipe2(os.O_CLOEXEC)  # [3]
        self._thread = threading.Thread(target=self._grab, name="grabber", daemon=True)
        self._thread.start()

    @property
    def corrupt_total(self) -> int:
        """Frames that the driver marked as damaged, or that cannot be decoded."""
        return self._flagged_total + self._undecodable_total

    def read(self, timeout_s: Seconds) -> Frame | None:
        """Return the newest frame; its pixels are the driver's again at the next ``read``."""
        return self._decoded(timeout_s, full=False)

    def still(self) -> Frame | None:
        """Return the next frame, decoded in full size; None if every frame is."""
        if self.mode.still is None:
            return None
        return self._decoded(STILL_S, full=True)

    def control(self, values: Mapping[str, ControlValue]) -> None:
        """Set controls of the device. Raises CameraError."""
        controls.check(values, self._controls.known, self._where)
        try:
            self._controls.set(values)
        except CameraError:
            raise
        except OSError as exc:
            raise translated(exc, self._where) from exc

    def close(self) -> None:
        """Stop the grabber and close the device."""
        if self._closed:
            return
        self._closed = True
        os.write(self._wake, b"x")  # [3]
        self._thread.join()
        os.close(self._wake)
        os.close(self._awake)
        self._release()

    def _decoded(self, timeout_s: Seconds, full: bool) -> Frame | None:
        until = time.monotonic() + timeout_s
        while (filled := self._take(until - time.monotonic())) is not None:
            pixels = self._decoder.decode(self._maps[filled.index], filled.bytes, full)
            if pixels is not None:
                self._undecodable_row = 0
                layout = self._decoder.layout
                return Frame(filled.sequence, filled.captured_ns, pixels, layout, self._view)
            self._undecodable_total += 1
            self._undecodable_row += 1
            if self._undecodable_row >= CORRUPT_MAX:
                raise CameraError(
                    f"{CORRUPT_MAX} frames in a row cannot be decoded",
                    reason="corrupt",
                    where=self._where,
                    hint="try another camera.format, a shorter cable or a powered hub",
                )
        return None

    def _take(self, timeout_s: Seconds) -> Filled | None:
        """Return the newest buffer, now the reader's; the one it had goes back to the driver."""
        with self._changed:
            self._changed.wait_for(lambda: self._newest or self._failure, max(0.0, timeout_s))
            filled, self._newest = self._newest, None
            if filled is None:
                if self._failure:
                    raise self._failure
                return None
        before, self._held = self._held, filled.index
        if before is not None:
            self._give(before)
        return filled

    def _give(self, index: int) -> None:
        """Return a buffer to the driver; if the device has gone, the grabber notices."""
        with contextlib.suppress(OSError):
            abi.call(self._device, abi.QBUF, _buffer(index))

    def _grab(self) -> None:
        """[1] Take buffers until the pipe has a byte, or the device fails."""
        poll = select.poll()
        poll.register(self._device, select.POLLIN | select.POLLPRI)
        poll.register(self._awake, select.POLLIN)
        try:
            while True:
                events = dict(poll.poll())
                if self._awake in events:
                    return
                flags = events[self._device]  # a device that has gone sets all of them
                if flags & select.POLLPRI and not flags & (select.POLLERR | select.POLLHUP):
                    raise CameraError(
                        "the picture has changed", reason="changed", where=self._where
                    )
                self._exchange()
        except CameraError as exc:
            self._fail(exc)
        except OSError as exc:
            self._fail(translated(exc, self._where))

    def _exchange(self) -> None:
        """[1] Take a full buffer as the newest and return the one before. Raises OSError."""
        try:
            buffer = abi.call(self._device, abi.DQBUF, _buffer())
        except BlockingIOError:
            return
        missed = buffer.sequence - self._driver_last - 1 if self._driver_last >= 0 else 0
        self._driver_last = buffer.sequence
        sequence = self._next + max(
            0, missed
        )  # no gap if a driver counts from 0 again, or not at all
        self._next = sequence + 1
        if buffer.flags & abi.FLAG_ERROR or not buffer.bytesused:
            self._flagged_total += 1
            self._give(buffer.index)
            return
        filled = Filled(buffer.index, buffer.bytesused, sequence, _captured_ns(buffer))
        with self._changed:
            before, self._newest = self._newest, filled
            self._changed.notify()
        if before is not None:
            self._give(before.index)

    def _fail(self, error: CameraError) -> None:
        with self._changed:
            self._failure = error
            self._changed.notify()

    def _stream(self) -> None:
        """Allocate buffers, map them, and start. Raises OSError."""
        device = self._device
        for index in range(abi.call(device, abi.REQBUFS, _buffers(BUFFERS)).count):
            buffer = abi.call(device, abi.QUERYBUF, _buffer(index))
            self._maps.append(mmap.mmap(device, buffer.length, offset=buffer.place))
            abi.call(device, abi.QBUF, _buffer(index))
        with contextlib.suppress(OSError):  # the picture of most cameras keeps its size
            chosen = abi.call(device, abi.G_INPUT, ctypes.c_int32()).value
            change = abi.EventSubscription(type=abi.EVENT_SOURCE_CHANGE, id=chosen)
            abi.call(device, abi.SUBSCRIBE_EVENT, change)
        abi.call(device, abi.STREAMON, ctypes.c_int32(abi.CAPTURE))

    def _release(self) -> None:
        with contextlib.suppress(OSError):  # it has gone, or was not started
            abi.call(self._device, abi.STREAMOFF, ctypes.c_int32(abi.CAPTURE))
            # else the device stays in use while anybody holds a frame
            abi.call(self._device, abi.REQBUFS, _buffers(0))
        os.close(self._device)
        self._maps.clear()  # unmapped with the last frame that refers to them


def _buffers(count: int) -> abi.BuffersRequest:
    return abi.BuffersRequest(count=count, type=abi.CAPTURE, memory=abi.MMAP)


def _buffer(index: int = 0) -> abi.Buffer:
    return abi.Buffer(index=index, type=abi.CAPTURE, memory=abi.MMAP)


def _captured_ns(buffer: abi.Buffer) -> int:
    """Return when the frame was taken: the driver's time if that is monotonic, else now."""
    now = time.monotonic_ns()
    if buffer.flags & abi.FLAG_TIMESTAMP_MASK == abi.FLAG_TIMESTAMP_MONOTONIC:
        stamp = buffer.seconds * 1_000_000_000 + buffer.microseconds * 1000
        if 0 < stamp <= now:
            return int(stamp)
    return now
