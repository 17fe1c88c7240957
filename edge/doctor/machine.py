"""The machine's clock and its health: heat, supply, memory.

``proc``, ``sys`` and ``run`` are roots that a test replaces.
Source: adjtimex(2); systemd-timesyncd(8); the Pi's documentation of get_throttled; proc(5).
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from edge.doctor.checks import Check, Findings, Verdict, lasted, size, text
from edge.doctor.service import Unit
from edge.telemetry import HealthReader

TIME_ERROR: Final = 5
"""What adjtimex returns where nothing keeps the clock."""
DAY_S: Final = 86_400
HOT_CELSIUS: Final = 75.0
TOO_HOT_CELSIUS: Final = 85.0
"""The Pi 4 slows down from 80 degrees, and more so from 85."""
COOL: Final = "cool it: heat sink, fan, shade"
SUPPLY: Final = "a supply of 5.1 V and 3 A, a short thick cable"
THROTTLED: Final[dict[int, tuple[Verdict, str, str]]] = {
    0: ("fault", "under-voltage now", SUPPLY),
    1: ("warning", "clock capped now", "cool it, or fix its supply"),
    2: ("warning", "throttled now", "cool it, or fix its supply"),
    3: ("warning", "soft temperature limit now", COOL),
    16: ("warning", "under-voltage since boot", SUPPLY),
    17: ("warning", "clock capped since boot", ""),
    18: ("warning", "throttled since boot", ""),
    19: ("warning", "soft temperature limit since boot", COOL),
}
"""Bit of get_throttled -> verdict, words, hint."""
LOW_SHARE: Final = 0.1
LOW_BYTES: Final = 50_000_000
NEAR_LIMIT: Final = 0.85


def kept() -> bool | None:
    """Return whether something keeps the clock; None where the kernel does not say."""
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        answer = int(libc.adjtimex(ctypes.create_string_buffer(512)))  # no modes: only asks
    except (OSError, AttributeError):
        return None
    return None if answer < 0 else answer != TIME_ERROR


def clock(
    run: Path = Path("/run"),
    now_s: float | None = None,
    kept: Callable[[], bool | None] = kept,
) -> Check:
    """Judge the wall clock: certificates and every time that is published rest on it."""
    found = Findings("clock")
    now_s = time.time() if now_s is None else now_s
    synced = (run / "systemd/timesync/synchronized").exists() or kept()
    shown = time.strftime("%Y-%m-%d %H:%M:%S %Z", time.localtime(now_s))
    found.facts = {"time_s": round(now_s, 3), "time": shown, "synchronised": synced}
    found.say(shown)
    hint = "timedatectl set-ntp true; and see that the network lets NTP (UDP 123) through"
    if now_s < Path(__file__).stat().st_mtime - DAY_S:
        found.wrong("fault", "the date is before this program was made", hint)
    if synced is None:
        found.wrong("unknown", "the kernel does not say whether it is synchronised")
    elif not synced:
        found.wrong("warning", "not synchronised", hint)
    else:
        found.say("synchronised")
    return found.check()


def heat(proc: Path = Path("/proc"), sys: Path = Path("/sys")) -> Check:
    """Judge heat now, and what the firmware has seen of heat and supply since boot."""
    found = Findings("heat")
    health = HealthReader(proc, sys).read()
    celsius, bits = health.temperature_celsius, health.throttled_bits
    told = [what for bit, what in THROTTLED.items() if (bits or 0) >> bit & 1]
    found.facts = {
        "temperature_celsius": celsius,
        "cpu_clock_hz": health.cpu_clock_hz,
        "throttled_bits": bits,
        "throttled": [word for _, word, _ in told],
    }
    for verdict, word, hint in told:
        found.wrong(verdict, word, hint)
    if celsius is None:
        found.say("no thermometer")
    elif celsius >= TOO_HOT_CELSIUS:
        found.wrong("fault", f"{celsius:.0f} °C", COOL)
    elif celsius >= HOT_CELSIUS:
        found.wrong("warning", f"{celsius:.0f} °C", COOL)
    else:
        found.say(f"{celsius:.0f} °C")
    if health.cpu_clock_hz:
        found.say(f"{health.cpu_clock_hz / 1e6:.0f} MHz")
    if bits is None:
        found.wrong("unknown", "no throttling history on this machine")
    elif not bits:
        found.say("never throttled since boot")
    return found.check()


def memory(unit: Unit, proc: Path = Path("/proc"), sys: Path = Path("/sys")) -> Check:
    """Judge the machine's memory, and the daemon's against its limit."""
    found = Findings("memory")
    lines = [line.split() for line in text(proc / "meminfo").splitlines()]
    table = {line[0].rstrip(":"): int(line[1]) * 1024 for line in lines if len(line) > 1}
    counters = dict(line.split() for line in text(proc / "vmstat").splitlines() if " " in line)
    total, available = table.get("MemTotal"), table.get("MemAvailable")
    swap, swap_free = table.get("SwapTotal", 0), table.get("SwapFree", 0)
    kills = int(counters["oom_kill"]) if "oom_kill" in counters else None
    pss = HealthReader(proc, sys, process=str(unit.pid)).read().pss_bytes if unit.pid else None
    limit, current = unit.number("MemoryMax"), unit.number("MemoryCurrent")
    found.facts = {
        "total_bytes": total,
        "available_bytes": available,
        "swap_bytes": swap,
        "swap_used_bytes": swap - swap_free,
        "daemon_pss_bytes": pss,
        "daemon_cgroup_bytes": current,
        "daemon_limit_bytes": limit,
        "oom_kills": kills,
    }
    if total is None or available is None:
        found.wrong("unknown", "the kernel does not tell")
        return found.check()
    free = f"{size(available)} of {size(total)} available"
    if available < LOW_BYTES or available < LOW_SHARE * total:
        found.wrong("warning", f"only {free}", "end what else runs: ps --sort -rss aux | head")
    else:
        found.say(free)
    if swap:
        found.say(f"swap {size(swap - swap_free)} of {size(swap)}")
    used = pss if pss is not None else current
    if used is not None:
        of = f" of {size(limit)}" if limit else ""
        if limit and used > NEAR_LIMIT * limit:
            hint = "systemctl edit edge-camera: MemoryMax=; a smaller model or camera.width"
            found.wrong("warning", f"the daemon has {size(used)}{of}", hint)
        else:
            found.say(f"daemon {size(used)}{of}")
    elif unit.pid:
        found.say("the daemon's is for root to see")
    if kills:
        boot_s = float((text(proc / "uptime") or "0").split()[0])
        hint = "journalctl -k -g 'Out of memory' names what was ended"
        found.wrong("warning", f"{kills} OOM kills in {lasted(boot_s)} since boot", hint)
    return found.check()
