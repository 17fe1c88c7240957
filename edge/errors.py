"""Every error a user can meet, each with the exit status it ends in.

    EdgeError                 1
    |- ConfigError(ValueError)       78  EX_CONFIG: systemd must not restart on it
    |- IdentityError(ValueError)     78  EX_CONFIG
    |- ModelError(ValueError)        78  EX_CONFIG
    |- CameraError(OSError)          74  EX_IOERR: a restart may help
    |- PublishError(ConnectionError) 69  EX_UNAVAILABLE
    |- LocalError(ConnectionError)   69  EX_UNAVAILABLE
    `- FetchError(ConnectionError)   69  EX_UNAVAILABLE

A message is one line: where, what is wrong, what was expected, what came, and a hint. Text from
outside is escaped in it.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from typing import ClassVar, Literal

from edge.text import escaped

log = logging.getLogger(__name__)


class EdgeError(Exception):
    """A fault, on one line.

    what      the fault in a few words
    where     file and key, device or topic
    expected  what would be right
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
    """The config cannot be used as it is written."""

    exit_status = 78


class IdentityError(EdgeError, ValueError):
    """Another daemon has the same device id."""

    exit_status = 78


class ModelError(EdgeError, ValueError):
    """The model, its card or its runtime cannot be used, or is not what its card says."""

    exit_status = 78


CameraReason = Literal[
    "absent", "busy", "denied", "gone", "stalled", "corrupt", "changed", "unsupported", "failed"
]
"""Why there are no frames.

absent       no such device, file or server
busy         another process uses it
denied       permission or login refused
gone         it was there: unplugged, or the server closed the connection
stalled      open, but no frame comes
corrupt      frames come but cannot be decoded
changed      the picture now has another size or format
unsupported  it is there but cannot do what the config says
failed       anything else
"""


class CameraError(EdgeError, OSError):
    """The source of frames cannot be opened, or has gone.

    reason  for events, and for the decision what to do
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


class LocalError(EdgeError, ConnectionError):
    """The local socket cannot be used."""

    exit_status = 69


class FetchError(EdgeError, ConnectionError):
    """The server of a model cannot be used."""

    exit_status = 69


@contextlib.contextmanager
def boundary(error: type[EdgeError], what: str, where: str) -> Iterator[None]:
    """Turn whatever is raised inside into ``error``; an EdgeError passes as it is.

    For files that anybody may have written, a config or a model: a library may raise anything at
    them, and none of that may end a daemon. The traceback is logged at DEBUG.

    what, where  of the error; the exception's own text is added
    """
    try:
        yield
    except EdgeError:
        raise
    except Exception as exc:  # MemoryError and RecursionError included
        log.debug("%s: %s", where, what, exc_info=True)
        kind, text = type(exc).__name__, str(exc)
        raise error(f"{what}: {kind}: {text}" if text else f"{what}: {kind}", where=where) from exc
