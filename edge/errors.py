"""Every error a user can meet, each with the exit status it ends in.

    EdgeError                 1
    |- ConfigError(ValueError)       78  EX_CONFIG: systemd must not restart on it
    |- IdentityError(ValueError)     78  EX_CONFIG
    |- ModelError(ValueError)        78  EX_CONFIG
    |- CameraError(OSError)          74  EX_IOERR: a restart may help
    `- PublishError(ConnectionError) 69  EX_UNAVAILABLE

A message is one line: where, what is wrong, what was expected, what came, and the hint. What of it
came from outside is escaped.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from typing import ClassVar, Literal

from edge.text import escaped

log = logging.getLogger(__name__)


class EdgeError(Exception):
    """What went wrong, on one line.

    what      the fault in a few words
    where     file and key, device or topic
    expected  what would have been right
    got       what came instead
    hint      what the reader can do about it
    """

    exit_status: ClassVar[int] = 1

    def __init__(
        self,
        what: str,
        *,
        where: str = "",
        expected: str = "",
        got: str = "",
        hint: str = "",
    ) -> None:
        self.what = what = escaped(" ".join(what.split()))
        self.where = where = escaped(where)
        self.expected = expected = escaped(" ".join(expected.split()))
        self.got = got = escaped(got)
        self.hint = hint = escaped(" ".join(hint.split()))
        line = f"{where}: {what}" if where else what
        if expected:
            line += f": expected {expected}"
        if got:
            line += f", got {got}" if expected else f": got {got}"
        if hint:
            line += f"; {hint}"
        super().__init__(line)

    def __str__(self) -> str:
        """Return the line."""
        return str(self.args[0])


class ConfigError(EdgeError, ValueError):
    """The configuration cannot be used as it is written."""

    exit_status = 78


class IdentityError(EdgeError, ValueError):
    """Another daemon has this device's name."""

    exit_status = 78


class ModelError(EdgeError, ValueError):
    """The model, its card or its runtime is not what it says it is."""

    exit_status = 78


CameraReason = Literal[
    "absent", "busy", "denied", "gone", "stalled", "corrupt", "changed", "unsupported", "failed"
]
"""Why there are no frames.

absent       no such device, file or server
busy         somebody else uses it
denied       permission or login refused
gone         was there: unplugged, the server closed the connection
stalled      open, but no frame comes
corrupt      frames come that cannot be decoded
changed      the picture has another size or format now
unsupported  it is there and cannot do what is asked
failed       anything else
"""


class CameraError(EdgeError, OSError):
    """The source of frames cannot be opened or has gone.

    reason  for events and for what to do about it
    """

    exit_status = 74

    def __init__(
        self,
        what: str,
        *,
        reason: CameraReason = "failed",
        where: str = "",
        expected: str = "",
        got: str = "",
        hint: str = "",
    ) -> None:
        super().__init__(what, where=where, expected=expected, got=got, hint=hint)
        self.reason = reason


class PublishError(EdgeError, ConnectionError):
    """The broker cannot be used."""

    exit_status = 69


@contextlib.contextmanager
def boundary(error: type[EdgeError], what: str, where: str) -> Iterator[None]:
    """Turn whatever is raised inside into ``error``; an EdgeError passes as it is.

    For what strangers have written, a config or a model: a library may raise anything at it, and
    none of that may end a daemon. The traceback is logged at DEBUG.

    what, where  of the error; the exception's own text follows
    """
    try:
        yield
    except EdgeError:
        raise
    except Exception as exc:  # MemoryError and RecursionError among them
        log.debug("%s: %s", where, what, exc_info=True)
        kind, text = type(exc).__name__, str(exc)
        raise error(f"{what}: {kind}: {text}" if text else f"{what}: {kind}", where=where) from exc
