"""Read the SD card and compare: from the SD card itself, past every cache of this machine."""

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
"""linux/fs.h: read the partition table again; write and forget what is cached."""
ALIGN_BYTES: Final = 4096
BUFFER_BYTES: Final = 4 << 20


def compare(path: Path, image: Image, report: Report = lambda _: None) -> None:
    """Read every range of ``image`` from ``path``; raise FlashError where one is another."""
    descriptor = _open(path)
    try:
        # Memory of its own pages: direct reading wants an aligned buffer.
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
                        "what is read back is not what was written",
                        where=str(path),
                        got=f"another checksum of bytes {one.start:,}-{one.end:,}",
                        hint="write it anew; if it stays so, the SD card or its reader is broken",
                    )
    except OSError as exc:
        told = exc.strerror or str(exc)
        raise FlashError("unreadable", "cannot be read back", where=str(path), got=told) from exc
    finally:
        os.close(descriptor)


def reread_partitions(path: Path) -> bool:
    """Make the kernel look at the new partition table; return whether none of the old is shown."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.ioctl(descriptor, BLKRRPART)
    except OSError as exc:  # mounted already by a desktop; or, EINVAL, never shown as partitions
        return exc.errno != errno.EBUSY
    finally:
        os.close(descriptor)
    return True


def _open(path: Path) -> int:
    """Open for reading past the page cache."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECT)
    except OSError:  # a file system without direct reading: for plain files only
        descriptor = os.open(path, os.O_RDONLY)
    os.fsync(descriptor)
    if path.is_block_device():
        fcntl.ioctl(descriptor, BLKFLSBUF)
    else:
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    return descriptor


def _chunks(descriptor: int, view: memoryview, start: int, end: int) -> Iterator[memoryview]:
    """Yield the bytes [start, end), read in whole blocks; shorter where the device ends."""
    while start < end:
        first = start - start % ALIGN_BYTES
        asked = min(-(-(end - first) // ALIGN_BYTES) * ALIGN_BYTES, BUFFER_BYTES)
        with view[:asked] as part:
            got = first + os.preadv(descriptor, [part], first)
        if got <= start:
            return
        yield view[start - first : min(got, end) - first]
        start = min(got, end)
