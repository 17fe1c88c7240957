"""Memory, CPU, temperature and throttling, read from ``/proc`` and ``/sys``.

Both roots are parameters. What a machine does not have is None, never 0. Runs on the caller's
thread.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Final

from edge.contract import Health

PROC: Final = Path("/proc")
SYS: Final = Path("/sys")


class Firmware:
    """What the firmware of a Raspberry Pi says of its power and temperature.

    present  whether this machine has such a firmware
    Source: /sys/devices/platform/soc/soc:firmware/get_throttled of the Raspberry Pi kernel.
    """

    def __init__(self, sys: Path = SYS) -> None:
        files = sorted((sys / "devices/platform").glob("soc*/soc*:firmware/get_throttled"))
        self._file = files[0] if files else None
        self.present = self._file is not None

    def throttled_bits(self) -> int | None:
        """Return the bits of get_throttled; None where they cannot be read."""
        return _number(self._file, 16) if self._file else None


class Thermometer:
    """The temperature of the processor; of the first zone where none is named so.

    Source: Linux Documentation/driver-api/thermal/sysfs-api.rst.
    """

    def __init__(self, sys: Path = SYS) -> None:
        zones = sorted((sys / "class/thermal").glob("thermal_zone*"))
        named = [zone for zone in zones if "cpu" in (_text(zone / "type") or "")]
        self._zone = next(iter(named or zones), None)

    def celsius(self) -> float | None:
        """Return it in degrees; None where it cannot be read."""
        milli = _number(self._zone / "temp") if self._zone else None
        return None if milli is None else milli / 1000


class HealthReader:
    """Reads the health of one process and of its machine.

    process  its number, or self
    Source: proc(5); Linux Documentation/admin-guide/thermal and cpu-freq.
    """

    def __init__(self, proc: Path = PROC, sys: Path = SYS, process: str = "self") -> None:
        self._proc, self._sys, self._process = proc, sys, proc / process
        self._last: tuple[int, int] | None = None
        self._thermometer, self._firmware = Thermometer(sys), Firmware(sys)

    def read(self) -> Health:
        """Return the health now."""
        khz = _number(self._sys / "devices/system/cpu/cpu0/cpufreq/scaling_cur_freq")
        load = _text(self._proc / "loadavg")
        return Health(
            rss_bytes=self._kib("status", "VmRSS:"),
            pss_bytes=self._kib("smaps_rollup", "Pss:"),
            cpu_share=self._cpu_share(),
            temperature_celsius=self._thermometer.celsius(),
            cpu_clock_hz=None if khz is None else khz * 1000,
            throttled_bits=self._firmware.throttled_bits(),
            load_1m=float(load.split()[0]) if load else None,
        )

    def _kib(self, file: str, field: str) -> int | None:
        for line in (_text(self._process / file) or "").splitlines():
            if line.startswith(field):
                return int(line.split()[1]) * 1024
        return None

    def _cpu_share(self) -> float | None:
        text = _text(self._process / "stat")
        if text is None:
            return None
        fields = text.rpartition(")")[2].split()
        now = (time.monotonic_ns(), int(fields[11]) + int(fields[12]))
        last, self._last = self._last, now
        if last is None or now[0] <= last[0]:
            return None
        ticks_per_s = os.sysconf("SC_CLK_TCK")
        return round((now[1] - last[1]) / ticks_per_s / ((now[0] - last[0]) / 1e9), 4)


def process_age_s(proc: Path = Path("/proc")) -> float:
    """Return the age of this process, to 10 ms. Source: proc(5), starttime."""
    fields = (proc / "self/stat").read_text().rpartition(")")[2].split()
    started_s = int(fields[19]) / os.sysconf("SC_CLK_TCK")
    return time.clock_gettime(time.CLOCK_BOOTTIME) - started_s


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return None


def _number(path: Path, base: int = 10) -> int | None:
    text = _text(path)
    try:
        return None if text is None else int(text, base)
    except ValueError:
        return None
