"""The way back of a rollout that was stopped: the package before, as a failed deploy goes back.

    systemd-run --unit=edge-deploy --pipe --wait python3 rollout.pyz back VERSION TIMEOUT_S

Only from VERSION, which the rollout installed: what somebody else has installed since stays.

Exit status: 3 the previous package runs again, as the last line says, or VERSION is not installed;
70 it could not go back; 71 an internal error. Never 0 or 1.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence

from deploy.on_device import rollout
from deploy.on_device.rollout import BACK, FAULT, RETURNED, Refused, put, unproven
from deploy.on_device.state import PROVEN, installed, look, reason, remember, run, say


def main(arguments: Sequence[str]) -> int:
    """Go back; return the exit status, whatever happens."""
    try:
        return back(arguments[0], float(arguments[1]))
    except Exception as exc:
        error = f"{type(exc).__name__}: {reason(exc)}".replace("\n", " ")
        say(f"internal error of going back: {error}; previous package: {rollout.PREVIOUS}")
        return FAULT


def back(version: str, timeout_s: float) -> int:
    """Install the previous package, check health; return the exit status."""
    os.environ |= rollout.QUIET
    now, previous = installed(), rollout.PREVIOUS
    if now and now != version:
        if look(doctor=False).state != "active":
            say(f"{now} is installed, not {version}, and not READY: left as it is")
            return 70
        say(f"{RETURNED} {now} is installed, not {version}: left as it is")
        return BACK
    if not previous.exists():
        say(f"no previous package to go back to from {version}")
        return 70
    old = run("dpkg-deb", "-f", str(previous), "Version").stdout.strip()
    before = look()
    unproven(version)  # an interruption must not keep it as a version to go back to
    remember(PROVEN, "")
    say(f"going back from {version} to {old}")
    try:
        wrong = put(previous, old, before, timeout_s, silent=True)
    except (Refused, subprocess.SubprocessError) as exc:
        wrong = reason(exc)
    if wrong:
        say(f"{old} is not healthy: {wrong}")
        return 70
    rollout.UNPROVEN.unlink(missing_ok=True)
    say(f"{RETURNED} {old} runs again")
    return BACK
