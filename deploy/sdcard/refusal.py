"""The errors of `make flash`: each is one line with an exit status of its own."""

from __future__ import annotations

from typing import Final

from deploy.runtime.pins import BuildError

STATUSES: Final = {
    "no device": 64,
    "image corrupt": 65,
    "image missing": 66,
    "not a disk": 67,
    "a partition": 68,
    "no program": 69,
    "copying failed": 70,
    "write-protected": 71,
    "own disk": 72,
    "in use": 73,
    "unreadable": 74,
    "too small": 75,
    "not an SD card": 76,
    "no permission": 77,
    "not confirmed": 78,
    "changed": 79,
    "differs": 80,
    "unfinished": 81,
    "used": 82,
    "none left": 83,
    "interrupted": 130,
}
"""Reason -> exit status of ``python3 -m deploy.sdcard.flash``; make itself ends with 2.

not a disk      no such file, or neither a block device nor a plain file
own disk        this system runs from it
in use          mounted, swap space, or part of something in use
unreadable      it cannot be read
not an SD card  not removable, or neither on USB nor in an SD card slot
not confirmed   the answer was no, or there was no terminal to ask on
changed         the medium was exchanged after the question
differs         reading back gave other bytes than were written
unfinished      a device's files are perhaps on an SD card; or they could not be written
used            a device's credential is on an SD card already, or revoked
none left       no device of the CSV is left
interrupted     by Ctrl-C or a signal; half written unless the line says otherwise
"""


class FlashError(BuildError):
    """The SD card was not written, or not verified; ``reason`` is a key of STATUSES."""

    def __init__(self, reason: str, what: str, **words: str) -> None:
        super().__init__(STATUSES[reason], what, **words)
        self.reason = reason
