"""What the Pi says of the service: systemd, dpkg, and `edge doctor`, which shows no secrets."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
from dataclasses import dataclass
from typing import Any, Final

from edge.text import escaped  # of this project, and sent along: it needs nothing else

NAME: Final = "edge-camera"
DOCTOR_S: Final = 90.0
"""Its slowest probe loads the model, on a Pi that is busy with the service's start."""


@dataclass(frozen=True, slots=True)
class Seen:
    """The service, and what the broker has of it.

    invocation  systemd's id of this start of it
    state       `active` after READY, `activating`, `failed` ...
    checks      name -> what `edge doctor` found; empty where it cannot say
    """

    invocation: str
    state: str
    status: str
    checks: dict[str, dict[str, Any]]

    def fact(self, name: str) -> Any:
        """Return what the broker keeps of it."""
        return self.checks.get("published", {}).get("facts", {}).get(name)

    def line(self) -> str:
        """Return what is wrong, in words."""
        asked = [self.checks.get(name) for name in ("config", "service", "broker", "published")]
        told = [f"{one['name']}: {one['line']}" for one in asked if one and one["verdict"] != "ok"]
        return "; ".join(told) or f"the service is {self.state} ({self.status})"


def look(*, doctor: bool = True) -> Seen:
    """Ask systemd, and the installed program about the broker."""
    names = ("InvocationID", "ActiveState", "Result", "ExecMainStatus")
    shown = run("systemctl", "show", NAME, "-p", ",".join(names), check=False).stdout
    values = dict(line.split("=", 1) for line in shown.splitlines() if "=" in line)
    checks = {}
    if doctor and shutil.which("edge"):
        with contextlib.suppress(ValueError, KeyError, subprocess.SubprocessError):
            told = run("edge", "doctor", "--json", check=False, timeout_s=DOCTOR_S).stdout
            checks = {one["name"]: one for one in json.loads(told)["checks"]}
    status = f"result {values.get('Result')}, exit status {values.get('ExecMainStatus')}"
    return Seen(values.get("InvocationID", ""), values.get("ActiveState", ""), status, checks)


def record() -> str:
    """Return dpkg's word of the package, and its version; empty where it knows none."""
    asked = ("dpkg-query", "-W", "-f", "${db:Status-Status} ${Version}", NAME)
    return run(*asked, check=False).stdout.strip()


def installed() -> str:
    """Return the version that is installed whole; empty where there is none."""
    status, _, version = record().partition(" ")
    return version if status == "installed" else ""


def run(
    *words: str, check: bool = True, timeout_s: float | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a program. Raises subprocess.SubprocessError."""
    return subprocess.run(
        words,
        check=check,
        timeout=timeout_s,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
    )


def reason(exc: Exception) -> str:
    """Return what a failure says, on one line."""
    if isinstance(exc, subprocess.CalledProcessError):
        lines = [line.strip() for line in exc.stderr.splitlines() if line.strip()]
        errors = [line for line in lines if "rror" in line or line.startswith("E: ")]
        return f"{exc.cmd[0]}: {(errors or lines or [f'status {exc.returncode}'])[0]}"
    return str(exc)


def say(text: str) -> None:
    """Tell whoever listens, and the journal: by then nobody may. One line, whatever is in it."""
    text = escaped(text)
    with contextlib.suppress(OSError):
        print(text, flush=True)
    with contextlib.suppress(OSError):
        subprocess.run(["logger", "-t", "edge-deploy", "--", text], check=False)
