"""Files put into an ext4 file system, in an image or on an SD card; nothing is mounted.

Knows neither sites nor images. debugfs reports no failure by its status: what was written is read
again and compared, by the caller's ``verify``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from deploy.image import disk
from deploy.runtime.pins import BuildError

Placed = tuple[Path, str, int]
"""A file of this machine, its path in the file system, its permissions; root owns it there."""
CHUNK_BYTES: Final = 1 << 20


@contextmanager
def in_memory(files: Sequence[tuple[str, int, bytes]]) -> Iterator[list[Placed]]:
    """Give (path, permissions, content) as files in memory: a secret is on no disk of this one."""
    descriptors: list[int] = []
    try:
        placed = []
        for there, mode, content in files:
            descriptors.append(os.memfd_create("file"))
            path = Path(f"/proc/{os.getpid()}/fd/{descriptors[-1]}")
            path.write_bytes(content)
            placed.append((path, there, mode))
        yield placed
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def write(
    root: Path | str,
    placed: Sequence[Placed],
    links: Mapping[str, str],
    removed: Sequence[str] = (),
) -> None:
    """Write files and links into the file system ``root``, over older ones.

    root     a file with the file system, or FILE?offset=BYTES
    links    path -> target
    removed  paths of files that must not be there afterwards
    """
    commands = [f"rm {there}" for there in removed]
    paths = [*links, *(there for _, there, _ in placed)]
    for folder in sorted({str(up) for path in paths for up in Path(path).parents} - {"/"}):
        commands.append(f"mkdir {folder}")
        if folder.endswith("/credentials"):
            commands.append(f"set_inode_field {folder} mode 040700")
    for path, there, mode in placed:
        commands += [
            f"rm {there}",
            f'write "{path}" {there}',
            f"set_inode_field {there} mode 0{0o100000 | mode:o}",
            f"set_inode_field {there} uid 0",
            f"set_inode_field {there} gid 0",
        ]
    for there, target in links.items():
        commands += [f"rm {there}", f"symlink {there} {target}"]
    disk.run(["debugfs", "-w", "-f", "-", root], given="\n".join(commands) + "\n")


def verify(
    root: Path | str,
    placed: Sequence[Placed],
    links: Mapping[str, str],
    removed: Sequence[str] = (),
) -> None:
    """Raise BuildError unless all is as ``write`` was given it, and the file system consistent."""
    disk.run(["e2fsck", "-f", "-n", root])
    for path, there, mode in placed:
        with in_memory([("", 0, b"")]) as [(copied, _, _)]:
            disk.run(["debugfs", "-R", f"dump {there} {copied}", root])
            if not _same(copied, path):
                raise BuildError(70, "a file was not written into the image", where=there)
        if f"Mode:  {mode:04o} " not in stat(root, there):
            raise BuildError(70, "permissions were not written into the image", where=there)
    for there, target in links.items():
        if f'Fast link dest: "{target}"' not in stat(root, there):
            raise BuildError(70, "a link was not written into the image", where=there)
    for there in removed:
        if "Inode:" in stat(root, there):
            raise BuildError(70, "a file was not removed from the image", where=there)


def stat(root: Path | str, there: str) -> str:
    """Return what debugfs says of a path; empty where there is none."""
    return disk.run(["debugfs", "-R", f"stat {there}", root])


def size(root: Path | str, there: str) -> int:
    """Return the bytes of a file; 0 where there is none."""
    found = re.search(r"\bSize: (\d+)", stat(root, there))
    return int(found[1]) if found else 0


def read(root: Path | str, there: str) -> str:
    """Return a text in the file system, all of it; empty where there is none."""
    return disk.run(["debugfs", "-R", f"cat {there}", root])


def _same(one: Path, other: Path) -> bool:
    with one.open("rb") as first, other.open("rb") as second:
        while chunk := first.read(CHUNK_BYTES):
            if chunk != second.read(CHUNK_BYTES):
                return False
        return not second.read(1)
