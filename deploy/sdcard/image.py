"""The image: unpacked and read once before the SD card is written.

Rule 1: what will be written is known before, range by range with its checksum; where a bmap has
        checksums, they must match the image.
Rule 2: the same ranges are read back from the SD card (readback.py).

Source: the bmap format, bmaptools/BmapCreate.py.
"""

from __future__ import annotations

import contextlib
import hashlib
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final
from xml.etree import ElementTree

from deploy.sdcard.refusal import FlashError

UNPACKERS: Final = {".zst": "zstd", ".xz": "xz", ".gz": "gzip"}
"""Suffix -> program that unpacks it."""
CHUNK_BYTES: Final = 1 << 20
RANGE_BYTES: Final = 64 << 20
"""Length of a range where no bmap names any."""
Report = Callable[[int], None]
"""Called with the count of further bytes done."""


@dataclass(frozen=True, slots=True)
class Range:
    """Bytes [start, end) of the image, and their checksum in hex."""

    start: int
    end: int
    checksum: str


@dataclass(frozen=True, slots=True)
class Image:
    """An image that has been read from end to end.

    bmap        names the ranges that hold data; without it the whole image is written
    size_bytes  unpacked
    hash        name of the checksums' function
    """

    path: Path
    bmap: Path | None
    size_bytes: int
    hash: str
    ranges: tuple[Range, ...]

    @property
    def mapped_bytes(self) -> int:
        """Bytes to write."""
        return sum(one.end - one.start for one in self.ranges)


def newest(folder: Path) -> Path:
    """Return the newest image."""
    images = sorted(folder.glob("*.img.zst"), key=lambda path: path.stat().st_mtime)
    if not images:
        hint = "run `make image` or `make provision`, or name one: IMAGE=FILE.img[.zst|.xz|.gz]"
        raise FlashError("image missing", "no *.img.zst", where=str(folder), hint=hint)
    return images[-1]


def read(path: Path, report: Report = lambda _: None) -> Image:
    """Read the whole image; raise FlashError where it is missing or incomplete."""
    if not path.is_file():
        raise FlashError("image missing", "no such image", where=str(path))
    bmap = _bmap_of(path)
    size, name, expected = _parse(bmap) if bmap else (None, "sha256", None)
    with _unpacked(path) as stream:
        reader = _Reader(stream, name, report)
        ranges: list[Range] = []
        for start, end, given in expected or ():
            reader.skip_to(start)
            ranges.append(reader.range(end))
            if given and ranges[-1].checksum != given and reader.position == end:
                raise _corrupt(path, f"bytes {start}-{end} do not match {bmap}")
        while expected is None and (last := reader.range(reader.position + RANGE_BYTES)).checksum:
            ranges.append(last)
        reader.skip_to(None)
    if size is not None and reader.position != size:
        raise _corrupt(path, f"{reader.position:,} bytes, {size:,} in {bmap}")
    if reader.head[510:512] != b"\x55\xaa":
        raise _corrupt(path, "no partition table, so it is not an image of an SD card")
    return Image(path, bmap, reader.position, name, tuple(ranges))


class _Reader:
    """Reads forward through an unpacked image, once."""

    def __init__(self, stream: IO[bytes], name: str, report: Report) -> None:
        self._stream, self._hash, self._report = stream, name, report
        self.position = 0
        self.head = b""

    def range(self, end: int) -> Range:
        """Return the range from here to ``end``; at the end of the image, without a checksum."""
        start, digest = self.position, hashlib.new(self._hash)
        for chunk in self._chunks(end):
            digest.update(chunk)
        return Range(start, self.position, digest.hexdigest() if self.position > start else "")

    def skip_to(self, end: int | None) -> None:
        """Read on to ``end``, or to the end of the image."""
        for _ in self._chunks(end):
            pass

    def _chunks(self, end: int | None) -> Iterator[bytes]:
        while end is None or self.position < end:
            size = CHUNK_BYTES if end is None else min(CHUNK_BYTES, end - self.position)
            chunk = self._stream.read(size)
            if not chunk:
                return
            self.head = self.head or chunk[:512]
            self.position += len(chunk)
            self._report(len(chunk))
            yield chunk


@contextlib.contextmanager
def _unpacked(path: Path) -> Iterator[IO[bytes]]:
    """Give the image's bytes; raise FlashError at the end where the packed file is damaged."""
    program = UNPACKERS.get(path.suffix)
    if program is None:
        if path.suffix != ".img":
            raise FlashError(
                "image missing",
                "not an image by its name",
                where=str(path),
                expected="FILE.img, .img.zst, .img.xz or .img.gz",
            )
        with path.open("rb") as stream:
            yield stream
        return
    command = [program, "--decompress", "--stdout"]
    try:
        with path.open("rb") as packed:  # as standard input: all three refuse the name of a link
            process = subprocess.Popen(
                command, stdin=packed, stdout=subprocess.PIPE, stderr=subprocess.PIPE
            )
    except FileNotFoundError as exc:
        package = {"xz": "xz-utils"}.get(program, program)
        hint = f"apt-get install {package}"
        raise FlashError("no program", f"needs {program}", where=str(path), hint=hint) from exc
    with process:
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            yield process.stdout
        except BaseException:
            process.kill()
            raise
        error = process.stderr.read().decode(errors="replace").strip()
    if process.returncode:
        raise _corrupt(path, error.splitlines()[-1] if error else f"{program} fails")


def _bmap_of(path: Path) -> Path | None:
    """Return the bmap beside an image, by the names that bmaptool tries."""
    bare = Path(str(path).removesuffix(path.suffix) if path.suffix in UNPACKERS else path)
    names = (path, bare, bare.with_suffix(""))
    return next((b for n in names if (b := n.with_name(n.name + ".bmap")).is_file()), None)


def _parse(bmap: Path) -> tuple[int, str, list[tuple[int, int, str]]]:
    """Return size, hash function, and (start, end, checksum or empty) of each range."""
    try:
        raw = bmap.read_bytes()
        xml = ElementTree.fromstring(raw)
        size, block = (int(xml.findtext(key, "")) for key in ("ImageSize", "BlockSize"))
        name = xml.findtext("ChecksumType", "sha1").strip()
        own = xml.findtext("BmapFileChecksum", "").strip()
        # The file's own checksum is computed with zeros in its place.
        if own and hashlib.new(name, raw.replace(own.encode(), b"0" * len(own))).hexdigest() != own:
            raise ValueError("its own checksum does not match")
        ranges = []
        for one in xml.iterfind("BlockMap/Range"):
            first, _, last = (one.text or "").partition("-")
            end = min((int(last or first) + 1) * block, size)
            ranges.append((int(first) * block, end, one.get("chksum", one.get("sha1", ""))))
    except (ElementTree.ParseError, ValueError, OSError) as exc:
        raise FlashError("image corrupt", "not a bmap", where=str(bmap), got=str(exc)) from exc
    return size, name, ranges


def _corrupt(path: Path, got: str) -> FlashError:
    return FlashError("image corrupt", "the image is damaged", where=str(path), got=got)
