"""The log on stderr when its reader stops, goes away or is missing."""

from __future__ import annotations

import io
import logging
import os
import select
from collections.abc import Iterator
from typing import TextIO

import pytest

from edge.daemon import stderr

Pipe = tuple[int, TextIO, stderr.Handler]


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    """A pipe of a page: its end to read, its end to write, the handler on that."""
    reader, writer = os.pipe()
    with open(writer, "w") as stream:
        yield reader, stream, stderr.Handler(stream)
        os.close(reader)


def say(handler: stderr.Handler, text: str) -> None:
    """Log one line."""
    handler.emit(logging.makeLogRecord({"msg": text}))


def test_missing_lines_are_counted_in_a_line_once_there_is_room(pipe: Pipe) -> None:
    """Whole lines before and after; the one that was cut is ended and counted too."""
    reader, _, handler = pipe
    lines = [f"{number} ".ljust(3000, "x") for number in range(50)]
    for line in lines:
        say(handler, line)
    first = os.read(reader, 1 << 20).decode()
    say(handler, "again")
    say(handler, "and again")
    *printed, missing, again, more = (first + os.read(reader, 1 << 20).decode()).splitlines()
    assert (again, more) == ("again", "and again")
    whole = [line for line in printed if line in lines]
    assert whole == lines[: len(whole)]
    assert len(printed) - len(whole) <= 1
    count = len(lines) - len(whole)
    assert missing == f"{count} log lines are missing: they were not read in time"
    assert handler.dropped_total == count > 0


def test_a_line_of_any_length_does_not_block(pipe: Pipe) -> None:
    """It is written page by page, as far as there is room."""
    reader, _, handler = pipe
    say(handler, "x" * 10_000_000)
    assert set(os.read(reader, 1 << 20)) == {ord("x")}
    assert not select.select([reader], [], [], 0)[0]


def test_a_reader_that_has_gone_is_no_error(pipe: Pipe) -> None:
    """Python ignores SIGPIPE; the lines are counted."""
    reader, stream, handler = pipe
    gone, writer = os.pipe()
    os.close(gone)
    with open(writer, "w") as other:
        handler.stream = other
        say(handler, "x")
        assert handler.dropped_total == 1
    say(handler, "the stream is closed")
    handler.stream = stream
    say(handler, "here")
    assert os.read(reader, 100).decode().endswith("here\n")


def test_a_stream_without_a_descriptor_is_written() -> None:
    """As a test's; and no stream at all, if stderr was closed before the start."""
    stream = io.StringIO()
    say(stderr.Handler(stream), "x")
    assert stream.getvalue() == "x\n"
    handler = stderr.Handler(stream)
    handler.stream = None  # type: ignore[assignment]
    say(handler, "x")


def test_what_is_not_unicode_is_escaped(pipe: Pipe) -> None:
    """A lone surrogate in the name of a file."""
    reader, _, handler = pipe
    say(handler, "caf\udce9")
    assert os.read(reader, 100) == b"caf\\udce9\n"


def test_a_record_that_cannot_be_formatted_is_not_the_end(
    pipe: Pipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mistake of a library is not raised into the loop."""
    reader, _, handler = pipe
    monkeypatch.setattr(logging, "raiseExceptions", False)
    handler.emit(logging.makeLogRecord({"msg": "%d x", "args": ("bad",)}))
    say(handler, "next")
    assert os.read(reader, 1 << 16) == b"next\n"
