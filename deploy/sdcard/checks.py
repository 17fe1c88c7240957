"""The refusals of `make flash`: which disks are not written, and why.

Rule: FORCE overrides one refusal only, that of a disk that is not an SD card. The disk that this
system runs from, and a disk in use, are never written.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Final

from deploy.sdcard.disks import Disk
from deploy.sdcard.refusal import FlashError

SYSTEM: Final = ("/", "/usr", "/var", "/etc", "/home", "/boot", "/boot/efi", "/boot/firmware")
"""Mount points of the disk that a system runs from."""


def is_sdcard(disk: Disk) -> bool:
    """Return whether the medium is removable, in an SD card slot or on USB."""
    return disk.removable and disk.bus in ("usb", "mmc")


def refuse(disk: Disk, *, force: bool) -> None:
    """Raise FlashError where ``disk`` must not be written."""
    where = disk.name
    if disk.whole:
        raise FlashError(
            "a partition",
            "a partition",
            where=where,
            expected="the disk it is on",
            hint=f"DEVICE=/dev/{disk.whole}",
        )
    if own := [place for _, place in disk.users if place in SYSTEM]:
        why = f"this system runs from it: it is mounted at {own[0]}"
        raise FlashError("own disk", why, where=where)
    if disk.users:
        why = "in use: " + ", ".join(f"{name} {_use(use)}" for name, use in disk.users)
        raise FlashError("in use", why, where=where, hint=_hint(disk))
    if not disk.size_bytes and disk.bus != "file":
        raise FlashError("too small", "no SD card in it", where=where)
    if not is_sdcard(disk) and not force:
        raise FlashError(
            "not an SD card",
            "not an SD card",
            where=where,
            expected="a removable medium on USB or in an SD card slot",
            got=f"{disk.model or 'a disk'} ({disk.bus}{'' if disk.removable else ', fixed'})",
            hint=f"if it is the right one: FORCE=1, and its serial {disk.serial}",
        )
    if disk.read_only:
        raise FlashError(
            "write-protected",
            "write-protected",
            where=where,
            hint="check the lock switch on the SD card or its adapter",
        )


def refuse_by_opening(path: Path) -> None:
    """Raise FlashError where the kernel does not open ``path`` for one writer alone.

    The kernel knows uses that no file shows: mounts in other containers, programs that write.
    """
    os.close(exclusive(path))


def exclusive(path: Path) -> int:
    """Return a descriptor of ``path``; while it is open nothing else mounts or claims the disk."""
    try:
        return os.open(path, os.O_WRONLY | (os.O_EXCL if path.is_block_device() else 0))
    except PermissionError as exc:
        hint = "run it as root: sudo make flash ..."
        raise FlashError("no permission", "permission denied", where=str(path), hint=hint) from exc
    except OSError as exc:
        reasons = {
            errno.EBUSY: ("in use", "in use"),
            errno.EROFS: ("write-protected", "write-protected"),
            errno.ENOMEDIUM: ("too small", "no SD card in it"),
        }
        reason, what = reasons.get(
            exc.errno or 0, ("unreadable", exc.strerror or "cannot be opened")
        )
        raise FlashError(reason, what, where=str(path)) from exc


def _use(use: str) -> str:
    if use == "swap":
        return "is swap space"
    return f"is {use}" if use.startswith("part of ") else f"is mounted at {use}"


def _hint(disk: Disk) -> str:
    mounted = [f"/dev/{name}" for name, use in disk.users if use.startswith("/")]
    return f"umount {' '.join(mounted)}" if len(mounted) == len(disk.users) else ""
