"""Asks the daemon itself over its local socket: works without a broker."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Final

from edge import config as configs
from edge.config import Config
from edge.doctor.checks import Check, Findings, lasted
from edge.doctor.service import Unit
from edge.errors import EdgeError, LocalError
from edge.local import LocalClient

ANSWER_S: Final = 5.0
ROOT: Final = "run it as root: sudo edge doctor; or join the group edge-camera-local"
SEE: Final = "journalctl -u edge-camera -g 'local socket'"


def check(config: Config, unit: Unit) -> Check:
    """Judge whether the daemon answers there, and what it sees."""
    findings = Findings("local")
    path = configs.local_path(config.local)
    if config.local.enabled and config.local.path == "auto" and unit.installed:
        path = configs.SERVICE_SOCKET
    findings.facts["path"] = str(path) if path else None
    if path is None:
        why = "without a service it needs local.path" if config.local.enabled else "switched off"
        findings.say(f"no local socket: {why}")
        return findings.check()
    try:
        _ask(findings, path)
    except LocalError as exc:
        denied = isinstance(exc.__cause__, PermissionError)
        at_fault = unit.running and not denied
        line = str(exc).removesuffix(f"; {exc.hint}")
        findings.wrong(
            "fault" if at_fault else "unknown", line, SEE if at_fault else ROOT if denied else ""
        )
    except EdgeError as exc:
        findings.error(exc)
    return findings.check()


def _ask(findings: Findings, path: Path) -> None:
    """Ask for a sign of life, and read what is current. Raises EdgeError."""
    current: dict[str, Any] = {}
    with LocalClient(path, ANSWER_S) as client:
        begin_s = time.monotonic()
        answer = client.request("ping")
        findings.facts["answer_ms"] = round(1000 * (time.monotonic() - begin_s), 1)
        until_s = time.monotonic() + ANSWER_S
        while "availability" not in current and time.monotonic() < until_s:
            message = client.receive(max(0.0, until_s - time.monotonic()))
            if message is not None and message.topic != "snapshot":
                current[message.topic] = message.body()
    findings.facts |= {"run": answer["run"], "version": answer["version"]}
    findings.say(f"{path} answers in {findings.facts['answer_ms']:.0f} ms")
    camera = current.get("info", {}).get("camera", {})
    if camera.get("state", "online") != "online":
        findings.wrong("fault", f"its camera is {camera['state']}", "see `camera`")
    if state := current.get("state"):
        age_s = time.time() - state["ts"]
        label = f"{state['label'] or 'uncertain'} {state['score']:.2f}"
        findings.facts |= {"label": state["label"], "state_age_s": round(age_s, 1)}
        findings.say(f"{label}, {lasted(age_s)} ago")
