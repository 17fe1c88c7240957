"""The machine's clock, temperature, power supply and memory.

``proc``, ``sys`` and ``run`` are roots that a test replaces.
Source: adjtimex(2); systemd-timesyncd(8); the Pi's documentation of get_throttled; proc(5).
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from edge.doctor.checks import Check, Finding, Findings, Verdict, lasted, size, text
from edge.doctor.service import Unit
from edge.frames import Seconds
from edge.telemetry import HealthReader

TIME_ERROR: Final = 5
"""What adjtimex returns where nothing synchronises the clock."""
DAY_S: Final = 86_400
HOT_CELSIUS: Final = 75.0
TOO_HOT_CELSIUS: Final = 85.0
"""The Pi 4 lowers its clock from 80 degrees, and more so from 85."""
COOL: Final = "cool it: heat sink, fan, shade"
SUPPLY: Final = "use a power supply of 5.1 V and 3 A, and a short, thick cable"
THROTTLED: Final[dict[int, tuple[Verdict, str, str]]] = {
    0: ("fault", "under-voltage now", SUPPLY),
    1: ("warning", "clock capped now", "cool it, or fix its power supply"),
    2: ("warning", "throttled now", "cool it, or fix its power supply"),
    3: ("warning", "soft temperature limit now", COOL),
    16: ("warning", "under-voltage since boot", SUPPLY),
    17: ("warning", "clock capped since boot", ""),
    18: ("warning", "throttled since boot", ""),
    19: ("warning", "soft temperature limit since boot", COOL),
}
"""Bit of get_throttled -> verdict, words, hint."""
LOW_SHARE: Final = 0.1
LOW_BYTES: Final = 50_000_000
"""Available memory below which the machine is short of it."""
NEAR_LIMIT: Final = 0.85
NTP: Final = "timedatectl set-ntp true, and let NTP (UDP 123) through the network"


def synchronised() -> bool | None:
    """Return whether something synchronises the clock; None where the kernel does not say."""
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        answer = int(libc.adjtimex(ctypes.create_string_buffer(512)))  # modes 0: changes nothing
    except (OSError, AttributeError):
        return None
    return None if answer < 0 else answer != TIME_ERROR


def clock(
    run: Path = Path("/run"),
    now_s: float | None = None,
    kernel: Callable[[], bool | None] = synchronised,
) -> Check:
    """Judge the wall clock: certificates and every published time depend on it."""
    findings = Findings("clock")
    now_s = time.time() if now_s is None else now_s
    synced = (run / "systemd/timesync/synchronized").exists() or kernel()
    date = time.strftime("%Y-%m-%d %H:%M:%S %Z", time.localtime(now_s))
    findings.facts = {"time_s": round(now_s, 3), "time": date, "synchronised": synced}
    findings.say(date)
    if now_s < Path(__file__).stat().st_mtime - DAY_S:
        findings.wrong("fault", "the date is before this program was made", NTP)
    if synced is None:
        findings.wrong("unknown", "the kernel does not say whether it is synchronised")
    elif not synced:
        findings.wrong("warning", "not synchronised", NTP)
    else:
        findings.say("synchronised")
    return findings.check()


def heat(proc: Path = Path("/proc"), sys: Path = Path("/sys")) -> Check:
    """Judge the temperature now, and the firmware's record of heat and supply since boot."""
    findings = Findings("heat")
    health = HealthReader(proc, sys).read()
    celsius, bits = health.temperature_celsius, health.throttled_bits
    throttled = [Finding(*words) for bit, words in THROTTLED.items() if (bits or 0) >> bit & 1]
    findings.facts = {
        "temperature_celsius": celsius,
        "cpu_clock_hz": health.cpu_clock_hz,
        "throttled_bits": bits,
        "throttled": [finding.text for finding in throttled],
    }
    findings.add(*throttled, temperature(celsius))
    if health.cpu_clock_hz:
        findings.say(f"{health.cpu_clock_hz / 1e6:.0f} MHz")
    if bits is None:
        findings.wrong("unknown", "no throttling history on this machine")
    elif not bits:
        findings.say("never throttled since boot")
    return findings.check()


def temperature(celsius: float | None) -> Finding:
    """Judge a temperature; None without a thermometer."""
    if celsius is None:
        return Finding("ok", "no thermometer")
    if celsius < HOT_CELSIUS:
        return Finding("ok", f"{celsius:.0f} °C")
    return Finding("fault" if celsius >= TOO_HOT_CELSIUS else "warning", f"{celsius:.0f} °C", COOL)


