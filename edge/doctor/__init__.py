"""Is the device healthy; and if not, why, and what to do about it: `edge doctor`.

Rule 1: every probe has a deadline; one that hangs or raises is a fault and takes no other away.
Rule 2: it changes nothing, opens no camera, publishes nothing.
Rule 3: no secret is shown; what the probes let slip is struck out at the end.

The probes know parts of the daemon; this file runs them side by side and decides.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, unquote

from edge import __version__
from edge import config as configs
from edge.background import Call
from edge.config import Config, persisted
from edge.doctor import disk, journal, machine, service
from edge.doctor.checks import Check, Findings
from edge.doctor.service import Unit
from edge.errors import ConfigError
from edge.frames import Seconds
from edge.text import escaped

CONFIG: Final = Path("/etc/edge-camera/edge.toml")
STATE: Final = Path("/var/lib/edge-camera")
KEPT: Final = Path("/etc/edge-camera/credentials")
CREDENTIALS: Final = (Path("/run/credentials/edge-camera.service"), KEPT)
DEADLINE_S: Final = 20.0
CAMERA_S: Final = 25.0
"""On a Pi, importing picamera2 takes seconds."""
MODEL_S: Final = 45.0
"""On a Pi that is busy, a start takes seconds."""
SHORTEST: Final = 6
"""A shorter secret is not struck out: it may be part of any word."""
AGAIN: Final = "ask again; if it stays so, dmesg and journalctl -e may say why"
BOTH: Final = {"broker": ("broker", "published")}
"""The probe that makes two checks."""
Probe = Callable[[], Check | list[Check]]


def examine(given: Path | None) -> list[Check]:
    """Return every check, in the order in which they are to be read.

    given  the config; None for the service's, or the defaults
    """
    _as_the_service()
    asked, config = _config(given)
    checks = [asked, *together(_probes(config, service.read()))]
    secrets = _secrets(config)
    return [_cleaned(check, secrets) for check in checks]


def status(checks: list[Check]) -> int:
    """Return the exit status: 0 healthy, 1 not, 78 for the config."""
    faults = [check.name for check in checks if check.verdict == "fault"]
    if "config" in faults:
        return ConfigError.exit_status
    return 1 if faults else 0


def report(checks: list[Check]) -> dict[str, Any]:
    """Return what ``--json`` prints."""
    return {
        "healthy": status(checks) == 0,
        "version": __version__,
        "checks": [dataclasses.asdict(check) for check in checks],
    }


def _probes(config: Config | None, unit: Unit) -> dict[str, tuple[Probe, Seconds]]:
    """Return name -> probe and its deadline; in the order in which they are to be read."""
    state, kept = configs.state_folder(), config.spool if config else None
    spool = configs.spool_path(kept) if kept else None
    now_s = time.clock_gettime(time.CLOCK_MONOTONIC)
    return {
        "service": (lambda: service.check(unit, now_s), DEADLINE_S),
        "camera": (lambda: _camera(config, unit), CAMERA_S),
        "model": (lambda: _model(config), MODEL_S),
        "broker": (lambda: _broker(config, unit), DEADLINE_S),
        "clock": (machine.clock, DEADLINE_S),
        "heat": (machine.heat, DEADLINE_S),
        "disk": (lambda: disk.check(kept, spool, state), DEADLINE_S),
        "memory": (lambda: machine.memory(unit), DEADLINE_S),
        "events": (journal.read, DEADLINE_S),
    }


# These import what may be broken: OpenCV, TensorFlow Lite, paho.
def _camera(config: Config | None, unit: Unit) -> Check:
    from edge.doctor import camera

    return camera.check(config, unit)


def _model(config: Config | None) -> Check:
    from edge.doctor import model

    return model.check(config.model) if config else _without_config("model")


def _broker(config: Config | None, unit: Unit) -> list[Check]:
    from edge.doctor import broker

    if config is None:
        return [_without_config("broker"), _without_config("published")]
    return broker.check(config, unit)


def _without_config(name: str) -> Check:
    return Check(name, "unknown", "not known without a config")


def together(probes: dict[str, tuple[Probe, Seconds]]) -> list[Check]:
    """Run every probe on a thread of its own, each until its deadline."""
    begun = {name: (Call(probe, time.monotonic), end) for name, (probe, end) in probes.items()}
    checks: list[Check] = []
    for name, (call, deadline_s) in begun.items():
        why = f"no answer in {deadline_s:g} s"
        if call.wait(max(0.0, deadline_s - call.lasts_s())):
            try:
                found = call.result()
                checks += found if isinstance(found, list) else [found]
                continue
            except Exception as exc:  # whatever it is, the other probes are to be seen
                why = " ".join(f"could not be examined: {type(exc).__name__}: {exc}".split())
        checks += [Check(one, "fault", why, AGAIN) for one in BOTH.get(name, (name,))]
    return checks


def _as_the_service() -> None:
    """Take state and credentials from where systemd keeps them for the service."""
    if os.path.lexists(STATE):  # readable or not: what is for root to see is to be told
        os.environ.setdefault("STATE_DIRECTORY", str(STATE))
    for folder in CREDENTIALS:
        if os.access(folder, os.R_OK | os.X_OK):
            os.environ.setdefault("CREDENTIALS_DIRECTORY", str(folder))


def _config(given: Path | None) -> tuple[Check, Config | None]:
    found, config = Findings("config"), None
    path = given or (CONFIG if os.path.lexists(CONFIG) else None)
    found.facts = {"path": str(path) if path else None, "device": None}
    try:
        config = configs.load(path, settings=persisted.read())
    except ConfigError as exc:
        if isinstance(exc.__cause__, PermissionError):
            found.wrong("unknown", str(exc), "run it as root: sudo edge doctor")
        else:
            found.error(exc, "edge check --config FILE says when it is mended")
    else:
        found.facts["device"] = config.device.id
        found.say(f"{path or 'defaults, for there is no ' + str(CONFIG)}: valid")
        found.say(f"device {config.device.id}")
    _modes(found, KEPT)
    return found.check(), config


def _modes(found: Findings, folder: Path) -> None:
    """Warn of a credential that is not for its owner alone; one that is encrypted may be."""
    with contextlib.suppress(OSError):  # none are there, or root's alone
        for file in sorted(folder.iterdir()):
            mode = stat.S_IMODE(file.stat().st_mode)
            if mode & 0o077 and file.suffix != ".cred":
                found.wrong("warning", f"{file} has mode {mode:03o}", f"chmod 600 {file}")


def _secrets(config: Config | None) -> set[str]:
    """Return every secret that the config leads to, as it may be written."""
    if config is None:
        return set()
    found = set()
    for table in (config.mqtt, config.camera):
        with contextlib.suppress(ConfigError):
            found.add(configs.password(table))
    rest = config.camera.source.partition("://")[2]
    found.add(rest.rpartition("@")[0].partition(":")[2])
    found.add(rest.partition("?")[2])
    forms = {form for one in found for form in (one, quote(one, safe=""), unquote(one))}
    return forms | set(map(escaped, forms))  # as an error or a log line has it


def _cleaned(value: Any, secrets: set[str]) -> Any:
    """Return ``value`` without secrets, what a terminal would obey, and what JSON has not."""
    if isinstance(value, str):
        for secret in sorted(secrets, key=len, reverse=True):
            value = value.replace(secret, "***") if len(secret) >= SHORTEST else value
        return escaped(value)
    if isinstance(value, dict):
        return {escaped(str(key)): _cleaned(inner, secrets) for key, inner in value.items()}
    if isinstance(value, list):
        return [_cleaned(inner, secrets) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Check):
        names = [field.name for field in dataclasses.fields(value)]
        cleaned = {name: _cleaned(getattr(value, name), secrets) for name in names}
        return Check(**cleaned)
    return value
