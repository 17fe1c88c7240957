"""File systems and images, written to plain files: no loop device, nothing mounted.

Rule: the same files give the same bytes, for every user and at any time. Dates are clamped to the
given one, identities and hash seeds come from the caller.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final
from uuid import UUID

from deploy.image.layout import BLOCK, SECTOR, Partition, script
from deploy.runtime.pins import BuildError

ADMIN: Final = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
"""Debian's file system tools are not in a user's PATH."""


def run(
    command: Sequence[str | Path],
    *,
    given: str | None = None,
    more: Mapping[str, str] | None = None,
    accepted: tuple[int, ...] = (0,),
) -> str:
    """Return the output of ``command``. Raises BuildError with its last line.

    given     its standard input
    more      environment
    accepted  exit statuses that are not a failure
    """
    environment = {**os.environ, "PATH": ADMIN, "LC_ALL": "C.UTF-8", "TZ": "UTC", **(more or {})}
    arguments = [str(argument) for argument in command]
    try:
        done = subprocess.run(
            arguments, input=given, capture_output=True, text=True, env=environment, check=False
        )
    except FileNotFoundError as exc:
        raise BuildError(
            69, "a tool is missing", got=arguments[0], hint="run `deploy/setup.sh image`"
        ) from exc
    if done.returncode not in accepted:
        lines = (done.stderr.strip() or done.stdout.strip()).splitlines()
        got = lines[-1] if lines else f"status {done.returncode}"
        raise BuildError(70, f"{Path(arguments[0]).name} failed", got=got)
    return done.stdout


def clamp(tree: Path, epoch: int) -> None:
    """Set dates later than ``epoch`` in ``tree`` to it, and all access dates."""
    for folder, folders, names in os.walk(tree, topdown=False):
        for name in (*names, *folders):
            path = os.path.join(folder, name)
            modified = int(os.lstat(path).st_mtime)
            os.utime(path, (epoch, min(modified, epoch)), follow_symlinks=False)
    os.utime(tree, (epoch, epoch))


def empty(image: Path, partitions: list[Partition], identity: int, mode: int = 0o644) -> None:
    """Make an image with a partition table and nothing else. ``mode``: its permissions."""
    image.unlink(missing_ok=True)
    image.touch(mode)
    with image.open("r+b") as file:
        file.truncate(partitions[-1].end)
    run(["sfdisk", "--quiet", image], given=script(partitions, identity))


def fat(image: Path, part: Partition, tree: Path, identity: int, epoch: int) -> None:
    """Write ``tree`` as a FAT file system."""
    clamp(tree, epoch)
    drive = f"{image}@@{part.start}"
    dated = {"SOURCE_DATE_EPOCH": str(epoch), "MTOOLS_SKIP_CHECK": "1"}
    start = str(part.start // SECTOR)
    # Two sectors per cluster: with more, there are too few clusters for FAT32, and mtools fails.
    options = ["--invariant", "-F", "32", "-s", "2", "-n", part.label, "-i", f"{identity:08x}"]
    placed = ["-h", start, "--offset", start, str(image), str(part.size // 1024)]
    run(["mkfs.fat", *options, *placed], more=dated)
    top = sorted(map(str, tree.iterdir()))
    if top:
        run(["mcopy", "-i", drive, "-s", "-Q", "-m", *top, "::"], more=dated)


def ext4(image: Path, part: Partition, tree: Path, identity: UUID, epoch: int) -> None:
    """Write ``tree`` as an ext4 file system."""
    clamp(tree, epoch)
    dated = {"E2FSPROGS_FAKE_TIME": str(epoch)}
    extended = (
        f"offset={part.start},hash_seed={identity},root_owner=0:0,lazy_itable_init=1,"
        "lazy_journal_init=1,nodiscard"  # the unwritten blocks of an SD card hold old data
    )
    # Features that newer e2fsprogs switch on: every version must give the same bytes.
    features = "^orphan_file,^metadata_csum_seed"
    run(
        [
            *("mke2fs", "-q", "-F", "-t", "ext4", "-O", features, "-L", part.label),
            *("-b", str(BLOCK), "-U", str(identity), "-m", "1", "-E", extended, "-d", tree),
            *(image, f"{part.size // 1024}k"),
        ],
        more=dated,
    )
    _date(image, part, epoch, dated)


def _date(image: Path, part: Partition, epoch: int, dated: Mapping[str, str]) -> None:
    """Set the dates of each inode: mke2fs copies those of the source file."""
    at = f"{image}?offset={part.start}"
    output = run(["dumpe2fs", "-h", at])
    numbers = {
        name: int(output.split(f"{name}:")[1].split()[0])
        for name in ("Inode count", "Free inodes", "First inode")
    }
    used = numbers["Inode count"] - numbers["Free inodes"]
    lines = [
        f"set_inode_field <{inode}> {field} @{epoch}"
        for inode in (2, *range(numbers["First inode"], used + 1))
        for field in ("atime", "ctime", "crtime")
    ]
    run(["debugfs", "-w", "-f", "-", at], given="\n".join(lines) + "\n", more=dated)


def check(image: Path, part: Partition) -> None:
    """Raise BuildError unless the ext4 file system is consistent."""
    run(["e2fsck", "-f", "-n", f"{image}?offset={part.start}"])


def pack(image: Path, starts: Sequence[int]) -> None:
    """Write IMAGE.zst and IMAGE's .bmap: zeros are holes, and are not copied to an SD card.

    starts  where ext4 file systems begin: their journals are copied, zeros too. An SD card may
            hold an older journal with the same identity and numbers, and after a power cut its
            blocks would pass for new ones.
    """
    run(["fallocate", "--dig-holes", image])
    with image.open("r+b") as file:
        for start in starts:
            output = run(["debugfs", "-R", "blocks <8>", f"{image}?offset={start}"])
            for block in map(int, output.split()):
                at = start + block * BLOCK
                os.pwrite(file.fileno(), os.pread(file.fileno(), BLOCK, at), at)
    run(["bmaptool", "create", "--output", image.with_suffix(".bmap"), image])
    run(["zstd", "-q", "-f", "-T0", image, "-o", f"{image}.zst"])
