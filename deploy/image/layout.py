"""The partitions of an SD card: arithmetic only, in bytes.

    0      4 MiB     220 MiB
    | MBR  | bootfs  | rootfs ... |            grows to the SD card's end at the first boot
    | MBR  | bootfs  | rootfs ... | state ...  with a read-only root: this one grows

An MBR, since some Pis' boot loaders do not read a GPT.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

MIB: Final = 1 << 20
SECTOR: Final = 512
ALIGNED: Final = 4 * MIB
"""SD cards erase in blocks of this size, or smaller."""
BOOT: Final = 216 * MIB
"""Room for three kernels with their initramfs, as many as apt keeps."""
SPARE: Final = 64 * MIB
"""For the journal, and as free space before a file system has grown."""
BLOCK: Final = 4096
INODE: Final = 256


@dataclass(frozen=True, slots=True)
class Partition:
    """One partition.

    label  of its file system
    kind   the MBR's number: 0xc FAT, 0x83 Linux
    """

    label: str
    start: int
    size: int
    kind: int

    @property
    def end(self) -> int:
        """The first byte after the partition."""
        return self.start + self.size


def plan(sizes: dict[str, int]) -> list[Partition]:
    """Return the partitions: bootfs, then those of ``sizes`` (label -> bytes) in their order."""
    made = [Partition("bootfs", ALIGNED, BOOT, 0xC)]
    for label, size in sizes.items():
        made.append(Partition(label, made[-1].end, rounded(size), 0x83))
    return made


def rounded(size: int) -> int:
    """Return ``size`` rounded up to whole blocks of an SD card."""
    return -(-size // ALIGNED) * ALIGNED


def script(partitions: list[Partition], identity: int) -> str:
    """Return the input of sfdisk(8). ``identity``: the disk's number, 32 bits."""
    lines = ["label: dos", f"label-id: {identity:#010x}"]
    for part in partitions:
        boot = ", bootable" if part.kind == 0xC else ""
        lines.append(
            f"start={part.start // SECTOR}, size={part.size // SECTOR}, type={part.kind:x}{boot}"
        )
    return "\n".join(lines) + "\n"


def needed(tree: Path, without: tuple[Path, ...] = ()) -> int:
    """Return the size of a file system for ``tree``, with ``SPARE`` free.

    without  folders whose content is not counted
    """
    blocks = inodes = 0
    stack = [tree]
    while stack:
        folder = stack.pop()
        for path in folder.iterdir():
            inodes += 1
            stat = path.lstat()
            if path.is_dir() and not path.is_symlink():
                blocks += 1
                if path not in without:
                    stack.append(path)
            elif (
                not path.is_symlink() or stat.st_size > 59
            ):  # shorter links are stored in the inode
                blocks += -(-stat.st_size // BLOCK)
    # 3 %: unused inodes, group descriptors, extent maps of large files
    return int(1.03 * (blocks * BLOCK + inodes * INODE)) + SPARE
