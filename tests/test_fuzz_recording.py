"""Recordings of any bytes and any records: frames in order, or one line; never anything else."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.camera.recording import records
from edge.camera.recording.archive import CLOSING, Kind, Member, encode
from edge.cli import replay_text
from edge.cli.compare import Comparer, Side
from edge.cli.judge import Opinion
from edge.errors import CameraError
from tests import recordings
from tests.fuzz import corpus, fuzz, mutated

MEMORY = Path("/dev/shm")
NUMBERS = st.one_of(st.integers(-2, 20), st.sampled_from((2**62, 2**63, 10**30)), st.floats())
VALUES = st.one_of(
    st.none(), st.booleans(), NUMBERS, st.text(max_size=9), st.lists(NUMBERS, max_size=4)
)


def check(content: bytes) -> None:
    """Read it twice, as the camera would that loops: the same frames, in order, or a line."""
    with tempfile.NamedTemporaryFile(dir=MEMORY if MEMORY.is_dir() else None) as file:
        file.write(content)
        file.flush()
        path = Path(file.name)
        told = []
        for _ in range(2):
            try:
                frames, whole = recordings.frames(path)
            except CameraError as exc:
                told.append(str(exc).replace(file.name, ""))
                continue
            told.append(str((len(frames), whole)))
            numbers = [frame.sequence for frame in frames]
            assert numbers == sorted(set(numbers))
            times = [frame.captured_ns for frame in frames]
            assert times == sorted(times)
        assert told[0] == told[1]
        assert told[0].isprintable()


@pytest.mark.fuzz
@fuzz(400)
@given(mutated(corpus("recording")))
def test_files_of_any_bytes(content: bytes) -> None:
    """Most are found by a checksum."""
    check(content)


PARTS: list[tuple[Kind, bytes]] = [
    part if isinstance(part, tuple) else ("json", records.encode(part))
    for part in [*recordings.of(2)[:-1], records.Gap(), recordings.of(2)[-1]]
]


@st.composite
def members(draw: st.DrawFn) -> list[tuple[Kind, bytes]]:
    """Draw members in any order, with other values at keys of their records, or other bytes."""
    parts = list(PARTS)
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(parts) - 1))
        kind, content = parts[at]
        match draw(st.sampled_from(("swap", "drop", "repeat", "value", "bytes", "kind"))):
            case "swap":
                other = draw(st.integers(0, len(parts) - 1))
                parts[at], parts[other] = parts[other], parts[at]
            case "drop" if len(parts) > 1:
                del parts[at]
            case "repeat":
                parts.insert(at, parts[at])
            case "value" if kind == "json":
                parts[at] = (kind, changed(draw, content))
            case "bytes":
                parts[at] = (kind, draw(mutated([content])) or b"x")
            case "kind":
                parts[at] = (draw(st.sampled_from(("json", "jpg", "png"))), content)
    return parts


def changed(draw: st.DrawFn, content: bytes) -> bytes:
    """Return a record with another value at one of its keys, or at one of a table in it."""
    with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError):
        record: dict[str, Any] = msgspec.json.decode(content)
        table = record
        key = draw(st.sampled_from(sorted(table)))
        if isinstance(table[key], dict) and table[key]:
            table = table[key]
            key = draw(st.sampled_from(sorted(table)))
        table[key] = draw(VALUES)
        return msgspec.json.encode(record)
    return content


@pytest.mark.fuzz
@fuzz(600)
@given(members())
def test_records_of_any_values(parts: list[tuple[Kind, bytes]]) -> None:
    """Whole and with the right checksums: what they say is what is wrong."""
    check(b"".join(encode(Member(n, *part), 0.0) for n, part in enumerate(parts)) + CLOSING)


OPINIONS = st.builds(
    Opinion,
    st.none() | st.sampled_from(("red", "green", "\x1b[31m")),
    st.floats(0, 1),
    st.booleans(),
    st.none() | st.tuples(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1)),
)


@pytest.mark.fuzz
@fuzz(200)
@given(st.lists(st.tuples(OPINIONS, OPINIONS), min_size=1, max_size=60))
def test_a_comparison_adds_up(pairs: list[tuple[Opinion, Opinion]]) -> None:
    """Every frame is in one pair and in at most one difference; each line can be printed."""
    labels = ("red", "green", "\x1b[31m")
    comparer = Comparer(Side("a", labels), Side("b", labels))
    for number, (a, b) in enumerate(pairs):
        comparer.add(number, number / 10, a, b)
    found = comparer.result()
    assert sum(pair.frames for pair in found.confusion) == found.frames == len(pairs)
    assert sum(span.frames for span in found.differences) == found.differ
    assert len(found.differences) == found.spans
    assert len(found.changes) == found.changes_a + found.changes_b
    assert (found.differ == 0) == (found.agreement == 1.0)
    assert all(line.isprintable() for line in replay_text.comparison(found))
