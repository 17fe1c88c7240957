"""The checks of a base image: can it be provisioned? Every fact is read, never guessed.

A Raspberry Pi OS Lite, 64-bit: an MBR, a FAT partition `bootfs`, an ext4 partition `rootfs`.
"""

from __future__ import annotations

import json
import lzma
from collections.abc import Callable
from pathlib import Path
from typing import Final

from deploy.image import disk
from deploy.image.layout import MIB, SECTOR, Partition
from deploy.runtime.pins import BuildError

XZ: Final = b"\xfd7zXZ\0"
RECOGNISED: Final = "a Raspberry Pi OS Lite (64-bit) image, .img or .img.xz"
KINDS: Final = {"c": 0xC, "83": 0x83}


def refuse(base: Path, what: str, got: str, hint: str = "") -> BuildError:
    """Return the error for every base that is not recognised; status 65."""
    return BuildError(65, what, where=str(base), expected=RECOGNISED, got=got, hint=hint)


def copy(base: Path, image: Path) -> None:
    """Write ``base``, unpacked, to ``image``; zeros become holes. Raises BuildError."""
    try:
        with base.open("rb") as file:
            packed = file.read(6) == XZ
        with (lzma.open if packed else open)(base, "rb") as source, image.open("wb") as target:
            while block := source.read(MIB):
                if block.count(0) == len(block):
                    target.seek(len(block), 1)
                else:
                    target.write(block)
            target.truncate(target.tell())
    except FileNotFoundError as exc:
        raise BuildError(66, "no such file", where=str(base), hint="download it first") from exc
    except (lzma.LZMAError, EOFError) as exc:
        raise refuse(base, "damaged", str(exc), "download it again") from exc


def partitions(base: Path, image: Path) -> tuple[Partition, Partition]:
    """Return the partitions bootfs and rootfs. ``base``: the name in errors. Raises BuildError."""
    try:
        table = json.loads(disk.run(["sfdisk", "--json", image]))["partitiontable"]
    except BuildError as exc:
        if exc.status == 69:
            raise
        raise refuse(base, "not an image of an SD card", "no partition table") from exc
    kinds = [part["type"] for part in table.get("partitions", ())]
    if table["label"] != "dos" or kinds != list(KINDS):
        raise refuse(base, "unexpected partitions", f"{table['label']}: {', '.join(kinds)}")
    boot, root = (
        Partition(label, part["start"] * SECTOR, part["size"] * SECTOR, KINDS[part["type"]])
        for label, part in zip(("bootfs", "rootfs"), table["partitions"], strict=True)
    )
    labels = (
        disk.run(
            ["blkid", "-p", "-O", str(part.start), "-o", "value", "-s", "LABEL", image],
            accepted=(0, 2, 8),  # no signature, or several
        ).strip()
        for part in (boot, root)
    )
    if (got := tuple(labels)) != ("bootfs", "rootfs"):
        raise refuse(base, "unexpected file systems", " and ".join(f'"{label}"' for label in got))
    return boot, root


def suite(base: Path, read: Callable[[str], str], known: tuple[str, ...]) -> str:
    """Return the base's Debian suite.

    read  returns a file of the root; empty where there is none
    """
    if not read("/etc/rpi-issue"):
        raise refuse(base, "not Raspberry Pi OS", "no /etc/rpi-issue")
    text = read("/etc/os-release") or read("/usr/lib/os-release")  # the first may be a link to it
    release = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    name = release.get("VERSION_CODENAME", "").strip('"')
    if name not in known:
        raise refuse(base, "unsupported version", f"{name or 'nothing'}, not {' or '.join(known)}")
    blocks = read("/var/lib/dpkg/status").split("\n\n")
    dpkg = next((b for b in blocks if b.startswith("Package: dpkg\n")), "")
    if "\nArchitecture: arm64\n" not in dpkg:
        raise refuse(base, "not 64-bit", "another architecture", "use the 64-bit image")
    if read("/usr/lib/edge-image/site"):
        raise refuse(base, "already provisioned", "/usr/lib/edge-image", "use the original")
    return name


def free_bytes(root: Path) -> int:
    """Return the free bytes of an ext4 file system, without the reserved blocks."""
    output = disk.run(["dumpe2fs", "-h", root])
    blocks, reserved, size = (
        int(output.split(f"{name}:")[1].split()[0])
        for name in ("Free blocks", "Reserved block count", "Block size")
    )
    return (blocks - reserved) * size
