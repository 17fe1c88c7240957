"""Room on the disk, the spool, and what the card says of its wear.

The daemon keeps its spool locked, so a copy is looked at. Source: statvfs(3); the Linux kernel's
mmc documentation, life_time and pre_eol_info (JEDEC eMMC 5.1; SD cards have neither).
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
from pathlib import Path
from typing import Any, Final

from edge.config import SpoolConfig
from edge.doctor.checks import Check, Findings, Verdict, lasted, size, text

LITTLE: Final = (0.05, 100_000_000)
NEXT_TO_NOTHING: Final = (0.01, 10_000_000)
"""Share of the whole, and bytes, below which there is too little room."""
NEARLY_FULL: Final = 0.9
LOOKED_AT_BYTES: Final = 50_000_000
WORN: Final = 10
"""life_time counts tenths of what a card endures; 11 is beyond it."""
URGENT: Final = 3
PRE_END: Final = {2: "80 % of its reserve used", URGENT: "its reserve is nearly used up"}
CLEAN: Final = "make room: journalctl --vacuum-size=50M; apt-get clean; du -xh / | sort -h | tail"


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
    found = Findings("disk")
    places = {"/": Path("/")}
    for name, path in (("state", state), ("spool", spool.parent if spool else None)):
        if path is not None and path not in places.values():
            places[name] = path
    seen: set[tuple[int, int]] = set()
    for name, path in places.items():
        try:
            told = statvfs(path)
            key = (told.f_fsid, told.f_blocks)
        except FileNotFoundError:
            found.wrong("unknown", f"{name} {path} is not there yet")
            continue
        except PermissionError:
            found.wrong("unknown", f"{name} {path}: for root to see")
            continue
        read_only = bool(told.f_flag & os.ST_RDONLY)
        found.facts[name] = {
            "path": str(path),
            "free_bytes": told.f_bavail * told.f_frsize,
            "total_bytes": told.f_blocks * told.f_frsize,
            "free_inodes": told.f_favail,
            "total_inodes": told.f_files,
            "read_only": read_only,
        }
        if read_only and name != "/":
            hint = "dmesg shows why; then mount -o remount,rw or a new card"
            found.wrong("fault", f"{name} {path} is read-only", hint)
        elif read_only:
            found.say("/ is read-only")
        if key not in seen:
            _room(found, path, told)
        seen.add(key)
    if config is not None and spool is not None:
        _spool(found, config, spool)
    elif config is not None:
        found.say("events wait in memory")
    _wear(found, sys)
    return found.check()


def _room(found: Findings, path: Path, told: os.statvfs_result) -> None:
    free, total = told.f_bavail * told.f_frsize, told.f_blocks * told.f_frsize
    shown = f"{size(free)} of {size(total)} free on {path}"
    if free < min(NEXT_TO_NOTHING[0] * total, NEXT_TO_NOTHING[1]):
        found.wrong("fault", f"full: {shown}", CLEAN)
    elif free < min(LITTLE[0] * total, LITTLE[1]):
        found.wrong("warning", f"nearly full: {shown}", CLEAN)
    else:
        found.say(shown)
    if told.f_files and told.f_favail < NEXT_TO_NOTHING[0] * told.f_files:  # btrfs counts none
        hint = "remove small files: du --inodes -x / | sort -n | tail"
        found.wrong("fault", f"{told.f_favail} of {told.f_files} inodes free on {path}", hint)


def _spool(found: Findings, config: SpoolConfig, path: Path) -> None:
    facts: dict[str, Any] = {"path": str(path)}
    found.facts["events_waiting"] = facts
    try:
        try:
            facts |= _held(path, "/dev/shm")  # the disk may be full
        except (sqlite3.Error, OSError):  # this is full; or the daemon wrote between two copies
            facts |= _held(path, None)
    except FileNotFoundError:
        found.say("no spool yet")
        return
    except PermissionError:
        found.wrong("unknown", f"spool {path}: for root to see")
        return
    except (sqlite3.Error, OSError) as exc:  # of the copy: the spool itself may be whole
        found.wrong("unknown", f"spool {path}: a copy of it cannot be read: {exc}", "ask again")
        return
    held, aside = facts["bytes"], facts["set_aside"]
    if aside:
        hint = f"dmesg shows whether the card fails; rm {path}.unreadable-*"
        found.wrong("warning", f"{aside} spools were unreadable and set aside", hint)
    rows, payload = facts.get("rows", 0), facts.get("payload_bytes", 0)
    shown = f"{rows} events wait in {size(held)}"
    if facts.get("oldest_s") is not None:
        shown += f", the oldest for {lasted(time.time() - facts['oldest_s'])}"
    if rows > NEARLY_FULL * config.events or payload > NEARLY_FULL * config.bytes:
        found.wrong("warning", f"spool nearly full: {shown}", "see `broker`; the oldest give way")
    else:
        found.say(shown)


def _held(path: Path, place: str | None) -> dict[str, Any]:
    """Return how much is in the spool, by a copy in ``place``. Raises OSError, sqlite3.Error."""
    names = os.listdir(path.parent)
    files = [path.with_name(n) for n in (path.name, f"{path.name}-wal") if n in names]
    aside = sum(n.startswith(f"{path.name}.unreadable-") for n in names)
    held = sum(file.stat().st_size for file in files)
    waiting = _waiting(files, place) if 0 < held <= LOOKED_AT_BYTES else {}
    return {"bytes": held, "set_aside": aside, **waiting}


def _waiting(files: list[Path], place: str | None) -> dict[str, Any]:
    """Return what waits in the spool, from a copy."""
    with tempfile.TemporaryDirectory(prefix="edge-doctor-", dir=place) as folder:
        for file in files:
            shutil.copyfile(file, Path(folder) / file.name)
        with closing(sqlite3.connect(Path(folder) / files[0].name)) as copy:
            if not copy.execute("SELECT 1 FROM sqlite_master WHERE name = 'events'").fetchone():
                return {"rows": 0, "payload_bytes": 0, "oldest_s": None}
            query = "SELECT count(*), coalesce(sum(length(payload)), 0) FROM events"
            rows, payload = copy.execute(query).fetchone()
            oldest = copy.execute("SELECT payload FROM events ORDER BY number LIMIT 1").fetchone()
    try:
        oldest_s = float(json.loads(oldest[0])["ts"]) if oldest else None
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        oldest_s = None  # whoever wrote it
    return {"rows": rows, "payload_bytes": payload, "oldest_s": oldest_s}


def _wear(found: Findings, sys: Path) -> None:
    """Tell what a card says of its age, where it does."""
    for device in sorted((sys / "block").glob("mmcblk[0-9]")):
        tenths = [int(word, 16) for word in text(device / "device/life_time").split()]
        pre_end = text(device / "device/pre_eol_info")
        name = text(device / "device/name") or device.name
        if not tenths:
            found.facts.setdefault("wear", {})[device.name] = {"name": name}
            continue
        used, spare = max(tenths), int(pre_end, 16) if pre_end else 0
        found.facts.setdefault("wear", {})[device.name] = {
            "name": name,
            "life_used_share": min(used, WORN + 1) / 10,
            "pre_end": spare,
        }
        if used >= WORN or spare in PRE_END:
            what = PRE_END.get(spare, "its life is used up")
            verdict: Verdict = "fault" if spare == URGENT else "warning"
            found.wrong(verdict, f"{device.name} {name}: {what}", "copy the card to a new one")
        else:
            found.say(f"{device.name}: {used * 10} % of its life used")
