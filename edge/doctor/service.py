"""What systemd knows of the service.

Source: systemctl(1), show; org.freedesktop.systemd1(5); systemd.exec(5), process exit codes.
"""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from edge.doctor.checks import Check, Findings, command, lasted, size

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
"""So often, the last so short ago: it will do so again."""
EXITED: Final = "1"
"""CLD_EXITED, of ExecMainCode; else it was killed by a signal."""
STATUSES: Final = {
    "78": ("config, model or device id is at fault", "hint what is a fault below"),
    "74": ("no camera", "see `camera` below"),
    "203": ("its program cannot be run", f"apt install --reinstall {NAME}"),
    "243": ("systemd cannot read a credential", f"ls -l /etc/{NAME}/credentials"),
}
RESULTS: Final = {
    "watchdog": ("it hung and the watchdog ended it", "see what came before in the journal"),
    "oom-kill": ("the kernel ended it for memory", "see `memory` below"),
    "start-limit-hit": ("it was started too often", f"systemctl reset-failed {NAME}"),
}
RESTART: Final = f"systemctl restart {NAME}"


@dataclass(frozen=True, slots=True)
class Unit:
    """The service's unit as ``systemctl show`` has it.

    shown  empty where nothing is known of it; ``why`` then says why
    late   systemd is there and gave no answer in time
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
    def pid(self) -> int | None:
        """The daemon's process."""
        return self.number("MainPID") or None

    def number(self, name: str) -> int | None:
        """Return a figure; None where there is none, or no limit."""
        value = self.shown.get(name, "")
        return int(value) if value.isdigit() and int(value) < 2**63 else None


def read() -> Unit:
    """Ask systemd."""
    try:
        done = command(
            *("systemctl", "show", f"{NAME}.service", "-p", ",".join(PROPERTIES)),
            timeout_s=TIMEOUT_S,
        )
    except FileNotFoundError:
        return Unit(why="no systemd here")
    except subprocess.TimeoutExpired:
        return Unit(why=f"systemd gives no answer in {TIMEOUT_S:.0f} s", late=True)
    except OSError as exc:
        return Unit(why=str(exc))
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        return Unit(why=lines[0] if lines else f"systemctl ends with {done.returncode}")
    return parse(done.stdout)


def parse(shown: str) -> Unit:
    """Return the unit in the output of ``systemctl show``."""
    pairs = (line.partition("=") for line in shown.splitlines())
    return Unit({name: value for name, mark, value in pairs if mark})


def check(unit: Unit, now_s: float) -> Check:
    """Judge the unit. now_s: as the kernel's monotonic clock counts."""
    found, shown = Findings("service"), unit.shown
    if not unit.installed:
        why = unit.why or f"systemd has no unit {NAME}"
        hint = "" if unit.why else f"install the package {NAME}"
        found.wrong("fault" if unit.late else "unknown", why, hint)
        return found.check()
    state, since = shown.get("ActiveState", ""), "StateChangeTimestampMonotonic"
    if unit.running:  # a reload changes the state too
        since = "ActiveEnterTimestampMonotonic"
    since_us = unit.number(since)
    age_s = now_s - since_us / 1e6 if since_us else None
    age = f" for {lasted(age_s)}" if age_s is not None else ""
    restarts = unit.number("NRestarts") or 0
    found.facts = {
        "active": state,
        "sub": shown.get("SubState"),
        "result": shown.get("Result"),
        "exit_status": unit.number("ExecMainStatus"),
        "restarts": restarts,
        "state_s": None if age_s is None else round(age_s, 1),
        "pid": unit.pid,
        "status": shown.get("StatusText"),
        "watchdog": shown.get("WatchdogUSec"),
        "enabled": shown.get("UnitFileState"),
        "memory_bytes": unit.number("MemoryCurrent"),
        "memory_peak_bytes": unit.number("MemoryPeak"),
        "memory_max_bytes": unit.number("MemoryMax"),
    }
    enabled = shown.get("UnitFileState") in ("enabled", "enabled-runtime", "static", "alias")
    if unit.running:
        found.say(f"{state}{age}")
        if shown.get("StatusText"):
            found.say(shown["StatusText"])
        if restarts:
            again = restarts >= LOOP_RESTARTS and (age_s or 0.0) < LOOP_S
            what = f"restarts by itself: {restarts}"
            found.wrong("fault" if again else "warning", what, "see `events`")
    elif state == "inactive":
        on = RESTART if enabled else f"systemctl enable --now {NAME}"
        found.wrong("fault", f"stopped{age}", on)
    elif state == "deactivating" or shown.get("SubState", "").startswith("start"):
        word = "stopping" if state == "deactivating" else "starting"
        found.wrong("warning", f"{word}{age}", "ask again in a moment")
    else:
        what, hint = _reason(shown)
        state = "failed" if state == "failed" else f"restarting, {restarts} times so far,"
        found.wrong("fault", f"{state}{age}: {what}", hint)
    if not enabled and state != "inactive":
        found.wrong("warning", "does not start at boot", f"systemctl enable {NAME}")
    if shown.get("NeedDaemonReload") == "yes":
        hint = f"systemctl daemon-reload && {RESTART}"
        found.wrong("warning", "its unit file has changed since it was read", hint)
    if memory := unit.number("MemoryCurrent"):
        found.say(f"memory {size(memory)}")
    return found.check()


def _reason(shown: Mapping[str, str]) -> tuple[str, str]:
    """Return why it ended, and what to do."""
    result, status = shown.get("Result", ""), shown.get("ExecMainStatus", "")
    look = f"journalctl -u {NAME} -e"
    if result in RESULTS:
        return RESULTS[result]
    if shown.get("ExecMainCode") == EXITED:
        what, hint = STATUSES.get(status, ("see the journal", look))
        return f"exit status {status}, {what}", hint
    try:
        return f"ended by {signal.Signals(int(status)).name}", look
    except ValueError:
        return f"result {result}", look
