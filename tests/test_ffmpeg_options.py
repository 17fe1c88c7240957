"""FFmpeg's options change for each opening, the environment does not."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import threading
from typing import Any

import pytest

from edge.camera import open_camera
from edge.camera.ffmpeg_options import VALUE_BYTES, options
from edge.errors import CameraError
from tests.conftest import ROOT
from tests.specs import camera_spec
from tests.streams import CLIP

LIBC: Any = ctypes.CDLL(None)
LIBC.getenv.restype = ctypes.c_char_p
NAMES = (b"OPENCV_FFMPEG_CAPTURE_OPTIONS", b"OPENCV_FFMPEG_THREADS")


def values() -> list[bytes | None]:
    """Return what OpenCV reads."""
    return [LIBC.getenv(name) for name in NAMES]


def places() -> list[int]:
    """Return where the environment's list is, and where each of its strings is."""
    variable = ctypes.c_void_p.in_dll(LIBC, "environ")
    strings = ctypes.cast(variable, ctypes.POINTER(ctypes.c_void_p))
    found, index = [variable.value or 0], 0
    while strings[index]:
        found.append(strings[index])
        index += 1
    return found


def test_an_opening_has_its_own_options() -> None:
    """And after it those from before; Python's view of the environment has neither."""
    before, seen = values(), dict(os.environ)
    with options("rtsp_transport;udp|probesize;32", 3):
        assert values() == [b"rtsp_transport;udp|probesize;32", b"3"]
        assert dict(os.environ) == seen
    assert values() == before
    assert before[0] == b"rtsp_transport;tcp", "OpenCV's own default"


def test_an_opening_moves_nothing_that_another_thread_may_read() -> None:
    """Neither the list nor a string in it: getenv() elsewhere never sees freed memory."""
    before, inside = places(), []
    open_camera(camera_spec(CLIP, pace="fast")).close()
    with pytest.raises(CameraError):
        open_camera(camera_spec("rtsp://127.0.0.1:1/none", stall_timeout_s=1.0))
    with options("a;b", 1):
        inside = places()
    assert before == inside == places()


def test_openings_on_many_threads_take_turns() -> None:
    """Each sees its own options alone, however long they are."""
    wrong: list[object] = []

    def open_often(letter: str) -> None:
        for length in range(200):
            text = letter * (1 + 19 * length)
            with options(text, length):
                if (found := values()) != [text.encode(), str(length).encode()]:
                    wrong.append(found)

    threads = [threading.Thread(target=open_often, args=(letter,)) for letter in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_options_that_are_too_long_are_an_error() -> None:
    """Nothing is cut off, and what was set before is set again."""
    before = values()
    with pytest.raises(ValueError, match="expected at most"), options("a" * VALUE_BYTES, 1):
        pass
    assert values() == before


def test_a_variable_that_was_set_elsewhere_is_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """A film must never be opened without its options: they forbid it to name other files."""
    for name in NAMES:
        monkeypatch.setenv(name.decode(), "other")
    with options("probesize;32", 2):
        assert values() == [b"probesize;32", b"2"]
    monkeypatch.undo()
    assert values() == [None, None]
    with options("probesize;32", 2):
        assert values() == [b"probesize;32", b"2"]


def test_what_the_process_was_started_with_wins() -> None:
    """It comes last among the options, and instead of the number of threads."""
    code = (
        "from edge.camera.ffmpeg_options import options\n"
        "from tests.test_ffmpeg_options import values\n"
        "with options('probesize;32', 1):\n"
        "    print(*[value.decode() for value in values()])\n"
        "print(*[value.decode() for value in values()])\n"
    )
    given = {"OPENCV_FFMPEG_CAPTURE_OPTIONS": "rtsp_flags;prefer_tcp", "OPENCV_FFMPEG_THREADS": "7"}
    lines = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | given,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    assert lines == ["probesize;32|rtsp_flags;prefer_tcp 7", "rtsp_flags;prefer_tcp 7"]
