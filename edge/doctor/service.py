"""What systemd reports about the service.

Source: systemctl(1), show; org.freedesktop.systemd1(5); systemd.exec(5), process exit codes.
"""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from edge.doctor.checks import Check, Finding, Findings, command, lasted, size
from edge.frames import Seconds

NAME: Final = "edge-camera"
TIMEOUT_S: Final = 5.0
PROPERTIES: Final = (
    *("LoadState", "UnitFileState", "ActiveState", "SubState", "Result", "ExecMainCode"),
    *("ExecMainStatus", "NRestarts", "StatusText", "ActiveEnterTimestampMonotonic", "MainPID"),
    *("StateChangeTimestampMonotonic", "User", "SupplementaryGroups", "WatchdogUSec"),
    *("MemoryCurrent", "MemoryPeak", "MemoryMax", "NeedDaemonReload"),
)
LOOP_RESTARTS: Final = 3
LOOP_S: Final = 600.0
"""Restarted so often, the last time so recently, it will restart again."""
EXITED: Final = "1"
"""CLD_EXITED in ExecMainCode; any other code means a signal."""
ENABLED: Final = ("enabled", "enabled-runtime", "static", "alias")
Phase = Literal["running", "stopped", "starting", "stopping", "failed", "restarting"]
PHASES: Final[dict[str, Phase]] = {
    "inactive": "stopped",
    "deactivating": "stopping",
    "failed": "failed",
}
"""ActiveState -> phase; the others depend on SubState."""
STATUSES: Final = {
    "78": ("config, model or device id is at fault", "fix the faults below"),
    "74": ("no camera", "see `camera` below"),
    "203": ("its program cannot be executed", f"apt install --reinstall {NAME}"),
    "243": ("systemd cannot read a credential", f"ls -l /etc/{NAME}/credentials"),
}
RESULTS: Final = {
    "watchdog": ("it hung and the watchdog ended it", "see what came before in the journal"),
    "oom-kill": ("out of memory: the kernel ended it", "see `memory` below"),
    "start-limit-hit": ("it was started too often", f"systemctl reset-failed {NAME}"),
}
RESTART: Final = f"systemctl restart {NAME}"


@dataclass(frozen=True, slots=True)
class Unit:
    """The service's unit as ``systemctl show`` prints it.

    shown  property -> value; empty where nothing is known, ``why`` then says why
    late   systemd is there but did not answer in time
    """

    shown: Mapping[str, str] = field(default_factory=dict)
    why: str = ""
    late: bool = False

    @property
    def installed(self) -> bool:
        """Whether systemd has such a unit."""
        return self.shown.get("LoadState") == "loaded"

    @property
    def running(self) -> bool:
        """Whether the daemon runs as a service."""
        return self.shown.get("ActiveState") in ("active", "reloading")

    @property
    def phase(self) -> Phase:
        """Where the service is in its life."""
        active = self.shown.get("ActiveState", "")
        if self.running:
            return "running"
        if active in PHASES:
            return PHASES[active]
        return "starting" if self.shown.get("SubState", "").startswith("start") else "restarting"

    @property
    def enabled(self) -> bool:
        """Whether it starts at boot."""
        return self.shown.get("UnitFileState") in ENABLED

    @property
    def pid(self) -> int | None:
        """The daemon's process."""
        return self.number("MainPID") or None

    @property
    def restarts(self) -> int:
        """How often systemd has restarted it by itself."""
        return self.number("NRestarts") or 0

    def age_s(self, now_s: Seconds) -> Seconds | None:
        """Return how long the state has lasted; a reload does not end the state ``running``."""
        name = "ActiveEnter" if self.running else "StateChange"
        since_us = self.number(f"{name}TimestampMonotonic")
        return now_s - since_us / 1e6 if since_us else None

    def number(self, name: str) -> int | None:
        """Return a figure; None where there is none, or no limit."""
        value = self.shown.get(name, "")
        return int(value) if value.isdigit() and int(value) < 2**63 else None


def read() -> Unit:
    """Ask systemd."""
    try:
        process = command(
            *("systemctl", "show", f"{NAME}.service", "-p", ",".join(PROPERTIES)),
            timeout_s=TIMEOUT_S,
        )
    except FileNotFoundError:
        return Unit(why="no systemd here")
    except subprocess.TimeoutExpired:
        return Unit(why=f"systemd does not answer within {TIMEOUT_S:.0f} s", late=True)
    except OSError as exc:
        return Unit(why=str(exc))
    if process.returncode:
        lines = process.stderr.strip().splitlines()
        return Unit(why=lines[0] if lines else f"systemctl ended with status {process.returncode}")
    return parse(process.stdout)


