"""Runs on the Pi for ``make deploy``, as root: install a package, see it healthy, or go back.

    systemd-run --unit=edge-deploy --pipe --wait python3 rollout.pyz DEB SHA256 TIMEOUT_S

Rule 1: the way back is there before anything is changed: the installed package is packed anew
        from its files, so a first deploy and one that came from anywhere else have it too.
        Where nothing is installed whole, or a version that was never seen healthy, an earlier
        deploy was cut off or ended badly: its way back is taken.
Rule 2: nothing here needs the connection: where that breaks, this goes on to its end. The unit's
        name is the lock that keeps two from running at once.
Rule 3: it asks `edge doctor`, which shows no secrets, and prints nothing else of the config.

Exit status: 0 the new package is healthy; 3 it was not, and the one before runs again, which the
last line says too; 70 it was not, and there is no healthy one before; 71 an error in here; 74
nothing was changed. Never 1, which python3, sudo and systemd-run end with too.
Standard library only: this folder and edge/text.py are sent as one file, to whatever python3 is
there.
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

from deploy.on_device.asking import NAME, Seen, installed, look, reason, record, run, say
from deploy.on_device.repack import repack

FOLDER: Final = Path("/var/cache/edge-camera")
PREVIOUS: Final = FOLDER / "previous.deb"
UNPROVEN: Final = FOLDER / "unproven"
"""The version that was put in last, as long as it has not been seen healthy: it is no way back."""
BACK: Final = 3
FAULT: Final = 71
RETURNED: Final = "gone back:"
"""How the last line begins where the status is BACK."""
POLL_S: Final = 1.0
SETTLED_S: Final = 10.0
"""How long it must stay healthy: some faults come after READY."""


class Refused(Exception):
    """apt has not begun: what was there is there, and runs on."""


def main(arguments: Sequence[str]) -> int:
    """Deploy; return the exit status, whatever happens."""
    try:
        return rollout(arguments)
    except Exception as exc:
        now = "not known"
        with contextlib.suppress(Exception):
            now = installed() or "none whole"
        said = f"{type(exc).__name__}: {reason(exc)}".replace("\n", " ")
        say(f"an error in the deploy itself: {said}; installed now: {now}; way back: {PREVIOUS}")
        return FAULT


def rollout(arguments: Sequence[str]) -> int:
    """Install, watch, go back; return the exit status."""
    package, sha256, timeout_s = Path(arguments[0]), arguments[1], float(arguments[2])
    os.environ |= {
        "DEBIAN_FRONTEND": "noninteractive",
        "NEEDRESTART_SUSPEND": "1",
        "LC_ALL": "C.UTF-8",
    }
    before, old, over = look(), installed(), "(there was none before)"
    try:
        package = package.replace(package.with_name("installing.deb"))  # nobody sends to that
        if hashlib.sha256(package.read_bytes()).hexdigest() != sha256:
            raise ValueError("another checksum than the package that was sent")
        new = run("dpkg-deb", "-f", str(package), "Version").stdout.strip()
        had = UNPROVEN.read_text() if UNPROVEN.exists() else ""
        if old and not (old == had and PREVIOUS.exists()):
            repack(NAME, PREVIOUS)
            over = f"over {old}"
        elif PREVIOUS.exists():
            why = f"{old} was never seen healthy" if old else "none is installed whole"
            old = run("dpkg-deb", "-f", str(PREVIOUS), "Version", check=False).stdout.strip()
            over = f"({why}; the way back is {old or 'not readable'})"
        unproven(new)
    except (OSError, ValueError, subprocess.SubprocessError) as exc:
        say(f"nothing changed: no way back could be made: {reason(exc)}")
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
        say(f"{new} is healthy")
        return 0
    say(f"{new} is not healthy: {wrong}")
    if not old:
        say("there was no package before it to go back to: see `edge doctor` there")
        return 70
    say(f"going back to {old}")
    try:
        wrong = put(PREVIOUS, old, before, timeout_s, silent=not before.checks)
    except Refused as exc:
        wrong = str(exc)
    if not wrong:
        UNPROVEN.unlink(missing_ok=True)
    say(f"{old} is not healthy either: {wrong}" if wrong else f"{RETURNED} {old} runs again")
    return 70 if wrong else BACK


def unproven(version: str) -> None:
    """Write down, to outlive the power, that ``version`` has not been seen healthy. OSError."""
    with UNPROVEN.open("w") as file:
        file.write(version)
        file.flush()
        os.fsync(file.fileno())


def put(package: Path, version: str, before: Seen, timeout_s: float, *, silent: bool) -> str:
    """Install ``package`` and wait until it is healthy; return what is wrong, else nothing.

    silent  it may lack `edge doctor`, as old versions do: READY is then all that it says

    Raises Refused.
    """
    start = look(doctor=False).invocation
    try:
        apt(package)
        if look(doctor=False).invocation == start:  # stopped before, or nobody may restart it
            run("systemctl", "reset-failed", NAME, check=False)
            run("systemctl", "--no-block", "restart", NAME)
    except subprocess.SubprocessError as exc:
        return reason(exc)
    until, healthy = time.monotonic() + timeout_s, ("", 0.0)
    while True:
        seen = look(doctor=False)
        wrong = f"the service is {seen.state} ({seen.status})"
        if seen.state == "active" and seen.invocation != start:
            seen = look()
            wrong = "" if silent and not seen.checks else judge(seen, version, before)
        now = time.monotonic()
        if wrong:
            healthy = ("", 0.0)
        elif healthy[0] != seen.invocation:
            healthy = (seen.invocation, now)
        elif now - healthy[1] >= SETTLED_S:
            return ""
        if seen.state == "failed" and seen.invocation != start:  # for good: nothing restarts it
            return look().line()
        if wrong and now > until:
            return wrong
        time.sleep(POLL_S)


def apt(package: Path) -> None:
    """Install ``package``. Raises subprocess.SubprocessError; Refused: nothing was begun."""
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


def judge(seen: Seen, version: str, before: Seen) -> str:
    """Return what is wrong with a service that has said READY; nothing where it is healthy."""
    if not seen.checks:
        return "`edge doctor` gives no answer"
    if not seen.fact("online"):
        return seen.line()
    # A login that may not read `info` sees that it is online, and not of which version.
    if (told := seen.fact("version")) is not None:
        if told != (wanted := version.partition("~")[0].partition("-")[0]):
            return f"the broker has version {told}, not {wanted}"
        if seen.fact("run") == before.fact("run"):
            return "the broker has what the start before this one said"
    if before.fact("camera") == "online" and seen.fact("camera") not in ("online", None):
        return f"its camera is {seen.fact('camera')}"
    return ""
