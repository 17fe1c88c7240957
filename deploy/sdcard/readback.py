"""Verification of a written SD card: read from the SD card itself, past every cache."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import mmap
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from deploy.sdcard.image import Image, Report
from deploy.sdcard.refusal import FlashError

BLKRRPART: Final = 0x125F
BLKFLSBUF: Final = 0x1261
"""linux/fs.h: read the partition table again; write and drop the cache."""
ALIGN_BYTES: Final = 4096
BUFFER_BYTES: Final = 4 << 20


def compare(path: Path, image: Image, report: Report = lambda _: None) -> None:
    """Read every range of ``image`` from ``path``; raise FlashError where one differs."""
    descriptor = uncached(path)
    try:
        # Anonymous pages: direct reading needs an aligned buffer.
        with mmap.mmap(-1, BUFFER_BYTES) as buffer, memoryview(buffer) as view:
            for one in image.ranges:
                digest = hashlib.new(image.hash)
                for chunk in _chunks(descriptor, view, one.start, one.end):
                    digest.update(chunk)
                    report(len(chunk))
                    chunk.release()
                if digest.hexdigest() != one.checksum:
                    raise FlashError(
                        "differs",
                        "reading back gives other bytes than were written",
                        where=str(path),
                        got=f"wrong checksum of bytes {one.start:,}-{one.end:,}",
                        hint="write it again; if this repeats, the SD card or its reader is broken",
                    )
    except OSError as exc:
        error = exc.strerror or str(exc)
        raise FlashError("unreadable", "cannot be read back", where=str(path), got=error) from exc
    finally:
        os.close(descriptor)


def reread_partitions(path: Path) -> bool:
    """Make the kernel read the new partition table; return whether it did."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.ioctl(descriptor, BLKRRPART)
    except OSError as exc:  # a desktop has mounted it; EINVAL: a disk without partitions
        return exc.errno != errno.EBUSY
    finally:
        os.close(descriptor)
    return True


def uncached(path: Path) -> int:
    """Open for reading past the page cache, which is written and dropped."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECT)
    except OSError:  # a plain file on a file system without direct reading
        descriptor = os.open(path, os.O_RDONLY)
    os.fsync(descriptor)
    if path.is_block_device():
        fcntl.ioctl(descriptor, BLKFLSBUF)
    else:
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    return descriptor


def _chunks(descriptor: int, view: memoryview, start: int, end: int) -> Iterator[memoryview]:
    """Yield the bytes [start, end), read in whole blocks; fewer where the device ends."""
    while start < end:
        first = start - start % ALIGN_BYTES
        size = min(-(-(end - first) // ALIGN_BYTES) * ALIGN_BYTES, BUFFER_BYTES)
        with view[:size] as part:
            got = first + os.preadv(descriptor, [part], first)
        if got <= start:
            return
        yield view[start - first : min(got, end) - first]
        start = min(got, end)
