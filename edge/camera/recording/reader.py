"""Reads a recording: its records in order, each checked, one frame in memory at a time.

Rule 1: nothing in it is believed: sizes, order, times, numbers and pictures are checked before they
        are used, and whatever is wrong is a CameraError on one line.
Rule 2: a recording that was cut ends with its last whole frame.

Runs on the caller's thread.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from edge import files
from edge.camera.recording import pixels, records
from edge.camera.recording.archive import Member, Members
from edge.errors import CameraError, CameraReason
from edge.frames import Frame
from edge.pictures.picture import Unreadable

MAX_PIXELS: Final = 16_000_000
"""Of a frame, unless the caller says otherwise."""


class Recorded(NamedTuple):
    """A frame of a recording, its picture still encoded."""

    seen: records.Seen
    source: records.Source
    picture: Member


Item = Recorded | records.Source | records.Happened | records.Gap | records.End


class Reader:
    """A recording, open. Raises CameraError if it is none.

    start  its first record
    whole  whether it was closed, once it was read to its end
    """

    def __init__(self, path: Path, max_pixels: int = MAX_PIXELS) -> None:
        self._where, self._max_pixels = str(path), max_pixels
        try:
            self._file = open(files.open_regular(path), "rb")  # noqa: SIM115
        except OSError as exc:
            reason: CameraReason = "denied" if isinstance(exc, PermissionError) else "absent"
            what = f"cannot be opened: {exc.strerror}"
            raise CameraError(what, reason=reason, where=self._where) from exc
        self.whole = False
        try:
            self._members = Members(self._file, self._where)
            self.start = self._start(iter(self._members))
        except BaseException:
            self._file.close()
            raise

    def __iter__(self) -> Iterator[Item]:
        """Yield what comes after the start, from there each time."""
        self._file.seek(0)
        self.whole = False
        self._members = Members(self._file, self._where)
        members = iter(self._members)
        self._start(members)
        source: records.Source | None = None
        last: records.Seen | None = None
        frames = 0
        for member in members:
            record = self._record(member)
            if isinstance(record, records.Start):
                raise self._members.fault("a second beginning")
            if isinstance(record, records.Source):
                source = self._checked(record)
            elif isinstance(record, records.Seen):
                if source is None:
                    raise self._members.fault("a frame before its camera")
                self._check(record, last)
                picture = next(members, None)
                if picture is None:  # it was cut here
                    return
                if picture.kind == "json":
                    raise self._members.fault("a frame without its picture")
                last, frames = record, frames + 1
                yield Recorded(record, source, picture)
                continue
            elif isinstance(record, records.End):
                if record.frames != frames:
                    raise self._members.fault(f"{frames} frames: expected {record.frames}")
                self.whole = True
                yield record
                return
            yield record

    def frame(self, recorded: Recorded) -> Frame:
        """Return the frame with its pixels, a new array. Raises CameraError."""
        seen, source, member = recorded
        try:
            size = (source.width, source.height)
            array = pixels.decode(
                member.content, member.kind, source.format, size, self._max_pixels
            )
        except Unreadable as exc:
            where = f"{self._where}: frame {seen.sequence}"
            raise CameraError(str(exc), reason="corrupt", where=where) from exc
        return Frame(seen.sequence, seen.captured_ns, array, source.format, source.view)

    def close(self) -> None:
        """Close the file; safe to call twice."""
        self._file.close()

    def _start(self, members: Iterator[Member]) -> records.Start:
        member = next(members, None)
        if member is None:
            raise CameraError(
                "not a recording", reason="corrupt", where=self._where, expected="edge record's"
            )
        record = self._record(member)
        if not isinstance(record, records.Start):
            raise self._members.fault("not a recording: it does not begin as one")
        labels = record.model.labels
        if not labels or len(set(labels)) != len(labels):
            raise self._members.fault("the labels are not distinct, or there are none")
        return record

    def _record(self, member: Member) -> records.Any_:
        if member.kind != "json":
            raise self._members.fault("a picture without its frame")
        try:
            return records.decode(member.content)
        except ValueError as exc:
            raise self._members.fault(f"not a record: {exc}") from exc

    def _checked(self, source: records.Source) -> records.Source:
        left, top, width, height = source.view.roi
        if not (min(source.view.roi) >= 0 and left + width <= 1.01 and top + height <= 1.01):
            raise self._members.fault(f"a region outside the picture: {source.view.roi}")
        return source

    def _check(self, seen: records.Seen, last: records.Seen | None) -> None:
        labels = self.start.model.labels
        fault = self._members.fault
        if last is not None and seen.sequence <= last.sequence:
            raise fault(f"frame {seen.sequence} after frame {last.sequence}")
        if last is not None and seen.captured_ns < last.captured_ns:
            raise fault(f"the time of frame {seen.sequence} is before that of the last one")
        if seen.scores is not None and len(seen.scores) != len(labels):
            raise fault(f"{len(seen.scores)} scores: expected {len(labels)}")
        if seen.label is not None and seen.label not in labels:
            raise fault(f"label {seen.label!r}: expected one of the model's")
