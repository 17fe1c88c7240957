"""Free space on the disk, events in the spool, wear of an SD card or eMMC.

The daemon keeps its spool locked, so a copy is read. Source: statvfs(3); the Linux kernel's mmc
documentation, life_time and pre_eol_info (JEDEC eMMC 5.1; SD cards have neither).
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from edge.config import SpoolConfig
from edge.doctor.checks import Check, Finding, Findings, Verdict, lasted, size, text

LOW: Final = (0.05, 100_000_000)
FULL: Final = (0.01, 10_000_000)
"""Share of the whole, and bytes: a disk with less free than both is nearly full, or full."""
NEARLY_FULL: Final = 0.9
COPY_MAX_BYTES: Final = 50_000_000
"""Of a spool; the events in a larger one are not counted."""
WORN: Final = 10
"""life_time counts tenths of the specified life; 11 is beyond it."""
URGENT: Final = 3
PRE_END: Final = {2: "80 % of its reserve used", URGENT: "its reserve is nearly used up"}
ROOT: Final = "sudo edge doctor"
CLEAN_UP: Final = (
    "free some space: journalctl --vacuum-size=50M; apt-get clean; du -xh / | sort -h | tail"
)


def check(
    config: SpoolConfig | None,
    spool: Path | None,
    state: Path | None,
    sys: Path = Path("/sys"),
    statvfs: Callable[[Path], os.statvfs_result] = os.statvfs,
) -> Check:
    """Judge the disk.

    config  None where it cannot be read
    spool   None: events wait in memory
    state   systemd's state directory; None without one
    """
    findings = Findings("disk")
    places = {"/": Path("/")}
    for name, path in (("state", state), ("spool", spool.parent if spool else None)):
        if path is not None and path not in places.values():
            places[name] = path
    judged: set[tuple[int, int]] = set()
    for name, path in places.items():
        try:
            stats = statvfs(path)
            file_system = (stats.f_fsid, stats.f_blocks)
        except FileNotFoundError:
            findings.wrong("unknown", f"{name} {path} does not exist yet")
            continue
        except PermissionError:
            findings.wrong("unknown", f"{name} {path}: only root can read it", ROOT)
            continue
        findings.facts[name] = {
            "path": str(path),
            "free_bytes": stats.f_bavail * stats.f_frsize,
            "total_bytes": stats.f_blocks * stats.f_frsize,
            "free_inodes": stats.f_favail,
            "total_inodes": stats.f_files,
            "read_only": bool(stats.f_flag & os.ST_RDONLY),
        }
        findings.add(writable(name, path, stats))
        if file_system not in judged:
            findings.add(room(path, stats), inodes(path, stats))
        judged.add(file_system)
    if config is not None and spool is not None:
        _spool(findings, config, spool)
    elif config is not None:
        findings.say("events wait in memory")
    _wear(findings, sys)
    return findings.check()


def writable(name: str, path: Path, stats: os.statvfs_result) -> Finding | None:
    """Judge a read-only file system; the root's may be one on purpose."""
    if not stats.f_flag & os.ST_RDONLY:
        return None
    if name == "/":
        return Finding("ok", "/ is read-only")
    hint = "dmesg shows why; then mount -o remount,rw or a new SD card"
    return Finding("fault", f"{name} {path} is read-only", hint)


def room(path: Path, stats: os.statvfs_result) -> Finding:
    """Judge the free bytes of a file system."""
    free, total = stats.f_bavail * stats.f_frsize, stats.f_blocks * stats.f_frsize
    words = f"{size(free)} of {size(total)} free on {path}"
    if free < min(FULL[0] * total, FULL[1]):
        return Finding("fault", f"full: {words}", CLEAN_UP)
    if free < min(LOW[0] * total, LOW[1]):
        return Finding("warning", f"nearly full: {words}", CLEAN_UP)
    return Finding("ok", words)


def inodes(path: Path, stats: os.statvfs_result) -> Finding | None:
    """Judge the free inodes of a file system; btrfs counts none."""
    if not stats.f_files or stats.f_favail >= FULL[0] * stats.f_files:
        return None
    words = f"{stats.f_favail} of {stats.f_files} inodes free on {path}"
    return Finding("fault", words, "remove small files: du --inodes -x / | sort -n | tail")


@dataclass(frozen=True, slots=True)
class Waiting:
    """Events in the spool; ``oldest_s`` is when the oldest was published, None where unknown."""

    rows: int = 0
    payload_bytes: int = 0
    oldest_s: float | None = None


@dataclass(frozen=True, slots=True)
class Contents:
    """The spool's files.

    set_aside  files that could not be read and were renamed
    waiting    None where they were not counted: nothing was ever written, or too much
    """

    bytes: int
    set_aside: int
    waiting: Waiting | None