@dataclass(frozen=True, slots=True)
class Memory:
    """Memory of the machine and of the daemon; None where the kernel does not say.

    daemon_cgroup_bytes  of the whole unit, as systemd counts it
    daemon_limit_bytes   MemoryMax of the unit
    """

    total_bytes: int | None = None
    available_bytes: int | None = None
    swap_bytes: int = 0
    swap_used_bytes: int = 0
    daemon_pss_bytes: int | None = None
    daemon_cgroup_bytes: int | None = None
    daemon_limit_bytes: int | None = None
    oom_kills: int | None = None


def memory(unit: Unit, proc: Path = Path("/proc"), sys: Path = Path("/sys")) -> Check:
    """Judge the machine's memory, and the daemon's against its limit."""
    findings, usage = Findings("memory"), read_memory(unit, proc, sys)
    findings.facts = asdict(usage)
    if usage.total_bytes is None or usage.available_bytes is None:
        findings.wrong("unknown", "the kernel does not report the machine's memory")
        return findings.check()
    uptime_s = float((text(proc / "uptime") or "0").split()[0])
    findings.add(
        available(usage.available_bytes, usage.total_bytes),
        swap(usage),
        daemon(usage, running=unit.pid is not None),
        oom_kills(usage, uptime_s),
    )
    return findings.check()


def read_memory(unit: Unit, proc: Path, sys: Path) -> Memory:
    """Read the memory of the machine, and of the daemon where it runs."""
    lines = [line.split() for line in text(proc / "meminfo").splitlines()]
    table = {line[0].rstrip(":"): int(line[1]) * 1024 for line in lines if len(line) > 1}
    counters = dict(line.split() for line in text(proc / "vmstat").splitlines() if " " in line)
    health = HealthReader(proc, sys, process=str(unit.pid)).read() if unit.pid else None
    return Memory(
        total_bytes=table.get("MemTotal"),
        available_bytes=table.get("MemAvailable"),
        swap_bytes=table.get("SwapTotal", 0),
        swap_used_bytes=table.get("SwapTotal", 0) - table.get("SwapFree", 0),
        daemon_pss_bytes=health.pss_bytes if health else None,
        daemon_cgroup_bytes=unit.number("MemoryCurrent"),
        daemon_limit_bytes=unit.number("MemoryMax"),
        oom_kills=int(counters["oom_kill"]) if "oom_kill" in counters else None,
    )


def available(available_bytes: int, total_bytes: int) -> Finding:
    """Judge how much memory the machine has left."""
    words = f"{size(available_bytes)} of {size(total_bytes)} available"
    if available_bytes < LOW_BYTES or available_bytes < LOW_SHARE * total_bytes:
        return Finding("warning", f"only {words}", "end other programs: ps --sort -rss aux | head")
    return Finding("ok", words)


def swap(usage: Memory) -> Finding | None:
    """Say how much swap is used, if there is any."""
    if not usage.swap_bytes:
        return None
    return Finding("ok", f"swap {size(usage.swap_used_bytes)} of {size(usage.swap_bytes)}")


def daemon(usage: Memory, *, running: bool) -> Finding | None:
    """Judge the daemon's memory against its limit."""
    used, limit = usage.daemon_pss_bytes, usage.daemon_limit_bytes
    if used is None:
        used = usage.daemon_cgroup_bytes
    if used is None:
        return Finding("ok", "only root can read the daemon's memory") if running else None
    if not limit:
        return Finding("ok", f"daemon {size(used)}")
    words = f"{size(used)} of {size(limit)}"
    if used <= NEAR_LIMIT * limit:
        return Finding("ok", f"daemon {words}")
    hint = "systemctl edit edge-camera: MemoryMax=; a smaller model or camera.width"
    return Finding("warning", f"the daemon has {words}", hint)


def oom_kills(usage: Memory, uptime_s: Seconds) -> Finding | None:
    """Warn of processes that the kernel has ended for lack of memory."""
    if not usage.oom_kills:
        return None
    hint = "journalctl -k -g 'Out of memory' names what was ended"
    return Finding("warning", f"{usage.oom_kills} OOM kills in {lasted(uptime_s)} since boot", hint)
