"""SIGTERM, SIGINT and SIGHUP, remembered from the process's first moment until somebody looks.

Before a handler is set, SIGHUP ends a process and SIGINT leaves a traceback of whatever was being
imported. So this is imported and called before anything else, and imports next to nothing.

[1] The handler runs on the main thread between two steps of Python, and only adds to ``_came``.
"""

from __future__ import annotations

import signal

TYPE_CHECKING = False  # typing takes longer to import than all the rest
if TYPE_CHECKING:
    from typing import Any, Final

STOP: Final = (signal.SIGTERM, signal.SIGINT)
_before: Final[dict[signal.Signals, Any]] = {}
_came: Final[set[int]] = set()  # [1]


def remember() -> None:
    """Take the signals from now on; on the main thread.

    Also those that waited: the service starts Python with them blocked, for it takes 10 to 100 ms
    to get here.
    """
    for number in (*STOP, signal.SIGHUP):
        before = signal.signal(number, lambda number, _: _came.add(number))
        _before.setdefault(number, before)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _before)


def stopped() -> bool:
    """Return whether the process has been asked to end."""
    return not _came.isdisjoint(STOP)


def hung_up() -> bool:
    """Return whether SIGHUP has come since the last call."""
    if signal.SIGHUP not in _came:  # else one that comes between two looks would be lost
        return False
    _came.discard(signal.SIGHUP)
    return True


def give_back() -> None:
    """Let the signals do what they did before, also those that have come meanwhile."""
    for number, before in _before.items():
        signal.signal(number, before)
    for come in sorted(_came):
        _came.discard(come)
        signal.raise_signal(come)
