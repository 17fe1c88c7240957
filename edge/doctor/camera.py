"""Lists the cameras of this machine, and checks that the service can use the configured one.

It opens no stream: it only identifies V4L2 devices, and lists libcamera's cameras.
Source: V4L2, VIDIOC_QUERYCAP; proc(5), fd; picamera2, global_camera_info.
"""

from __future__ import annotations

import glob
import grp
import json
import os
import pwd
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from edge import config as configs
from edge.camera import find
from edge.camera import v4l2_abi as abi
from edge.camera.refusal import PORTS
from edge.camera.v4l2_device import identify, open_device, translated
from edge.config import Config
from edge.doctor.checks import Check, Findings, command, text
from edge.doctor.service import Unit
from edge.errors import CameraError

LIBCAMERA_S: Final = 20.0
"""On a Pi, importing picamera2 takes seconds."""
STREAM_S: Final = 3.0
LIST: Final = (
    "import json, sys; sys.path[:] = [p for p in sys.path if p in json.loads(sys.argv[1])];"
    "from picamera2 import Picamera2;"
    "print(json.dumps(Picamera2.global_camera_info(), default=str))"
)
NOT_INSTALLED: Final = "ModuleNotFoundError: No module named 'picamera2'"
RIBBON: Final = (
    "check the ribbon cable, and camera_auto_detect=1 in /boot/firmware/config.txt;"
    " rpicam-hello --list-cameras"
)


def check(config: Config | None, unit: Unit, proc: Path = Path("/proc")) -> Check:
    """Judge the camera. config: None if it cannot be read."""
    findings = Findings("camera")
    nodes = findings.facts["v4l2"] = devices()
    cameras, why = libcamera()
    findings.facts["libcamera"] = cameras
    if config is None:
        findings.wrong("unknown", "without a config, it is unknown which one is used")
    else:
        _configured(findings, config, unit, proc, cameras, why)
    if cameras:
        findings.say("libcamera sees " + ", ".join(str(one.get("Model", "?")) for one in cameras))
    if nodes:
        findings.say(", ".join(f"{node['path']} {node['card']}" for node in nodes))
    return findings.check()


def devices() -> list[dict[str, str]]:
    """Return every V4L2 device that is a camera or cannot be opened: path, driver, its name."""
    found: list[dict[str, str]] = []
    for path in sorted(glob.glob("/dev/video[0-9]*"), key=lambda path: (len(path), path)):
        try:
            device = open_device(path)
        except OSError as exc:
            found.append({"path": path, "driver": "", "card": translated(exc, path).what})
            continue
        try:
            card = identify(device)
            driver = abi.call(device, abi.QUERYCAP, abi.Capability()).driver
            name = bytes(driver).decode("utf-8", "replace")
            found.append({"path": path, "driver": name, "card": card})
        except OSError:  # a codec, or metadata
            pass
        finally:
            os.close(device)
    return found


def libcamera() -> tuple[list[dict[str, Any]] | None, str]:
    """Return libcamera's cameras; None, and why, if they cannot be listed."""
    # Root may run this in any folder: no code in it is run, and no path that the launcher removed.
    arguments = (sys.executable, "-IB", "-c", LIST, json.dumps(sys.path))
    try:
        done = command(*arguments, timeout_s=LIBCAMERA_S)
        return list(json.loads(done.stdout.splitlines()[-1])), ""
    except subprocess.TimeoutExpired:
        return None, f"libcamera gives no answer in {LIBCAMERA_S:.0f} s"
    except (IndexError, ValueError):
        why = (done.stderr.strip().splitlines() or ["picamera2 fails"])[-1]
        return None, "picamera2 is not installed" if why == NOT_INSTALLED else why


