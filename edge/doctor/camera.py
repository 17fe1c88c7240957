"""Which cameras there are, and whether the service could have the one that its config names.

No stream is opened: a V4L2 device is only asked who it is, libcamera only what it sees.
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
from edge.camera.v4l2_device import identify, in_words, open_device
from edge.config import Config
from edge.doctor.checks import Check, Findings, command, text
from edge.doctor.service import Unit
from edge.errors import CameraError

LIBCAMERA_S: Final = 20.0
"""On a Pi, importing picamera2 takes seconds."""
STREAM_S: Final = 3.0
SEEN: Final = (
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
    """Judge the camera. config: None where it cannot be read."""
    found = Findings("camera")
    nodes = found.facts["v4l2"] = devices()
    seen, why = libcamera()
    found.facts["libcamera"] = seen
    if config is None:
        found.wrong("unknown", "which one is meant is not known without a config")
    else:
        _configured(found, config, unit, proc, seen, why)
    if seen:
        found.say("libcamera sees " + ", ".join(str(one.get("Model", "?")) for one in seen))
    if nodes:
        found.say(", ".join(f"{node['path']} {node['card']}" for node in nodes))
    return found.check()


def devices() -> list[dict[str, str]]:
    """Return every V4L2 device that is a camera, or cannot be asked: path, driver, card."""
    found = []
    for path in sorted(glob.glob("/dev/video[0-9]*"), key=lambda path: (len(path), path)):
        try:
            device = open_device(path)
        except OSError as exc:
            found.append({"path": path, "driver": "", "card": in_words(exc, path).what})
            continue
        try:
            card = identify(device)
            driver = abi.call(device, abi.QUERYCAP, abi.Capability()).driver
            told = bytes(driver).decode("utf-8", "replace")
            found.append({"path": path, "driver": told, "card": card})
        except OSError:  # a codec, or metadata
            pass
        finally:
            os.close(device)
    return found


def libcamera() -> tuple[list[dict[str, Any]] | None, str]:
    """Return what libcamera sees; None, and why, where it cannot be asked."""
    # Root may ask from any folder: nothing in it is run, nor what the launcher has struck out.
    asked = (sys.executable, "-IB", "-c", SEEN, json.dumps(sys.path))
    try:
        done = command(*asked, timeout_s=LIBCAMERA_S)
        return list(json.loads(done.stdout.splitlines()[-1])), ""
    except subprocess.TimeoutExpired:
        return None, f"libcamera gives no answer in {LIBCAMERA_S:.0f} s"
    except (IndexError, ValueError):
        why = (done.stderr.strip().splitlines() or ["picamera2 fails"])[-1]
        return None, "picamera2 is not installed" if why == NOT_INSTALLED else why


def _configured(
    found: Findings,
    config: Config,
    unit: Unit,
    proc: Path,
    seen: list[dict[str, Any]] | None,
    why: str,
) -> None:
    source = config.camera.source
    shown = found.facts["source"] = configs.without_credentials(source)
    if source == "auto":
        try:
            source = shown = found.facts["chosen"] = find()
        except CameraError as exc:
            found.error(exc)
            return
    if source.partition(":")[0] == "picamera2":
        number = source.partition(":")[2] or "0"
        if seen is None:
            hint = "apt install python3-picamera2" if "not installed" in why else "see `events`"
            found.wrong("fault", f"{shown}: {why}", hint)
        elif not number.isdigit() or int(number) >= len(seen):
            found.wrong("fault", f"{shown}: libcamera sees {len(seen)} cameras", RIBBON)
        else:
            found.say(f"{shown} is there")
    elif "://" in source:
        _stream(found, source, shown)
    elif source.startswith("/dev/") or Path(source).is_char_device():
        _device(found, source, unit, proc)
    elif source == "synthetic":
        found.say("synthetic")
    elif not os.path.exists(source):
        found.wrong("fault", f"{shown} is not there", "check camera.source")
    elif not os.access(source, os.R_OK | (os.X_OK if os.path.isdir(source) else 0)):
        found.wrong("fault", f"{shown} cannot be read", f"chmod a+r {shown}")
    else:
        found.say(f"{shown} can be read")


def _device(found: Findings, path: str, unit: Unit, proc: Path) -> None:
    try:
        device = open_device(path)
        try:
            found.say(f"{path} is {identify(device)}")
        finally:
            os.close(device)
    except OSError as exc:
        found.error(in_words(exc, path))
        return
    if refused := denied(path, unit):
        found.wrong("fault", refused, "SupplementaryGroups=video in systemctl edit edge-camera")
    users = holders(path, proc)
    found.facts["used_by"] = [f"{name} ({pid})" for pid, name in users]
    if any(pid == unit.pid for pid, _ in users):
        found.say("in use by the service")
    elif users:
        found.wrong("warning", f"in use by {', '.join(found.facts['used_by'])}", "end that")


def denied(path: str, unit: Unit) -> str:
    """Return why the service's user may not use a device; empty where it may."""
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
        pass  # a dynamic user, who is only there while the service runs
    try:
        owner = grp.getgrgid(there.st_gid).gr_name
    except KeyError:
        owner = str(there.st_gid)
    if there.st_mode & 0o006 == 0o006 or (there.st_mode & 0o060 == 0o060 and owner in groups):
        return ""
    return f"{path} belongs to the group {owner}, which the user {user} is not in"


def holders(path: str, proc: Path) -> list[tuple[int, str]]:
    """Return who has a device open; of other users' processes only root learns."""
    target, found = os.path.realpath(path), {}
    for link in proc.glob("[0-9]*/fd/*"):
        pid = int(link.parts[-3])
        try:
            if pid not in found and os.readlink(link) == target and pid != os.getpid():
                found[pid] = text(proc / str(pid) / "comm")
        except OSError:
            continue
    return sorted(found.items())


def _stream(found: Findings, source: str, shown: str) -> None:
    try:
        url = urlsplit(source)
        host, port = url.hostname or "", url.port or PORTS.get(url.scheme, 0)
    except ValueError:
        host, port = "", 0
    if not host or not port:
        found.wrong("fault", f"{shown} is not an address", "check camera.source")
        return
    try:
        socket.create_connection((host, port), STREAM_S).close()
    except OSError as exc:
        what = exc.strerror or "no answer in time"
        found.wrong("fault", f"{shown}: {host}:{port}: {what}", "check camera and network: ping")
        return
    found.say(f"{shown}: {host}:{port} answers")
