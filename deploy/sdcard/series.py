"""``make flash CSV=``: for each SD card the image, and the files of the next device.

Rule 1: a device is `writing` from just before the first of its files is written until all of them
        are read back, then `used`; the ledger is on the disk before the card is.
Rule 2: the next SD card is one that was put in after the last one was removed, in the same reader.
Rule 3: files go straight to where the system reads them, with its permissions: no secret is ever
        in the FAT partition, which has none, and nothing is left for the first boot to erase.

Runs on Debian's own python3, without this project's packages.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import struct
import time
from pathlib import Path
from typing import Final

from deploy.credentials.ledger import Device, Ledger
from deploy.credentials.rows import CSV_MAX_BYTES
from deploy.image import placing
from deploy.image.layout import SECTOR
from deploy.runtime.pins import BuildError
from deploy.sdcard import checks, readback, steps
from deploy.sdcard.disks import Disk, Machine
from deploy.sdcard.refusal import FlashError
from edge import files
from edge.text import escaped

POLL_S: Final = 0.5
SITE: Final = "/usr/lib/edge-image/site"
"""On every SD card of `make image` and `make provision`: sets name and user at the first boot."""
ISSUE: Final = "/etc/rpi-issue"
STAMP: Final = "/etc/edge-image/device"
"""Says for which device of a ledger a card was written, and with which credential."""
CREDENTIALS: Final = tuple(
    f"/etc/edge-camera/credentials/{name}"
    for name in ("mqtt-password", "mqtt-key", "camera-password")
)
"""Those of the image, if it has any, are no device's own."""
STAMP_MAX_BYTES: Final = 256
WIFI: Final = "/etc/wpa_supplicant/wpa_supplicant-wlan0.conf"
WIFI_UNIT: Final = {
    "/etc/systemd/system/multi-user.target.wants/wpa_supplicant@wlan0.service": (
        "/usr/lib/systemd/system/wpa_supplicant@.service"
    )
}
"""As `systemctl enable` links it."""


def series(args: argparse.Namespace, machine: Machine | None = None) -> None:
    """Write the SD cards of the next devices. Raises BuildError."""
    machine = machine or Machine()
    csv, count = Path(args.csv), _count(args)
    done = 0
    with Ledger(csv) as ledger:
        _check(ledger, csv)
        device = _first(ledger, args.again)
        path, disk = steps.device(args, machine)
        image = steps.chosen(args)
        try:
            while True:
                _refuse_own(ledger, path)
                left = ledger.count("ready")
                _say(f"next is {device.name}, host name {device.host}; {left} to write")
                steps.confirmed(path, disk, image, args, machine)
                steps.write(path, image, _Placing(ledger, device, path, disk).place)
                done += 1
                _say(f"{path} is {device.name}; {ledger.count('ready')} to write")
                following = ledger.next()
                if done == count or following is None:
                    return
                device, disk = following, _next_disk(path, disk, machine, args)
        except KeyboardInterrupt:
            what = f"interrupted; {done} SD cards are written"
            raise FlashError("interrupted", what) from None


def _refuse_own(ledger: Ledger, path: Path) -> None:
    """Raise FlashError where the card is that of a device, whose credential would be lost."""
    try:
        root = _root(path)
        if placing.size(root, STAMP) > STAMP_MAX_BYTES:
            return
        name, _, mark = placing.read(root, STAMP).strip().partition(" ")
    except (BuildError, OSError, ValueError, struct.error):  # anything may be on it
        return
    device = ledger.device(name)
    if device and device.state == "used" and device.mark == mark:
        raise FlashError(
            "used",
            f"this is the SD card of {name}, written {device.sdcard}",
            where=str(path),
            hint=f"put in another; `make credentials REPLACE={name}` or REVOKE={name} frees it",
        )


