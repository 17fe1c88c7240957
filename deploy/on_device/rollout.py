"""The part of ``make deploy`` that runs on the Pi, as root: install, check health, or go back.

    systemd-run --unit=edge-deploy --pipe --wait python3 rollout.pyz DEB SHA256 TIMEOUT_S

Rule 1: the previous package exists before anything is changed: it is packed again from the
        installed files, so that also a first deploy can go back. Where no package is installed
        completely, or only a version that was never healthy, an earlier deploy was interrupted
        or failed: its previous package is used.
Rule 2: nothing here needs the connection: if that breaks, the work continues to its end. The
        unit's name is the lock that prevents two deploys at the same time.
Rule 3: it prints only what `edge doctor` reports, which contains no secrets.

Exit status: 0 the new package is healthy; 3 it was not, and the previous one runs again, as the
last line says; 70 it was not, and there is no healthy previous one; 71 an internal error; 74
nothing was changed. Never 1, which python3, sudo and systemd-run also use.
Standard library only: this folder and edge/text.py are sent as one file, and run by the device's
python3.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from deploy.on_device.repack import repack
from deploy.on_device.state import (
    NAME,
    PROVEN,
    REFUSED,
    Service,
    installed,
    look,
    reason,
    record,
    remember,
    run,
    say,
)

FOLDER: Final = Path("/var/cache/edge-camera")
PREVIOUS: Final = FOLDER / "previous.deb"
UNPROVEN: Final = FOLDER / "unproven"
"""The version installed last, until it is healthy: going back to it would not help."""
QUIET: Final = {
    "DEBIAN_FRONTEND": "noninteractive",
    "NEEDRESTART_SUSPEND": "1",
    "LC_ALL": "C.UTF-8",
}
BACK: Final = 3
FAULT: Final = 71
RETURNED: Final = "gone back:"
"""How the last line begins where the status is BACK."""
POLL_S: Final = 1.0
SETTLED_S: Final = 10.0
"""How long it must stay healthy: some faults appear after READY."""


class Refused(Exception):
    """apt did not begin: the installed package is unchanged and keeps running."""


def main(arguments: Sequence[str]) -> int:
    """Deploy; return the exit status, whatever happens."""
    try:
        return rollout(arguments)
    except Exception as exc:
        now = "unknown"
        with contextlib.suppress(Exception):
            now = installed() or "none completely"
        error = f"{type(exc).__name__}: {reason(exc)}".replace("\n", " ")
        say(
            f"internal error of the deploy: {error}; installed: {now}; previous package: {PREVIOUS}"
        )
        return FAULT


def rollout(arguments: Sequence[str]) -> int:
    """Install, check health, go back if needed; return the exit status."""
    package, sha256, timeout_s = Path(arguments[0]), arguments[1], float(arguments[2])
    os.environ |= QUIET
    before, old, over = look(), installed(), "(no version before)"
    try:
        package = package.replace(package.with_name("installing.deb"))  # no deploy sends to it
        if hashlib.sha256(package.read_bytes()).hexdigest() != sha256:
            raise ValueError("the checksum differs from that of the package that was sent")
        new = run("dpkg-deb", "-f", str(package), "Version").stdout.strip()
        had = UNPROVEN.read_text() if UNPROVEN.exists() else ""
        if old and not (old == had and PREVIOUS.exists()):
            repack(NAME, PREVIOUS)
            over = f"over {old}"
        elif PREVIOUS.exists():
            why = f"{old} was never healthy" if old else "none is installed completely"
            old = run("dpkg-deb", "-f", str(PREVIOUS), "Version", check=False).stdout.strip()
            over = f"({why}; the previous package is {old or 'unreadable'})"
        unproven(new)
        remember(PROVEN, "")
        remember(REFUSED, "")
    except (OSError, ValueError, subprocess.SubprocessError) as exc:
        say(f"nothing changed: the installed package could not be kept: {reason(exc)}")
        return 74
    say(f"installing {new} {over}")
    try:
        wrong = put(package, new, before, timeout_s, silent=False)
    except Refused as exc:
        unproven(had)
        say(f"nothing changed: {exc}")
        return 74
    finally:
        package.unlink(missing_ok=True)
    if not wrong:
        UNPROVEN.unlink(missing_ok=True)
        remember(PROVEN, f"{new} {sha256}")
        say(f"{new} is healthy")
        return 0
    say(f"{new} is not healthy: {wrong}")
    if not old:
        say("no previous package to go back to; run `sudo edge doctor` on the device")
        return 70
    say(f"going back to {old}")
    try:
        wrong = put(PREVIOUS, old, before, timeout_s, silent=not before.checks)
    except Refused as exc:
        wrong = str(exc)
    if not wrong:
        UNPROVEN.unlink(missing_ok=True)
        remember(REFUSED, sha256)  # not before: until now the new one is there
    say(f"{old} is not healthy either: {wrong}" if wrong else f"{RETURNED} {old} runs again")
    return 70 if wrong else BACK


def unproven(version: str) -> None:
    """Record durably that ``version`` is not known to be healthy. Raises OSError."""
    with UNPROVEN.open("w") as file:
        file.write(version)
        file.flush()
        os.fsync(file.fileno())


def put(package: Path, version: str, before: Service, timeout_s: float, *, silent: bool) -> str:
    """Install ``package`` and wait until it is healthy; return what is wrong, empty if nothing.

    silent  it may be an old version without `edge doctor`: READY is then enough

    Raises Refused.
    """
    start = look(doctor=False).invocation
    try:
        apt(package)
        if look(doctor=False).invocation == start:  # it was stopped, or is not restarted
            run("systemctl", "reset-failed", NAME, check=False)
            run("systemctl", "--no-block", "restart", NAME)
    except subprocess.SubprocessError as exc:
        return reason(exc)
    until, healthy = time.monotonic() + timeout_s, ("", 0.0)
    while True:
        service = look(doctor=False)
        wrong = f"the service is {service.state} ({service.status})"
        if service.state == "active" and service.invocation != start:
            service = look()
            wrong = "" if silent and not service.checks else judge(service, version, before)
        now = time.monotonic()
        if wrong:
            healthy = ("", 0.0)
        elif healthy[0] != service.invocation:
            healthy = (service.invocation, now)
        elif now - healthy[1] >= SETTLED_S:
            return ""
        if service.state == "failed" and service.invocation != start:  # systemd does not restart it
            return look().line()
        if wrong and now > until:
            return wrong
        time.sleep(POLL_S)


def apt(package: Path) -> None:
    """Install ``package``. Raises subprocess.SubprocessError, or Refused: nothing was changed."""
    had, start = record(), look(doctor=False)
    try:
        run(
            *("apt-get", "-qq", "-o", "DPkg::Lock::Timeout=120", "-o", "APT::Sandbox::User=root"),
            *("-o", "Dpkg::Options::=--force-confold", "--no-install-recommends", "-y"),
            *("--reinstall", "--allow-downgrades", "install", str(package)),
        )
    except subprocess.SubprocessError as exc:
        whole = had.partition(" ")[0] in ("", "installed", "config-files", "not-installed")
        now = look(doctor=False)
        same = (now.invocation, now.state) == (start.invocation, start.state)
        if whole and same and record() == had:
            raise Refused(reason(exc)) from None
        raise


def judge(service: Service, version: str, before: Service) -> str:
    """Return what is wrong with a service that is READY; empty where it is healthy."""
    if not service.checks:
        return "`edge doctor` gives no answer"
    if not service.fact("online"):
        return service.line()
    # A login that may not read `info` sees `online`, but not the version.
    if (published := service.fact("version")) is not None:
        if published != (expected := version.partition("~")[0].partition("-")[0]):
            return f"the broker has version {published}, not {expected}"
        if service.fact("run") == before.fact("run"):
            return "the broker has only the message of the previous start"
    if before.fact("camera") == "online" and service.fact("camera") not in ("online", None):
        return f"its camera is {service.fact('camera')}"
    return ""
