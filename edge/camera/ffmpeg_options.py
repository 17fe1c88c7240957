"""Options that OpenCV's FFmpeg reads from the environment, changed while threads run.

OpenCV takes them from no call, only from variables that it reads as it opens a source. Setting a
variable may move the list that getenv() walks through on another thread: names are resolved and
times are printed meanwhile. So the variables are put into the environment once, on the main thread,
as this file is imported and before there are other threads. After that only the bytes of a value
change, in memory that stays where it is.

[1] Any thread may open a source. The values belong to the one that holds ``_opening``; others only
    compare the names before them, which never change. The last byte of a value is always 0.
Source: putenv(3): the string becomes part of the environment.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import threading
from collections.abc import Iterator
from typing import Final

VALUE_BYTES: Final = 4096
_libc = ctypes.CDLL(None)
_libc.calloc.restype = ctypes.c_void_p
_libc.calloc.argtypes = (ctypes.c_size_t, ctypes.c_size_t)
_libc.putenv.argtypes = (ctypes.c_void_p,)
_libc.getenv.restype = ctypes.c_void_p
_libc.getenv.argtypes = (ctypes.c_char_p,)


class Variable:
    """One variable of the environment, in it from here on.

    name     of OpenCV
    default  its value while no source is being opened, unless the process was started with one
    """

    def __init__(self, name: str, default: str) -> None:
        self.given = os.environ.get(name, "")
        self._usual = os.fsencode(self.given or default)[: VALUE_BYTES - 1]
        self._name, start = name.encode(), f"{name}=".encode()
        # Never freed: getenv() may run at exit.
        self._memory = _libc.calloc(1, len(start) + VALUE_BYTES)
        if not self._memory:
            raise MemoryError
        ctypes.memmove(self._memory, start, len(start))
        self._value = self._memory + len(start)
        self._write(self._usual)
        _libc.putenv(self._memory)

    @contextlib.contextmanager
    def be(self, value: str) -> Iterator[None]:
        """[1] Have another value inside. Raises ValueError if it is too long."""
        content = os.fsencode(value)
        if len(content) >= VALUE_BYTES:
            raise ValueError(f"{len(content)} bytes of options: expected at most {VALUE_BYTES - 1}")
        if _libc.getenv(self._name) != self._value:  # a library has set it, against all rules
            _libc.putenv(self._memory)
        self._write(content)
        try:
            yield
        finally:
            self._write(self._usual)

    def _write(self, content: bytes) -> None:
        ctypes.memmove(self._value, content + b"\0", len(content) + 1)


_opening = threading.Lock()
_variables: list[Variable] = []  # [1]


def _prepare() -> list[Variable]:
    """Return the two variables, in the environment from the first call on."""
    if not _variables:
        usual = "rtsp_transport;tcp"  # OpenCV's own, where the variable is not set
        _variables.append(Variable("OPENCV_FFMPEG_CAPTURE_OPTIONS", usual))
        _variables.append(Variable("OPENCV_FFMPEG_THREADS", str(os.cpu_count() or 1)))
    return _variables


if threading.current_thread() is threading.main_thread():  # else: `edge doctor`, which opens none
    _prepare()


@contextlib.contextmanager
def options(text: str, threads: int) -> Iterator[None]:
    """[1] Have FFmpeg open a source with these options; one opens at a time.

    What the process was started with comes last and wins.
    text     as OpenCV reads them: ``name;value|name;value``
    threads  of the decoder
    """
    with _opening:
        capture, count = _prepare()
        text = "|".join(filter(None, (text, capture.given)))
        with capture.be(text), count.be(count.given or str(threads)):
            yield
