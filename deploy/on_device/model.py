"""The part of ``make rollout`` that runs on the device, as root: a model is added, tried, used.

    python3 rollout.pyz model add PATH SHA256     ends in {"name": "gate@2"}
    python3 rollout.pyz model shadow NAME S       S seconds beside the model at work; its figures
    python3 rollout.pyz model use NAME            by the request `model`: proven first, then used
    python3 rollout.pyz model back NAME           the model before; NAME is removed

Each ends in one line of JSON; on an error `{"error": ...}` and status 74: this step has changed
nothing. The daemon's own probation goes on, and takes a model back by itself that does not do.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from deploy.on_device import state
from deploy.on_device.asking import AskError, Daemon
from deploy.on_device.state import marks, reason, run

PROOF_S: Final = 240.0
"""A strange model is tried in a child process, on a busy Pi."""
LOADED_S: Final = 240.0
MARGIN_S: Final = 120.0
"""A shadow ends by itself so long after it has been read, where nobody uses its model."""
CARD: Final = "model.toml"


class RefusedError(Exception):
    """The step was refused; one line."""


def main(arguments: list[str]) -> int:
    """Do one step; print one line of JSON; return the exit status."""
    step, *rest = arguments
    try:
        print(json.dumps(STEPS[step](*rest)), flush=True)
    except (RefusedError, AskError, OSError, tarfile.TarError, subprocess.SubprocessError) as exc:
        print(json.dumps({"error": " ".join(reason(exc).split())[:1000]}), flush=True)
        return 74
    return 0


def add(path: str, sha256: str) -> dict[str, Any]:
    """Install a bundle: a tar of a folder (`.tar`), or a file as `edge models add` takes it."""
    bundle = Path(path)
    try:
        return _added(bundle, sha256)
    finally:
        bundle.unlink(missing_ok=True)


def _added(bundle: Path, sha256: str) -> dict[str, Any]:
    with bundle.open("rb") as stream:
        if hashlib.file_digest(stream, "sha256").hexdigest() != sha256:
            raise RefusedError("the checksum differs from that of the bundle that was sent")
    mark = state.MARKS / sha256
    if mark.exists() and (name := mark.read_text().strip()) in names():
        return {"name": name, "had": True}
    with tempfile.TemporaryDirectory(prefix="edge-model-", dir=bundle.parent) as made:
        given = bundle
        if bundle.suffix == ".tar":
            given = Path(made) / "bundle"
            unpack(bundle, given)
        done = run("edge", "models", "add", str(given), "--json", check=False)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"status {done.returncode}"]
        raise RefusedError(lines[-1])
    try:
        name = str(json.loads(done.stdout.strip().splitlines()[-1])["name"])
    except (ValueError, KeyError, IndexError, TypeError):
        raise RefusedError("edge models add: no name in its answer") from None
    state.MARKS.mkdir(mode=0o700, exist_ok=True)
    mark.write_text(name)
    return {"name": name, "had": False}


def unpack(bundle: Path, to: Path) -> None:
    """Unpack regular files without folders into a new folder. Raises RefusedError."""
    to.mkdir(mode=0o700)
    with tarfile.open(bundle, "r:") as archive:
        for member in archive:
            name = member.name
            if not member.isfile() or "/" in name or name in ("", ".", ".."):
                raise RefusedError(f"{name}: not a plain file of a model")
            stream = archive.extractfile(member)
            assert stream is not None
            with stream, (to / name).open("xb") as out:
                shutil.copyfileobj(stream, out)


def shadow(name: str, seconds: str) -> dict[str, Any]:
    """Run a model beside the one at work; return its agreement and figures."""
    asked_s = float(seconds)
    with Daemon() as daemon:
        if daemon.request("model", action="list").get("in_use") == name:
            return {"state": "at_work"}
        daemon.request("shadow", action="start", name=name, seconds=asked_s + LOADED_S + MARGIN_S)
        begin_s = time.monotonic()
        while (figures := daemon.request("shadow"))["state"] == "loading":
            if time.monotonic() - begin_s > LOADED_S:
                raise RefusedError(f"{name} was not loaded as a shadow in {LOADED_S:g} s")
            time.sleep(1)
        until_s = time.monotonic() + asked_s
        while figures["state"] == "working" and time.monotonic() < until_s:
            time.sleep(min(5.0, max(0.1, until_s - time.monotonic())))
            figures = daemon.request("shadow")
    if figures["state"] != "working":
        raise RefusedError(f"as a shadow {name} is {figures['state']}: {figures.get('reason', '')}")
    total = figures.get("total") or {}
    return {
        "state": "working",
        "agreement": total.get("agreement"),
        "frames": total.get("frames", 0),
        "time_ms": figures.get("time_ms"),
    }


def use(name: str) -> dict[str, Any]:
    """Use an installed model; the daemon proves it first."""
    with Daemon() as daemon:
        before = daemon.request("model", action="list").get("in_use")
        if before != name:
            daemon.request("model", PROOF_S, action="use", name=name)
        return {"before": before, "in_use": name}


def back(name: str) -> dict[str, Any]:
    """Use the model before where ``name`` is in use, and remove ``name``."""
    with Daemon() as daemon:
        if daemon.request("model", action="list").get("in_use") == name:
            daemon.request("model", PROOF_S, action="rollback")
        in_use = daemon.request("model", action="list").get("in_use")
    if in_use == name:
        raise RefusedError(f"{name} is still in use")
    done = run("edge", "models", "remove", name, "--json", check=False)
    for mark in marks(name) if not done.returncode else ():
        mark.unlink(missing_ok=True)
    return {"in_use": in_use, "removed": not done.returncode}


def names() -> list[str]:
    """Return the installed models."""
    done = run("edge", "models", "list", "--json", check=False)
    try:
        return [str(one["name"]) for one in json.loads(done.stdout)["models"]]
    except (ValueError, KeyError, TypeError):
        return []


STEPS: Final[dict[str, Callable[..., dict[str, Any]]]] = {
    "add": add,
    "shadow": shadow,
    "use": use,
    "back": back,
}
