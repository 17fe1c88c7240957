"""Health of the device: `edge doctor` says what is wrong, why, and what to do about it.

examine, status, report  run every probe; the exit status and the JSON that follow
checks.py        the result of a probe: a verdict, a line of facts, a hint
service.py       what systemd reports about the service
camera.py        which cameras there are, and whether the service could open its own
model.py         the attested start, again
bundles.py       whether signed models can be added, where the config asks for them
broker.py        the way to the broker: name, port, login
tls.py           the broker's certificate, and why it is refused
certificates.py  hints for OpenSSL's verify codes
local.py         the daemon itself, over its local socket
published.py     what subscribers receive from this device, and how old it is
machine.py       clock, temperature, power supply and memory
disk.py          free space on the disk, events in the spool, wear
journal.py       the last events of the service
shown.py         the output on a terminal and elsewhere

Rule 1: every probe has a deadline; one that hangs or raises is a fault, and the others go on.
Rule 2: it changes nothing, opens no camera, publishes nothing.
Rule 3: no secret is printed; secrets in a probe's output are redacted at the end.
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

CONFIG: Final = configs.SERVICE_CONFIG
STATE: Final = configs.SERVICE_STATE
STORED: Final = Path("/etc/edge-camera/credentials")
CREDENTIALS: Final = (Path("/run/credentials/edge-camera.service"), STORED)
DEADLINE_S: Final = 20.0
CAMERA_S: Final = 25.0
"""On a Pi, importing picamera2 takes seconds."""
MODEL_S: Final = 45.0
"""On a busy Pi, a start takes seconds."""
SHORTEST: Final = 6
"""A shorter secret is not redacted: it may be part of any word."""
AGAIN: Final = "run it again; if that does not help, see dmesg and journalctl -e"
BOTH: Final = {"broker": ("broker", "published")}
"""The probe that returns two checks."""
Probe = Callable[[], Check | list[Check]]


def examine(given: Path | None) -> list[Check]:
    """Return every check, in reading order.

    given  the config file; None for the service's, or the defaults
    """
    _as_the_service()
    check, config = _config(given)
    checks = [check, *together(_probes(config, service.read()))]
    secrets = _secrets(config)
    return [_redacted(check, secrets) for check in checks]


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
    """Return name -> probe and its deadline, in reading order."""
    state, events = configs.state_folder(), config.spool if config else None
    spool = configs.spool_path(events) if events else None
    now_s = time.clock_gettime(time.CLOCK_MONOTONIC)
    bundles: dict[str, tuple[Probe, Seconds]] = {}
    if config is not None and (config.bundles.fetch or config.bundles.signed_only):
        bundles = {"bundles": (lambda: _bundles(config), DEADLINE_S)}
    return {
        "service": (lambda: service.check(unit, now_s), DEADLINE_S),
        "camera": (lambda: _camera(config, unit), CAMERA_S),
        "model": (lambda: _model(config), MODEL_S),
        **bundles,
        "broker": (lambda: _broker(config, unit), DEADLINE_S),
        "local": (lambda: _local(config, unit), DEADLINE_S),
        "clock": (machine.clock, DEADLINE_S),
        "heat": (machine.heat, DEADLINE_S),
        "disk": (lambda: disk.check(events, spool, state), DEADLINE_S),
        "memory": (lambda: machine.memory(unit), DEADLINE_S),
        "events": (journal.read, DEADLINE_S),
    }


# These import libraries that may be broken: OpenCV, TensorFlow Lite, paho.
def _camera(config: Config | None, unit: Unit) -> Check:
    from edge.doctor import camera

    return camera.check(config, unit)


def _model(config: Config | None) -> Check:
    from edge.doctor import model

    return model.check(config) if config else _without_config("model")


def _bundles(config: Config) -> Check:
    from edge.doctor import bundles

    return bundles.check(config)


def _broker(config: Config | None, unit: Unit) -> list[Check]:
    from edge.doctor import broker

    if config is None:
        return [_without_config("broker"), _without_config("published")]
    return broker.check(config, unit)


def _local(config: Config | None, unit: Unit) -> Check:
    from edge.doctor import local

    return local.check(config, unit) if config else _without_config("local")


def _without_config(name: str) -> Check:
    return Check(name, "unknown", "cannot be judged without a config")


def together(probes: dict[str, tuple[Probe, Seconds]]) -> list[Check]:
    """Run every probe on a thread of its own, each until its deadline."""
    calls = {name: (Call(probe, time.monotonic), limit) for name, (probe, limit) in probes.items()}
    checks: list[Check] = []
    for name, (call, deadline_s) in calls.items():
        reason = f"no answer in {deadline_s:g} s"
        if call.wait(max(0.0, deadline_s - call.lasts_s())):
            try:
                result = call.result()
                checks += result if isinstance(result, list) else [result]
                continue
            except Exception as exc:  # of any kind: the other probes must go on
                reason = " ".join(f"the probe failed: {type(exc).__name__}: {exc}".split())
        checks += [Check(one, "fault", reason, AGAIN) for one in BOTH.get(name, (name,))]
    return checks


def _as_the_service() -> None:
    """Take state and credentials from where systemd keeps them for the service."""
    if os.path.lexists(STATE):  # readable or not: a probe says what only root can read
        os.environ.setdefault("STATE_DIRECTORY", str(STATE))
    for folder in CREDENTIALS:
        if os.access(folder, os.R_OK | os.X_OK):
            os.environ.setdefault("CREDENTIALS_DIRECTORY", str(folder))


def _config(given: Path | None) -> tuple[Check, Config | None]:
    findings, config = Findings("config"), None
    path = given or (CONFIG if os.path.lexists(CONFIG) else None)
    findings.facts = {"path": str(path) if path else None, "device": None}
    try:
        config = configs.load(path, settings=persisted.read())
    except ConfigError as exc:
        if isinstance(exc.__cause__, PermissionError):
            findings.wrong("unknown", str(exc), "run it as root: sudo edge doctor")
        else:
            findings.error(exc, "correct it, then run edge check --config FILE")
    else:
        findings.facts["device"] = config.device.id
        findings.say(f"{path or f'defaults, because {CONFIG} does not exist'}: valid")
        findings.say(f"device {config.device.id}")
    _modes(findings, STORED)
    return findings.check(), config


def _modes(findings: Findings, folder: Path) -> None:
    """Warn of a credential that others than its owner may read; an encrypted one is no secret."""
    with contextlib.suppress(OSError):  # there are none, or only root may list them
        for file in sorted(folder.iterdir()):
            mode = stat.S_IMODE(file.stat().st_mode)
            if mode & 0o077 and file.suffix != ".cred":
                findings.wrong("warning", f"{file} has mode {mode:03o}", f"chmod 600 {file}")


def _secrets(config: Config | None) -> set[str]:
    """Return every secret that the config leads to, in every form that it may have in a text."""
    if config is None:
        return set()
    secrets = set()
    for table in (config.mqtt, config.camera):
        with contextlib.suppress(ConfigError):
            secrets.add(configs.password(table))
    rest = config.camera.source.partition("://")[2]
    secrets.add(rest.rpartition("@")[0].partition(":")[2])
    secrets.add(rest.partition("?")[2])
    forms = {form for one in secrets for form in (one, quote(one, safe=""), unquote(one))}
    return forms | set(map(escaped, forms))  # as an error or a log line has it


def _redacted(value: Any, secrets: set[str]) -> Any:
    """Return ``value`` without secrets, terminal control sequences, and numbers unknown to JSON."""
    if isinstance(value, str):
        for secret in sorted(secrets, key=len, reverse=True):
            value = value.replace(secret, "***") if len(secret) >= SHORTEST else value
        return escaped(value)
    if isinstance(value, dict):
        return {escaped(str(key)): _redacted(inner, secrets) for key, inner in value.items()}
    if isinstance(value, list):
        return [_redacted(inner, secrets) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Check):
        names = [field.name for field in dataclasses.fields(value)]
        return Check(**{name: _redacted(getattr(value, name), secrets) for name in names})
    return value