def parse(shown: str) -> Unit:
    """Return the unit in the output of ``systemctl show``."""
    pairs = (line.partition("=") for line in shown.splitlines())
    return Unit({name: value for name, mark, value in pairs if mark})


def check(unit: Unit, now_s: Seconds) -> Check:
    """Judge the unit by every rule. now_s: as the kernel's monotonic clock counts."""
    findings = Findings("service")
    if not unit.installed:
        findings.add(absent(unit))
        return findings.check()
    age_s = unit.age_s(now_s)
    findings.facts = {
        "active": unit.shown.get("ActiveState", ""),
        "sub": unit.shown.get("SubState"),
        "result": unit.shown.get("Result"),
        "exit_status": unit.number("ExecMainStatus"),
        "restarts": unit.restarts,
        "state_s": None if age_s is None else round(age_s, 1),
        "pid": unit.pid,
        "status": unit.shown.get("StatusText"),
        "watchdog": unit.shown.get("WatchdogUSec"),
        "enabled": unit.shown.get("UnitFileState"),
        "memory_bytes": unit.number("MemoryCurrent"),
        "memory_peak_bytes": unit.number("MemoryPeak"),
        "memory_max_bytes": unit.number("MemoryMax"),
    }
    findings.add(*(rule(unit, age_s) for rule in RULES))
    return findings.check()


def absent(unit: Unit) -> Finding:
    """Judge a unit that systemd does not have, or of which nothing is known."""
    if unit.why:
        return Finding("fault" if unit.late else "unknown", unit.why)
    return Finding("unknown", f"systemd has no unit {NAME}", f"install the package {NAME}")


def state(unit: Unit, age_s: Seconds | None) -> Finding:
    """Judge the phase that the service is in."""
    phase = unit.phase
    age = f" for {lasted(age_s)}" if age_s is not None else ""
    if phase == "running":
        return Finding("ok", f"{unit.shown['ActiveState']}{age}")
    if phase == "stopped":
        hint = RESTART if unit.enabled else f"systemctl enable --now {NAME}"
        return Finding("fault", f"stopped{age}", hint)
    if phase in ("starting", "stopping"):
        return Finding("warning", f"{phase}{age}", "run it again in a moment")
    reason, hint = _reason(unit.shown)
    word = "failed" if phase == "failed" else f"restarting, {unit.restarts} times so far,"
    return Finding("fault", f"{word}{age}: {reason}", hint)


def status_text(unit: Unit, _: Seconds | None) -> Finding | None:
    """Repeat the status line of a daemon that runs."""
    text = unit.shown.get("StatusText")
    return Finding("ok", text) if unit.running and text else None


def restarted(unit: Unit, age_s: Seconds | None) -> Finding | None:
    """Judge how often a daemon that runs was restarted; often and lately, it is in a loop."""
    if not unit.running or not unit.restarts:
        return None
    loops = unit.restarts >= LOOP_RESTARTS and (age_s or 0.0) < LOOP_S
    text = f"restarts by itself: {unit.restarts}"
    return Finding("fault" if loops else "warning", text, "see `events`")


def boot(unit: Unit, _: Seconds | None) -> Finding | None:
    """Warn of a service that a reboot would end; the hint for a stopped one enables it too."""
    if unit.enabled or unit.phase == "stopped":
        return None
    return Finding("warning", "does not start at boot", f"systemctl enable {NAME}")


def unit_file(unit: Unit, _: Seconds | None) -> Finding | None:
    """Warn of a unit file that has changed on the disk only."""
    if unit.shown.get("NeedDaemonReload") != "yes":
        return None
    hint = f"systemctl daemon-reload && {RESTART}"
    return Finding("warning", "its unit file has changed since it was read", hint)


def memory(unit: Unit, _: Seconds | None) -> Finding | None:
    """Say how much memory the service has."""
    current = unit.number("MemoryCurrent")
    return Finding("ok", f"memory {size(current)}") if current else None


RULES: Final = (state, status_text, restarted, boot, unit_file, memory)
"""Each judges an installed unit by itself, and the age of its state."""


def _reason(shown: Mapping[str, str]) -> tuple[str, str]:
    """Return why the service ended, and what to do."""
    result, status = shown.get("Result", ""), shown.get("ExecMainStatus", "")
    journal = f"journalctl -u {NAME} -e"
    if result in RESULTS:
        return RESULTS[result]
    if shown.get("ExecMainCode") == EXITED:
        reason, hint = STATUSES.get(status, ("see the journal", journal))
        return f"exit status {status}, {reason}", hint
    try:
        return f"ended by {signal.Signals(int(status)).name}", journal
    except ValueError:
        return f"result {result}", journal