class _Placing:
    """The files of one device, onto one SD card."""

    def __init__(self, ledger: Ledger, device: Device, path: Path, disk: Disk) -> None:
        self._ledger, self._device, self._path, self._disk = ledger, device, path, disk

    def place(self) -> None:
        """Write the files, read them back, note it. Raises FlashError."""
        name = self._device.name
        hint = f"AGAIN={name} writes it, `make credentials REPLACE={name}` if this card is lost"
        exclusive = checks.exclusive(self._path)
        try:
            root = _root(self._path)
            if not placing.read(root, SITE):
                raise FlashError(
                    "image corrupt",
                    "not an image of `make image` or `make provision`",
                    where=str(self._path),
                    got=f"no {SITE}",
                )
            self._ledger.begin(self._device)
            try:
                self._write(root)
                when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
                self._ledger.end(self._device, f"{when} {self._disk.model} {self._disk.serial}")
            except KeyboardInterrupt:
                what = f"interrupted: the files of {name} are perhaps on it"
                raise FlashError("interrupted", what, where=str(self._path), hint=hint) from None
            except BuildError as exc:
                what = f"the files of {name} could not be written: {exc}"
                raise FlashError("unfinished", what, where=str(self._path), hint=hint) from exc
        finally:
            os.close(exclusive)

    def _write(self, root: str) -> None:
        packed = json.loads(self._device.files)
        kind = "NetworkManager" if placing.read(root, ISSUE) else "networkd"
        contents = [
            (there, mode, content.encode())
            for there, mode, content in [*packed["files"], *packed[kind]]
        ]
        contents.append((STAMP, 0o644, f"{self._device.name} {self._device.mark}\n".encode()))
        names = {there for there, _, _ in contents}
        links = WIFI_UNIT if WIFI in names else {}
        removed = [there for there in CREDENTIALS if there not in names]
        with placing.in_memory(contents) as placed:
            placing.write(root, placed, links, removed)
            os.close(readback.uncached(self._path))
            placing.verify(root, placed, links, removed)


def _count(args: argparse.Namespace) -> int:
    """Return how many SD cards to write; -1: all."""
    if args.count == "all":
        return -1
    if args.count and not (args.count.isascii() and args.count.isdigit() and int(args.count)):
        raise BuildError(64, "COUNT", expected="a number from 1 on, or all", got=args.count)
    return int(args.count or 1)


def _check(ledger: Ledger, csv: Path) -> None:
    """Raise BuildError where the CSV is not what the credentials were made from."""
    try:
        content = files.read(csv, CSV_MAX_BYTES)
    except OSError as exc:
        raise BuildError(66, f"cannot be read: {exc.strerror}", where=str(csv)) from exc
    if hashlib.sha256(content).hexdigest() != ledger.meta("csv"):
        raise BuildError(
            65,
            "changed since its credentials were made",
            where=str(csv),
            hint=f"run `make credentials CSV={csv}`",
        )


def _first(ledger: Ledger, again: str) -> Device:
    """Return the device to begin with. Raises FlashError."""
    if again:
        device = ledger.device(again)
        if device is None or device.number < 0:
            raise BuildError(66, "no such device", where=str(ledger.folder), got=again)
        if device.state in ("ready", "writing"):
            return device
        when = f"its SD card is written: {device.sdcard}" if device.state == "used" else "revoked"
        hint = f"a credential is used once: `make credentials REPLACE={again}` makes another"
        raise FlashError("used", when, where=again, hint=hint)
    unfinished = [device.name for device in ledger.devices("writing")]
    if unfinished:
        name = unfinished[0]
        raise FlashError(
            "unfinished",
            "a run ended while its files were written",
            where=", ".join(unfinished[:10]),
            hint=f"AGAIN={name} writes it; if it is on a card that is lost: "
            f"`make credentials REPLACE={name}`",
        )
    device = ledger.next()
    if device is None:
        raise FlashError("none left", "all SD cards are written", where=str(ledger.folder))
    return device


def _root(path: Path) -> str:
    """Return the file system in the second partition of an MBR, as debugfs names it."""
    with path.open("rb") as stream:
        table = stream.read(SECTOR)
    return f"{path}?offset={struct.unpack_from('<I', table, 446 + 16 + 8)[0] * SECTOR}"


def _next_disk(path: Path, last: Disk, machine: Machine, args: argparse.Namespace) -> Disk:
    """Wait until the SD card is removed and another is put in; return it. Raises FlashError."""
    _say(f"remove it from {path}, and put the next one in")
    while _present(path, machine):
        time.sleep(POLL_S)
    _say("removed; waiting for the next one")
    while not _present(path, machine):
        time.sleep(POLL_S)
    _, disk = steps.device(args, machine)
    # A slot has no name of its own: model and serial are those of the SD card.
    same = disk.bus == last.bus and (
        disk.bus == "mmc" or (disk.model, disk.serial) == (last.model, last.serial)
    )
    if not same:
        raise FlashError(
            "changed",
            "another reader",
            where=str(path),
            expected=f"{last.model} {last.serial}",
            got=f"{disk.model} {disk.serial}",
        )
    return disk


def _present(path: Path, machine: Machine) -> bool:
    try:
        return machine.disk(path).size_bytes > 0
    except FlashError:
        return False


def _say(text: str) -> None:
    print(escaped(f"flash: {text}"), flush=True)