def _spool(findings: Findings, config: SpoolConfig, path: Path) -> None:
    findings.facts["events_waiting"] = {"path": str(path)}
    try:
        try:
            contents = _contents(path, "/dev/shm")  # the disk may be full
        except (sqlite3.Error, OSError):  # memory is full, or the daemon wrote while it was copied
            contents = _contents(path, None)
    except FileNotFoundError:
        findings.say("no spool yet")
        return
    except PermissionError:
        findings.wrong("unknown", f"spool {path}: only root can read it", ROOT)
        return
    except (sqlite3.Error, OSError) as exc:  # of the copy: the spool itself may be whole
        words = f"spool {path}: a copy of it cannot be read: {exc}"
        findings.wrong("unknown", words, "run it again")
        return
    facts = {"bytes": contents.bytes, "set_aside": contents.set_aside}
    facts |= asdict(contents.waiting) if contents.waiting else {}
    findings.facts["events_waiting"] |= facts
    findings.add(set_aside(contents, path), waiting(contents, config))


def set_aside(contents: Contents, path: Path) -> Finding | None:
    """Warn of spools that could not be read."""
    if not contents.set_aside:
        return None
    words = f"{contents.set_aside} spools were unreadable and set aside"
    hint = f"dmesg shows whether the SD card fails; rm {path}.unreadable-*"
    return Finding("warning", words, hint)


def waiting(contents: Contents, config: SpoolConfig) -> Finding:
    """Judge how many events wait."""
    events = contents.waiting or Waiting()
    words = f"{events.rows} events wait in {size(contents.bytes)}"
    if events.oldest_s is not None:
        words += f", the oldest for {lasted(time.time() - events.oldest_s)}"
    full = events.rows > NEARLY_FULL * config.events
    if full or events.payload_bytes > NEARLY_FULL * config.bytes:
        hint = "see `broker`; the oldest are dropped first"
        return Finding("warning", f"spool nearly full: {words}", hint)
    return Finding("ok", words)


def _contents(path: Path, copies: str | None) -> Contents:
    """Return what is in the spool, by a copy in ``copies``. Raises OSError, sqlite3.Error."""
    names = os.listdir(path.parent)
    files = [path.with_name(n) for n in (path.name, f"{path.name}-wal") if n in names]
    aside = sum(n.startswith(f"{path.name}.unreadable-") for n in names)
    total = sum(file.stat().st_size for file in files)
    counted = 0 < total <= COPY_MAX_BYTES
    return Contents(total, aside, _waiting(files, copies) if counted else None)


def _waiting(files: list[Path], copies: str | None) -> Waiting:
    with tempfile.TemporaryDirectory(prefix="edge-doctor-", dir=copies) as folder:
        for file in files:
            shutil.copyfile(file, Path(folder) / file.name)
        with closing(sqlite3.connect(Path(folder) / files[0].name)) as copy:
            if not copy.execute("SELECT 1 FROM sqlite_master WHERE name = 'events'").fetchone():
                return Waiting()
            query = "SELECT count(*), coalesce(sum(length(payload)), 0) FROM events"
            rows, payload = copy.execute(query).fetchone()
            oldest = copy.execute("SELECT payload FROM events ORDER BY number LIMIT 1").fetchone()
    try:
        oldest_s = float(json.loads(oldest[0])["ts"]) if oldest else None
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        oldest_s = None  # anybody may have written it
    return Waiting(rows, payload, oldest_s)


def _wear(findings: Findings, sys: Path) -> None:
    """Report the wear of every SD card and eMMC that measures it."""
    for device in sorted((sys / "block").glob("mmcblk[0-9]")):
        tenths = [int(word, 16) for word in text(device / "device/life_time").split()]
        pre_end = text(device / "device/pre_eol_info")
        name = text(device / "device/name") or device.name
        wear = findings.facts.setdefault("wear", {})
        if not tenths:
            wear[device.name] = {"name": name}
            continue
        used, spare = max(tenths), int(pre_end, 16) if pre_end else 0
        share = min(used, WORN + 1) / 10
        wear[device.name] = {"name": name, "life_used_share": share, "pre_end": spare}
        findings.add(worn(f"{device.name} {name}", used, spare))


def worn(device: str, used: int, spare: int) -> Finding:
    """Judge the wear of one SD card or eMMC.

    used   tenths of its life
    spare  state of its reserve of blocks: 1 normal, 2 and 3 see ``PRE_END``
    """
    if used < WORN and spare not in PRE_END:
        return Finding("ok", f"{device}: {used * 10} % of its life used")
    verdict: Verdict = "fault" if spare == URGENT else "warning"
    reason = PRE_END.get(spare, "its life is used up")
    return Finding(verdict, f"{device}: {reason}", "copy it to a new one")