def _configured(
    findings: Findings,
    config: Config,
    unit: Unit,
    proc: Path,
    cameras: list[dict[str, Any]] | None,
    why: str,
) -> None:
    source = config.camera.source
    name = findings.facts["source"] = configs.without_credentials(source)
    if source == "auto":
        try:
            source = name = findings.facts["chosen"] = find()
        except CameraError as exc:
            findings.error(exc)
            return
    if source.partition(":")[0] == "picamera2":
        number = source.partition(":")[2] or "0"
        if cameras is None:
            hint = "apt install python3-picamera2" if "not installed" in why else "see `events`"
            findings.wrong("fault", f"{name}: {why}", hint)
        elif not number.isdigit() or int(number) >= len(cameras):
            findings.wrong("fault", f"{name}: libcamera sees {len(cameras)} cameras", RIBBON)
        else:
            findings.say(f"{name} is there")
    elif "://" in source:
        _stream(findings, source, name)
    elif source.startswith("/dev/") or Path(source).is_char_device():
        _device(findings, source, unit, proc)
    elif source == "synthetic":
        findings.say("synthetic")
    elif not os.path.exists(source):
        findings.wrong("fault", f"{name} is not there", "check camera.source")
    elif not os.access(source, os.R_OK | (os.X_OK if os.path.isdir(source) else 0)):
        findings.wrong("fault", f"{name} cannot be read", f"chmod a+r {name}")
    else:
        findings.say(f"{name} can be read")


def _device(findings: Findings, path: str, unit: Unit, proc: Path) -> None:
    try:
        device = open_device(path)
        try:
            findings.say(f"{path} is {identify(device)}")
        finally:
            os.close(device)
    except OSError as exc:
        findings.error(translated(exc, path))
        return
    if refused := denied(path, unit):
        findings.wrong("fault", refused, "SupplementaryGroups=video in systemctl edit edge-camera")
    users = holders(path, proc)
    findings.facts["used_by"] = [f"{name} ({pid})" for pid, name in users]
    if any(pid == unit.pid for pid, _ in users):
        findings.say("in use by the service")
    elif users:
        findings.wrong("warning", f"in use by {', '.join(findings.facts['used_by'])}", "stop it")


def denied(path: str, unit: Unit) -> str:
    """Return why the service's user may not use a device; empty if it may."""
    user = unit.shown.get("User", "")
    if not unit.installed or user in ("", "root"):
        return ""
    there = os.stat(path)
    groups = set(unit.shown.get("SupplementaryGroups", "").split())
    groups |= {group.gr_name for group in grp.getgrall() if user in group.gr_mem}
    try:
        entry = pwd.getpwnam(user)
        groups.add(grp.getgrgid(entry.pw_gid).gr_name)
        if entry.pw_uid == there.st_uid:
            return ""
    except KeyError:
        pass  # a dynamic user, which exists only while the service runs
    try:
        owner = grp.getgrgid(there.st_gid).gr_name
    except KeyError:
        owner = str(there.st_gid)
    if there.st_mode & 0o006 == 0o006 or (there.st_mode & 0o060 == 0o060 and owner in groups):
        return ""
    return f"{path} belongs to the group {owner}, which the user {user} is not in"


def holders(path: str, proc: Path) -> list[tuple[int, str]]:
    """Return the processes that have a device open; only root sees those of other users."""
    target, found = os.path.realpath(path), {}
    for link in proc.glob("[0-9]*/fd/*"):
        pid = int(link.parts[-3])
        try:
            if pid not in found and os.readlink(link) == target and pid != os.getpid():
                found[pid] = text(proc / str(pid) / "comm")
        except OSError:
            continue
    return sorted(found.items())


def _stream(findings: Findings, source: str, name: str) -> None:
    try:
        url = urlsplit(source)
        host, port = url.hostname or "", url.port or PORTS.get(url.scheme, 0)
    except ValueError:
        host, port = "", 0
    if not host or not port:
        findings.wrong("fault", f"{name} is not an address", "check camera.source")
        return
    try:
        socket.create_connection((host, port), STREAM_S).close()
    except OSError as exc:
        what = exc.strerror or "no answer in time"
        findings.wrong("fault", f"{name}: {host}:{port}: {what}", "check camera and network: ping")
        return
    findings.say(f"{name}: {host}:{port} answers")
