"""The state of the service on the Pi: from systemd, dpkg and `edge doctor`, without secrets."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from edge.text import escaped  # sent to the Pi with this file; it imports nothing else

NAME: Final = "edge-camera"
PROVEN: Final = Path("/var/cache/edge-camera/proven")
"""VERSION SHA256 of the package that `make deploy` installed last and found healthy."""
REFUSED: Final = PROVEN.with_name("refused")
"""SHA256 of the package that was not healthy, where the last deploy ended in going back."""
MARKS: Final = PROVEN.with_name("bundles")
"""SHA256 of a bundle that was added by a rollout -> a file with the name it has."""
DOCTOR_S: Final = 90.0
"""Its slowest probe loads the model, while the service is starting on the same Pi."""


@dataclass(frozen=True, slots=True)
class Service:
    """The service, and what the broker keeps of it.

    invocation  systemd's id of this start
    state       `active` after READY, `activating`, `failed` ...
    checks      name -> a check of `edge doctor`; empty where it gave no answer
    """

    invocation: str
    state: str
    status: str
    checks: dict[str, dict[str, Any]]

    def fact(self, name: str) -> Any:
        """Return one value that the broker keeps of the device."""
        return self.checks.get("published", {}).get("facts", {}).get(name)

    def line(self) -> str:
        """Return what is wrong, on one line."""
        checks = [self.checks.get(name) for name in ("config", "service", "broker", "published")]
        lines = [
            f"{one['name']}: {one['line']}" for one in checks if one and one["verdict"] != "ok"
        ]
        return "; ".join(lines) or f"the service is {self.state} ({self.status})"


def look(*, doctor: bool = True) -> Service:
    """Query systemd and, with ``doctor``, the installed `edge doctor`."""
    names = ("InvocationID", "ActiveState", "Result", "ExecMainStatus")
    output = run("systemctl", "show", NAME, "-p", ",".join(names), check=False).stdout
    values = dict(line.split("=", 1) for line in output.splitlines() if "=" in line)
    checks = {}
    if doctor and shutil.which("edge"):
        with contextlib.suppress(ValueError, KeyError, subprocess.SubprocessError):
            report = run("edge", "doctor", "--json", check=False, timeout_s=DOCTOR_S).stdout
            checks = {one["name"]: one for one in json.loads(report)["checks"]}
    status = f"result {values.get('Result')}, exit status {values.get('ExecMainStatus')}"
    return Service(values.get("InvocationID", ""), values.get("ActiveState", ""), status, checks)


def record() -> str:
    """Return dpkg's state of the package, and its version; empty where it knows none."""
    query = ("dpkg-query", "-W", "-f", "${db:Status-Status} ${Version}", NAME)
    return run(*query, check=False).stdout.strip()


def installed() -> str:
    """Return the version that is installed completely; empty where there is none."""
    status, _, version = record().partition(" ")
    return version if status == "installed" else ""


def marks(name: str) -> list[Path]:
    """Return the marks of bundles that were added under this name: their names are checksums."""
    found = []
    with contextlib.suppress(OSError):
        for path in sorted(MARKS.iterdir()):
            if path.read_text().strip() == name:
                found.append(path)
    return found


def remember(path: Path, text: str) -> None:
    """Write a small file for the next rollout; empty text removes it. Without it, more is done."""
    with contextlib.suppress(OSError):
        if text:
            path.write_text(f"{text}\n")
        else:
            path.unlink(missing_ok=True)


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
    """Return an exception's message, on one line."""
    if isinstance(exc, subprocess.CalledProcessError):
        lines = [line.strip() for line in exc.stderr.splitlines() if line.strip()]
        errors = [line for line in lines if "rror" in line or line.startswith("E: ")]
        return f"{exc.cmd[0]}: {(errors or lines or [f'status {exc.returncode}'])[0]}"
    return str(exc)


def say(text: str) -> None:
    """Print one line, and log it to the journal: the connection may be gone by then."""
    text = escaped(text)
    with contextlib.suppress(OSError):
        print(text, flush=True)
    with contextlib.suppress(OSError):
        subprocess.run(["logger", "-t", "edge-deploy", "--", text], check=False)
