"""Any bytes from a web camera: the parser never raises, holds little, and finds good pictures."""

from __future__ import annotations

import functools
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.camera import partbuffer
from edge.camera.multipart import HEAD_BYTES, LONGEST_BOUNDARY, Multipart, Part, Skipped
from edge.camera.partbuffer import PADDING_BYTES
from tests.fuzz import corpus, fuzz, mutated

MAX_BYTES = 500
CHUNK_BYTES = 64
NAMED = ("frame", "--frame", "", "other", "-", "-- -", "\udcff\x00", "x" * 5000)
cuts = st.lists(st.integers(1, CHUNK_BYTES), min_size=1, max_size=30)

seeds = functools.cache(lambda: corpus("multipart"))


@pytest.fixture(autouse=True, scope="module")
def much_is_large() -> Iterator[None]:
    """Store pictures of 100 bytes apart, as large ones."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(partbuffer, "LARGE_BYTES", 100)
        patch.setattr(partbuffer, "OWN_BYTES", 1)
        yield


def parsed(named: str, body: bytes, sizes: list[int]) -> list[tuple[str, bytes] | str]:
    """Return the parts of ``body`` in pieces of these sizes; check that little is held."""
    parser = Multipart(named, MAX_BYTES)
    events: list[Part | Skipped] = []
    at = turn = 0
    while at < len(body):
        size = sizes[turn % len(sizes)]
        events += parser.feed(body[at : at + size])
        at, turn = at + size, turn + 1
        most = max(MAX_BYTES, HEAD_BYTES) + LONGEST_BOUNDARY + PADDING_BYTES + 8
        assert parser.held_bytes <= most
    for event in events:
        assert isinstance(event, Skipped) or len(event.content) <= MAX_BYTES
    return [(e.type, e.content.tobytes()) if isinstance(e, Part) else e.what for e in events]


@pytest.mark.fuzz
@fuzz(300)
@given(named=st.sampled_from(NAMED), body=st.data(), sizes=cuts)
def test_chunks_change_nothing(named: str, body: st.DataObject, sizes: list[int]) -> None:
    """Byte by byte, at random, or as few pieces as possible: the same parts, or the same damage."""
    content = body.draw(mutated(seeds()) | st.binary(max_size=400))
    expected = parsed(named, content, [1])
    assert parsed(named, content, sizes) == expected
    assert parsed(named, content, [CHUNK_BYTES]) == expected


pictures = st.lists(
    st.binary(max_size=MAX_BYTES - 4)
    .filter(lambda content: b"--cut" not in content)
    .map(lambda content: b"\xff\xd8" + content + b"\xff\xd9"),
    max_size=5,
)


@pytest.mark.fuzz
@fuzz(200)
@given(
    contents=pictures,
    lengths=st.booleans(),
    line_end=st.sampled_from((b"\r\n", b"\n")),
    between=st.sampled_from((b"\r\n", b"\n", b"")),
    named=st.sampled_from(("cut", "--cut", "", "wrong")),
    kind=st.sampled_from(
        (b"Content-Type: image/jpg", b"content-type:image/jpeg;size=9", b"X-Y: z")
    ),
    sizes=cuts,
)
def test_every_good_picture_comes(
    contents: list[bytes],
    lengths: bool,
    line_end: bytes,
    between: bytes,
    named: str,
    kind: bytes,
    sizes: list[int],
) -> None:
    """In order and byte for byte, with a length or without, however lines and parts end."""
    body = b""
    for content in contents:
        body += b"--cut" + line_end + kind + line_end
        if lengths:
            body += b"Content-Length: %d" % len(content) + line_end
        body += line_end + content + between
    got = parsed(named, body + b"--cut" + line_end, sizes)
    assert [event[1] for event in got if isinstance(event, tuple)] == contents
    assert len(got) == len(contents)


@pytest.mark.fuzz
@fuzz(100)
@given(rubbish=mutated(seeds()), contents=pictures.filter(bool), sizes=cuts)
def test_pictures_come_again_after_damage(
    rubbish: bytes, contents: list[bytes], sizes: list[int]
) -> None:
    """Whatever came before, the pictures after the next boundaries are found."""
    again = b"".join(b"\r\n--frame\r\n\r\n" + content for content in contents)
    padding = b"\r\n--frame\r\n\r\n" + b"x" * (MAX_BYTES + HEAD_BYTES)
    got = parsed(
        "frame", b"--frame\r\nA: b\r\n\r\n" + rubbish + padding + again + b"\r\n--frame\r\n", sizes
    )
    assert [event[1] for event in got[-len(contents) :] if isinstance(event, tuple)] == contents
