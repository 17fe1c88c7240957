"""SIGTERM, SIGINT and SIGHUP, remembered from the start of the process until they are read.

Before a handler is set, SIGHUP ends a process, and SIGINT prints a traceback of an import. So this
module is imported and called before anything else, and imports almost nothing.

[1] The handler runs on the main thread between two steps of Python, and only adds to ``_arrived``.
"""

from __future__ import annotations

import signal

TYPE_CHECKING = False  # typing takes longer to import than all the rest
if TYPE_CHECKING:
    from typing import Any, Final

STOP: Final = (signal.SIGTERM, signal.SIGINT)
_before: Final[dict[signal.Signals, Any]] = {}
_arrived: Final[set[int]] = set()  # [1]


def remember() -> None:
    """Handle the signals from now on; on the main thread.

    Also those that are pending: the unit starts Python with them blocked, for it takes 10 to 100 ms
    to get here.
    """
    for number in (*STOP, signal.SIGHUP):
        before = signal.signal(number, lambda number, _: _arrived.add(number))
        _before.setdefault(number, before)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _before)


def stopped() -> bool:
    """Return whether SIGTERM or SIGINT has arrived."""
    return not _arrived.isdisjoint(STOP)


def hung_up() -> bool:
    """Return whether SIGHUP has arrived since the last call."""
    if signal.SIGHUP not in _arrived:  # else one that arrives before `discard` would be lost
        return False
    _arrived.discard(signal.SIGHUP)
    return True


def give_back() -> None:
    """Restore the handlers from before, and raise again what has arrived meanwhile."""
    for number, before in _before.items():
        signal.signal(number, before)
    for arrived in sorted(_arrived):
        _arrived.discard(arrived)
        signal.raise_signal(arrived)
