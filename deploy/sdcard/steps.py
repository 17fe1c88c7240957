"""The steps of `make flash`: the disk, the image, the question, the copy, reading it back.

Rule: nothing is written before the answer, and the image is known to be complete by then.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from deploy.sdcard import checks, readback
from deploy.sdcard import image as images
from deploy.sdcard.disks import Disk, Machine
from deploy.sdcard.progress import MEGA, Progress
from deploy.sdcard.refusal import FlashError
from edge.text import escaped

ROOT: Final = Path(__file__).resolve().parents[2]
TOOLS: Final = {"bmaptool": "bmap-tools", "lsblk": "util-linux", "blkid": "util-linux"}
"""Programs, and the Debian packages that have them."""
NOTHING_KNOWN, AMBIVALENT = 2, 8
"""blkid(8), exit status."""
HALF: Final = "the SD card is half written: write it again before use"


def device(args: argparse.Namespace, machine: Machine) -> tuple[Path, Disk]:
    """Return the disk to write, which may be written. Raises FlashError."""
    if not args.device:
        for line in candidates(machine):
            print(escaped(f"flash:   {line}"), file=sys.stderr)
        raise FlashError("no device", "no DEVICE given", hint="choose one of the disks above")
    for program, package in TOOLS.items():
        if not shutil.which(program):
            raise FlashError("no program", f"needs {program}", hint=f"apt-get install {package}")
    path = Path(args.device)
    disk = machine.disk(path)
    checks.refuse(disk, force=args.force == "1")
    checks.refuse_by_opening(path)
    return path, disk


def chosen(args: argparse.Namespace) -> images.Image:
    """Return the image, read to its end. Raises FlashError."""
    path = Path(args.image) if args.image else images.newest(ROOT / "build" / "dist")
    with Progress(f"reading {path.name}") as progress:
        return images.read(path, progress.add)


def confirmed(
    path: Path, disk: Disk, image: images.Image, args: argparse.Namespace, machine: Machine
) -> None:
    """Return where the user agrees to the loss of what is on ``disk``; raise FlashError else."""
    if image.size_bytes > disk.size_bytes:
        raise FlashError(
            "too small",
            "too small",
            where=str(path),
            expected=f"{image.size_bytes:,} bytes",
            got=f"{disk.size_bytes:,}",
        )
    _show(path, disk, image)
    confirm(disk, args)
    if machine.disk(path) != disk:
        raise FlashError("changed", "the medium was exchanged", where=str(path))
    checks.refuse_by_opening(path)  # a desktop may have mounted it


def write(path: Path, image: images.Image, place: Callable[[], None] | None = None) -> None:
    """Write the image and read it back. Raises FlashError.

    place  what is written after that, before anybody sees the new partitions
    """
    state = HALF
    try:
        with _held(path):
            _copy(path, image)
            state = "completely written, not read back"
            with Progress("reading back", image.mapped_bytes) as progress:
                readback.compare(path, image, progress.add)
            if place:
                place()
            state = "completely written and verified; remove it and insert it again"
        if path.is_block_device() and not readback.reread_partitions(path):
            print("flash: the kernel still has the old partitions: remove it and insert it again")
        name = image.path.name
        line = f"flash: {path} holds {name}, read back and verified; it may be removed"
        print(escaped(line))
    except KeyboardInterrupt:
        raise FlashError("interrupted", state, where=str(path)) from None


@contextlib.contextmanager
def _held(path: Path) -> Iterator[None]:
    """Keep udev from looking at the disk, and a desktop so from mounting it, meanwhile.

    Source: systemd, "Locking Block Device Access".
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        if path.is_block_device():
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _show(path: Path, disk: Disk, image: images.Image) -> None:
    """Print what would be overwritten, and by what."""
    size = f"{disk.size_bytes / MEGA:,.0f} MB"
    what = f"{disk.model or 'no model'}, {size}, {disk.bus}, serial {disk.serial}"
    print(escaped(f"flash: {path}: {what}"))
    for line in _contents(path):
        print(escaped(f"flash:   {line}"))
    how = f"{image.mapped_bytes / MEGA:,.0f} MB of its {image.size_bytes / MEGA:,.0f} MB"
    no_bmap = "" if image.bmap else " (no bmap)"
    print(escaped(f"flash: {image.path}: {how} are written{no_bmap}"))


def _contents(path: Path) -> list[str]:
    """Return a line for the disk and each partition: size and present content."""
    if not path.is_block_device():
        return [_probed(path)]
    command = ["lsblk", "--list", "--noheadings", "--output", "PATH,SIZE", str(path)]
    output = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    parts = [line.split() for line in output.splitlines()]
    return [f"{name} {size} {_probed(Path(name))}" for name, size in parts]


def _probed(path: Path) -> str:
    """Return what blkid finds by probing: udev may still describe the previous medium."""
    command = ["blkid", "--probe", "--output", "export", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == AMBIVALENT:
        return "several signatures"
    if done.returncode not in (0, NOTHING_KNOWN):
        return f"unknown: blkid ended with {done.returncode}"
    values = dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)
    marks = [values[name] for name in ("PTTYPE", "TYPE", "LABEL") if name in values]
    words = ["partition table" if "PTTYPE" in values else "", *marks]
    return " ".join(words).strip() or "no known content"


def confirm(disk: Disk, args: argparse.Namespace) -> None:
    """Return where the user agrees; raise FlashError otherwise."""
    typed = args.serial
    if not typed and not checks.is_sdcard(disk):
        typed = _answer(f"this is not an SD card; type its serial ({disk.serial}): ") or "nothing"
    if typed and typed != disk.serial:
        raise FlashError(
            "not confirmed", "wrong serial", where=disk.name, expected=disk.serial, got=typed
        )
    if not typed and args.yes != "1":
        answer = _answer("everything on it will be lost; continue? [y/N] ")
        if answer.lower() not in ("y", "yes"):
            raise FlashError("not confirmed", "the answer was no; nothing was written")


def _answer(question: str) -> str:
    if not sys.stdin.isatty():
        hint = "YES=1 for an SD card, SERIAL=... for another disk"
        raise FlashError("not confirmed", "no terminal to ask on", hint=hint)
    with contextlib.suppress(EOFError):
        return input(escaped(f"flash: {question}")).strip()
    return ""


def _copy(path: Path, image: images.Image) -> None:
    """Write the image with bmaptool."""
    how = ["--bmap", str(image.bmap)] if image.bmap else ["--nobmap"]
    command = ["bmaptool", "copy", *how, str(image.path), str(path)]
    # A session of its own: Ctrl-C reaches this process only, which then reports the state.
    with subprocess.Popen(command, start_new_session=True, stdin=subprocess.DEVNULL) as process:
        try:
            status = process.wait()
        except KeyboardInterrupt:
            os.killpg(process.pid, signal.SIGTERM)  # its unpacker too
            raise
    if status:
        got = f"bmaptool ended with {status}"
        raise FlashError("copying failed", HALF, where=str(path), got=got)


def candidates(machine: Machine) -> list[str]:
    """Return a line for each disk that DEVICE might name."""
    lines = []
    for disk in machine.disks():
        try:
            checks.refuse(disk, force=False)
            why = ""
        except FlashError as exc:
            why = f"; refused: {exc.what}"
        size = f"{disk.size_bytes / MEGA:,.0f} MB"
        lines.append(
            f"DEVICE=/dev/{disk.name}: {disk.model or 'no model'}, {size}, {disk.bus}{why}"
        )
    return lines or ["no SD card and no USB disk in this machine"]
