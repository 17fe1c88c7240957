"""Opens a network stream or a film through OpenCV's FFmpeg, fenced in.

It does not know why a stream does not open; `refusal` finds out. Runs on the thread that opens the
camera [1]; a Capture belongs to one thread at a time.
"""

from __future__ import annotations

import math
import os
import time
from collections import Counter
from typing import Final

import cv2

from edge.camera.capture import Capture
from edge.camera.ffmpeg_options import options
from edge.camera.refusal import TOO_LARGE, refusal
from edge.camera.spec import CameraSpec
from edge.errors import CameraError
from edge.fence import RESERVE_BYTES, ROOM_BYTES, Fence
from edge.frames import Seconds

PROBE_BYTES: Final = 16_000_000
"""Of a stream that is searched for its first key frame: ten seconds at 12 Mbit/s."""
FILM_THREADS: Final = 4
"""Of the decoder of a film that one cannot decode in time."""
ONE_THREAD_PIXELS: Final = 1280 * 720
"""One thread decodes films up to this size in real time: H.264 takes 4.3 ms a frame on x86-64, four
times as long on a Pi. A second thread costs 8.7 MB even at 640x480 (emulated arm64)."""
FILM_S: Final = 4.0
"""Longest wait for a film to open, and for each of its frames: the reader waits, too."""
FILMS: Final = (
    "mov,matroska,avi,mpegts,mpeg,mpegvideo,h264,hevc,vvc,av1,obu,ivf,m4v,h263,vc1,mjpeg,flv,asf,ogg,"
    "mxf,nut,dv,rm,gif,apng,yuv4mpegpipe,jpeg_pipe,png_pipe,webp_pipe,bmp_pipe,tiff_pipe,pam_pipe,"
    "ppm_pipe"
)
"""FFmpeg's names of formats that hold a film, not a list of other files or of addresses."""

KEY_FRAMES: Final = "key frames must come more often than camera.stall_timeout_s: set either"
ONE_EACH_CORE: Final = [int(part) for part in cv2.__version__.split(".")[:2]] < [4, 7]
"""OpenCV 4.6 decodes with one thread for each core, whatever is set."""

GREEDY_TIMES: Final = 3

_greedy: Counter[str] = Counter()
"""[1] How often a source failed to open and left the process grown; few ever do.

Only one camera opens at a time, so one thread at a time uses it.
"""


def open_stream(spec: CameraSpec, search: str = "") -> Capture:
    """Return the open stream. Raises CameraError.

    search  FFmpeg's options for how far it probes a source that is not RTSP

    Grabs fail after ``timeout_s``; OpenCV 4.6 gives an old frame once instead.
    """
    until = time.monotonic() + spec.timeout_s
    if "\0" in spec.source or not _is_utf8(spec.source):  # OpenCV would crash on it
        what, hint = "is not an address", "write special characters as %XX"
        raise CameraError(what, reason="unsupported", where=spec.name, hint=hint)
    if _greedy[spec.source]:
        _check_greedy(spec)
    capture = _open(spec.source, _stream_options(spec, search), spec.timeout_s)
    if capture is None:
        raise refusal(spec.source, spec.name, spec.timeout_s)
    if not all(capture.size) and not capture.is_jpeg:
        capture.release()
        left_s = max(0.1, until - time.monotonic())
        search = f"probesize;{PROBE_BYTES}|fpsprobesize;0|analyzeduration;{round(left_s * 1e6)}"
        capture = _open(spec.source, _stream_options(spec, search), left_s, spec.timeout_s)
        if capture is None or not all(capture.size):
            if capture is not None:
                capture.release()
            raise no_key_frame(spec.name, spec.timeout_s)
    return _fitting(capture, spec, spec.name)


