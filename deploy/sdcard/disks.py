"""The disks of this machine, as the kernel lists them: facts, and what uses them.

Rule 1: only reads, below ``sys`` and ``proc``, so that a tree of files can replace a machine.
Rule 2: decides nothing; checks.py does.

Source: Documentation/ABI/stable/sysfs-block and proc_pid_mountinfo(5).
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from deploy.sdcard.refusal import FlashError

SECTOR_BYTES: Final = 512
"""The unit of ``size`` in sysfs, for every disk."""
BUSES: Final = {
    "usb": r"usb\d+",
    "mmc": r"mmc\d+",
    "nvme": r"nvme\d+",
    "sata": r"ata\d+",
    "virtio": r"virtio\d+",
    "virtual": r"virtual",
}
"""Bus -> a folder in the sysfs path of its disks; the first match counts."""


@dataclass(frozen=True, slots=True)
class Disk:
    """One disk, or a plain file instead.

    name       the kernel's, or the file's
    bus        a key of BUSES, `file` or `other`
    removable  the medium can be removed: an SD card in a slot or a reader, a USB stick
    serial     its serial number; its name where it has none
    whole      the disk's name where this is a partition; else empty
    users      what uses it or a partition: (name, use); a mount point, `swap` or `part of X`
    """

    name: str
    size_bytes: int
    bus: str
    removable: bool
    read_only: bool
    model: str
    serial: str
    whole: str
    users: tuple[tuple[str, str], ...]


class Machine:
    """The disks of this machine, or of a tree of files."""

    def __init__(self, sys: Path = Path("/sys"), proc: Path = Path("/proc")) -> None:
        self._blocks, self._proc = sys / "class" / "block", proc

    def disk(self, path: Path) -> Disk:
        """Return the disk whose device node is ``path``, or a plain file."""
        try:
            node = path.stat()
        except OSError as exc:
            raise FlashError("not a disk", exc.strerror or "not there", where=str(path)) from exc
        if stat.S_ISBLK(node.st_mode):
            numbers = f"{os.major(node.st_rdev)}:{os.minor(node.st_rdev)}"
            for block in self._blocks.iterdir():
                if _text(block / "dev") == numbers:
                    return self.named(block.name)
        if not stat.S_ISREG(node.st_mode):
            raise FlashError("not a disk", "not a disk", where=str(path), expected="a block device")
        name, read_only = path.name, not os.access(path, os.W_OK)
        return Disk(name, node.st_size, "file", False, read_only, "a plain file", name, "", ())

    def named(self, name: str) -> Disk:
        """Return the disk or partition ``name``, from sysfs."""
        block = self._blocks / name
        real = block.resolve()
        whole = real.parent.name if (block / "partition").exists() else ""
        device = (real.parent if whole else real) / "device"
        return Disk(
            name=name,
            size_bytes=int(_text(block / "size") or 0) * SECTOR_BYTES,
            bus=_bus(real),
            removable=_text(block / "removable") == "1" or _text(device / "type") == "SD",
            read_only=_text(block / "ro") == "1",
            model=" ".join(_text(device / word) for word in ("vendor", "model", "name")).strip(),
            serial=_serial(real, device.resolve()) or name,
            whole=whole,
            users=tuple(self._users(name)),
        )

    def disks(self) -> list[Disk]:
        """Return every disk with a medium that might be an SD card."""
        disks = [self.named(block.name) for block in sorted(self._blocks.iterdir())]
        return [d for d in disks if not d.whole and d.size_bytes and _might_be_an_sdcard(d)]

    def _users(self, name: str) -> Iterator[tuple[str, str]]:
        """Yield what uses ``name``, its partitions, or what is built on them."""
        above = [*self._stack(name)]
        for one, below in above:
            if below:
                yield below, f"part of {_text(self._blocks / one / 'dm' / 'name') or one}"
        names = {one for one, _ in above}
        for line in _text(self._proc / "self" / "mountinfo").splitlines():
            fields, _, rest = line.partition(" - ")
            _, _, numbers, _, place, *_ = fields.split()
            # Btrfs has its own device number; only the source names the disk.
            user = self._by_number(numbers) or self._by_path(rest.split()[1])
            if user in names:
                yield user, re.sub(r"\\([0-7]{3})", lambda m: chr(int(m[1], 8)), place)
        for line in _text(self._proc / "swaps").splitlines()[1:]:
            user = self._by_path(line.split()[0])
            if user in names:
                yield user, "swap"

    def _stack(self, name: str, below: str = "") -> Iterator[tuple[str, str]]:
        """Yield ``name``, its partitions and their holders, each with what it is built on."""
        block = self._blocks / name
        yield name, below
        for part in sorted(block.glob("*/partition")):
            yield from self._stack(part.parent.name)
        for holder in sorted(block.glob("holders/*")):
            yield from self._stack(holder.name, name)

    def _by_number(self, numbers: str) -> str:
        blocks = self._blocks.iterdir()
        return next((block.name for block in blocks if _text(block / "dev") == numbers), "")

    def _by_path(self, path: str) -> str:
        """Return the kernel's name of /dev/NAME or /dev/mapper/NAME."""
        folder, _, name = path.rpartition("/")
        if folder == "/dev/mapper":
            mapped = self._blocks.glob("dm-*/dm/name")
            return next((m.parent.parent.name for m in mapped if _text(m) == name), "")
        return name if folder == "/dev" else ""


def _might_be_an_sdcard(disk: Disk) -> bool:
    return disk.bus in ("usb", "mmc") or (disk.removable and disk.bus != "virtual")


def _bus(real: Path) -> str:
    for bus, way in BUSES.items():
        if any(re.fullmatch(way, folder) for folder in real.parts):
            return bus
    return "other"


def _serial(real: Path, device: Path) -> str:
    """Return the serial number of a disk, or of the USB device that it is in."""
    of_usb = (up / "serial" for up in device.parents if (up / "idVendor").exists())
    for path in (real / "serial", device / "serial", *of_usb):
        if _text(path):
            return _text(path)
    try:
        return (device / "vpd_pg80").read_bytes()[4:].decode(errors="replace").strip()
    except OSError:
        return ""


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""
