"""What a device says of itself, for the gates of a rollout: one line of JSON. Changes nothing.

    python3 rollout.pyz facts SECONDS

From dpkg, systemd, `edge doctor --json` and the daemon's local socket, watched for SECONDS. What is
not known is left out: a version without that socket, a service that does not run.
"""

from __future__ import annotations

import contextlib
import json
import statistics
import subprocess
import time
from collections import Counter
from typing import Any, Final

from deploy.on_device.asking import AskError, Daemon
from deploy.on_device.state import NAME, PROVEN, REFUSED, Service, installed, look, marks, run

TRIES_S: Final = 10.0
"""A daemon that has just begun listens a moment later."""
LABELS: Final = 50
SINCE: Final = "-2h"
"""How old the daemon's reason to take a model back may be."""
JUDGED: Final = ("config", "service", "model", "local", "camera", "disk")
"""Checks of `edge doctor` that a new version or model can break; `published` is `online`."""


def tell(seconds: float) -> dict[str, Any]:
    """Return all that is known, after watching for ``seconds``."""
    service = look()
    known: dict[str, Any] = {
        "installed": installed(),
        "package": proven(),
        "refused": REFUSED.read_text().strip() if REFUSED.exists() else None,
        "state": service.state,
        "restarts": restarts(),
        "online": service.fact("online"),
        "camera": service.fact("camera"),
        "version": service.fact("version"),
        "run": service.fact("run"),
        "faults": faults(service),
    }
    where = service.checks.get("local", {}).get("facts", {}).get("path") or ""
    until_s = time.monotonic() + TRIES_S
    while service.state == "active":
        try:
            with Daemon(str(where)) as daemon:
                known |= watched(daemon, seconds)
            break
        except (AskError, KeyError, TypeError, ValueError) as exc:
            known["socket"] = str(exc)
            if time.monotonic() > until_s:
                break
            time.sleep(1)
    return {name: value for name, value in known.items() if value is not None}


def watched(daemon: Daemon, seconds: float) -> dict[str, Any]:
    """Return what the daemon says, and what its frames and telemetry show meanwhile."""
    ping = daemon.request("ping")
    begin_s, first = time.monotonic(), daemon.request("stats")
    with contextlib.suppress(AskError):  # an older version does not know it
        daemon.request("subscribe", results=True)
    labels: Counter[str] = Counter()
    p99s: list[float] = []
    for message in daemon.messages(seconds):
        if message.topic == "frame" and (scores := message.body.get("scores")):
            labels[max(scores, key=scores.__getitem__)] += 1
        elif message.topic == "telemetry" and not message.retained:
            p99s += _p99(message.body)
    last, lasted_s = daemon.request("stats"), time.monotonic() - begin_s
    p99s = p99s or _p99(last)
    frames = last["frames_total"] - first["frames_total"]
    invalid = last["invalid_scores_total"] - first["invalid_scores_total"]
    drift = last.get("drift") or {}
    models = daemon.request("model", action="list")
    camera = daemon.current.get("info", {}).get("camera", {}).get("state")
    known = {
        "version": ping["version"],
        "run": ping["run"],
        "model": models.get("in_use"),
        "fps": round(frames / lasted_s, 2) if seconds else None,
        "p99_ms": round(statistics.median(p99s), 3) if p99s else None,
        "invalid": round(invalid / frames, 4) if frames else None,
        "drift": str(drift["reason"]) if "reason" in drift else None,
        "labels": dict(labels.most_common(LABELS)),
    }
    return known | ({"camera": camera} if camera else {})


def _p99(telemetry: dict[str, Any]) -> list[float]:
    """Return the p99 of a whole frame, as a list of one; empty without frames."""
    stage = telemetry.get("stages_ms", {}).get("pipeline")
    return [float(stage["p99"])] if stage else []


def faults(service: Service) -> list[str]:
    """Return the judged checks that are a fault."""
    return [name for name in JUDGED if service.checks.get(name, {}).get("verdict") == "fault"]


def restarts() -> int | None:
    """Return how often systemd has restarted the service by itself since it was started."""
    shown = run("systemctl", "show", NAME, "-p", "NRestarts", "--value", check=False).stdout
    return int(shown) if shown.strip().isdigit() else None


def proven() -> str:
    """Return the checksum of the installed package where `make deploy` found it healthy."""
    with contextlib.suppress(OSError, ValueError):
        version, digest = PROVEN.read_text().split()
        if version == installed():
            return digest
    return ""


def reason_of_return() -> str:
    """Return what the journal says of the last model that was taken back by the daemon itself.

    With its time: the same may happen twice.
    """
    of = ("journalctl", "-q", "-u", NAME, "-S", SINCE, "-g", "^model .* again: ")
    words = (*of, "-n", "1", "-o", "short-iso")
    with contextlib.suppress(subprocess.SubprocessError):
        said = run(*words, check=False, timeout_s=10).stdout.strip()
        at, _, rest = said.partition(" ")
        return f"{at}: {rest.partition(']: ')[2]}" if rest else ""
    return ""


def main(arguments: list[str]) -> int:
    """Print the facts; return the exit status."""
    known = tell(float(arguments[0]))
    model = known.get("model")
    known["bundle"] = next((one.name for one in marks(str(model))), "")
    if len(arguments) > 1 and arguments[1] and model not in (None, arguments[1]):
        known["went_back"] = reason_of_return()
    print(json.dumps(known), flush=True)
    return 0