def open_film(name: str, spec: CameraSpec, where: str) -> Capture:
    """Return the open film in the file ``name``. Raises CameraError."""
    only = f"protocol_whitelist;file|format_whitelist;{FILMS}"
    threads = min(os.cpu_count() or 1, FILM_THREADS)
    fast = spec.config.pace == "fast"
    capture = _open(name, only, FILM_S, threads=threads if fast else 1)
    if capture is not None and not fast and math.prod(capture.size) > ONE_THREAD_PIXELS:
        capture.release()
        capture = _open(name, only, FILM_S, threads=threads)
    if capture is None or not all(capture.size):
        if capture is not None:
            capture.release()
        raise CameraError(
            "not a video that can be decoded",
            reason="unsupported",
            where=where,
            expected=f"at most {spec.config.max_pixels} pixels (camera.max_pixels) and"
            f" {ROOM_BYTES // 1_000_000} MB of memory to open it",
            hint="try it with ffprobe",
        )
    return _fitting(capture, spec, where)


def _check_greedy(spec: CameraSpec) -> None:
    """Raise CameraError if a source that used up its memory would do so again.

    What FFmpeg gives back is not always given back to the system, so each time adds to the last.
    """
    if _greedy[spec.source] >= GREEDY_TIMES:
        raise CameraError(
            f"has used up its memory {GREEDY_TIMES} times and is not opened again",
            reason="unsupported",
            where=spec.name,
            hint="check its server, then restart the daemon",
        )
    error = refusal(spec.source, spec.name, spec.timeout_s)
    if error.what == TOO_LARGE:
        raise error


def no_key_frame(where: str, waited_s: Seconds) -> CameraError:
    """Return the error for a stream in which no key frame came."""
    return CameraError(
        f"frames come, but no key frame in {waited_s:.1f} s",
        reason="stalled",
        where=where,
        hint=KEY_FRAMES,
    )


def _fitting(capture: Capture, spec: CameraSpec, where: str) -> Capture:
    """Make room for a decoder of this size. Raises CameraError for a size that is too large."""
    width, height = capture.size
    if width * height > spec.config.max_pixels:
        capture.release()
        raise CameraError(
            "the picture is too large",
            reason="unsupported",
            where=where,
            expected=f"at most {spec.config.max_pixels} pixels (camera.max_pixels)",
            got=f"{width} x {height}",
        )
    capture.fence.widen(width * height)
    return capture


def _stream_options(spec: CameraSpec, search: str) -> str:
    """Return FFmpeg's options.

    Measured on loopback, H.264, 20 frames a second: with this ``search`` RTSP opens in 0.1 s
    instead of 1.6 s, because its frames are not probed first. ``nobuffer`` would throw the first
    key frame away.
    """
    transport = f"rtsp_transport;{spec.config.transport}"
    if spec.source.startswith("rtsp"):
        search = search or "probesize;32|fpsprobesize;0"
    return f"{transport}|{search}" if search else transport


def _open(
    name: str, text: str, timeout_s: Seconds, read_s: Seconds | None = None, threads: int = 1
) -> Capture | None:
    """Return the source, None if it does not open within ``timeout_s``.

    read_s   longest time of a grab; ``timeout_s`` by default
    threads  of the decoder: each one beyond the first delays frames by one more interval
    """
    read_s = timeout_s if read_s is None else read_s
    limits = [
        *(cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, max(1, round(timeout_s * 1000))),
        *(cv2.CAP_PROP_READ_TIMEOUT_MSEC, max(1, round(read_s * 1000))),
    ]
    if ONE_EACH_CORE:
        threads = os.cpu_count() or 1
    fence = Fence(threads if threads > 1 else 0)
    try:
        with options(text, threads):
            capture = cv2.VideoCapture(name, cv2.CAP_FFMPEG, limits)
    except (cv2.error, MemoryError):
        capture = None
    except BaseException:
        fence.lift()
        raise
    if capture is not None and capture.isOpened():
        opened = Capture(capture, fence)
        if all(opened.size) or fence.taken_bytes() < RESERVE_BYTES:
            _greedy.pop(name, None)
            return opened
        opened.release()
    fence.lift()
    if fence.taken_bytes() > RESERVE_BYTES:
        _greedy[name] += 1
    return None


def _is_utf8(text: str) -> bool:
    try:
        return bool(text.encode())
    except UnicodeEncodeError:
        return False
