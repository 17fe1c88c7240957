"""`edge doctor` on a real camera: its report, and that it does not disturb the camera's user."""

from __future__ import annotations

import os
import subprocess
from subprocess import PIPE

import pytest

from edge import config as configs
from edge.camera import open_camera
from edge.doctor import camera
from edge.doctor.checks import Check
from edge.doctor.service import Unit
from tests.specs import camera_spec
from tests.vm import virtual

DEVICE = "/dev/video0"
WAIT_S = 30.0


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """An emulated machine imports picamera2 in 20 s."""
    monkeypatch.setattr(camera, "LIBCAMERA_S", 120.0)


def look(source: str, unit: Unit | None = None) -> Check:
    """Return the check `camera`."""
    return camera.check(configs.load(None, {"camera": {"source": source}}), unit or Unit())


def test_a_camera_in_use_is_named_and_not_disturbed() -> None:
    """Driver, name and user are reported; frames go on, none of them missing."""
    opened = open_camera(camera_spec(DEVICE))
    first = opened.read(WAIT_S)
    check = look(DEVICE)
    second = opened.read(WAIT_S)
    opened.close()
    assert check.verdict == "ok"
    assert check.facts["v4l2"] == [{"path": DEVICE, "driver": "vivid", "card": "vivid"}]
    assert check.line.startswith(f"{DEVICE} is vivid")
    assert first is not None
    assert second is not None
    assert second.sequence > first.sequence


def test_the_process_that_uses_it_is_named() -> None:
    """The service's own process is fine; another is a warning with its name."""
    code = "import sys; device = open('/dev/video0'); print('open', flush=True); sys.stdin.read()"
    with subprocess.Popen(["python3", "-c", code], stdin=PIPE, stdout=PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"open\n"
        strange = look(DEVICE)
        own = look(DEVICE, Unit({"MainPID": str(other.pid)}))
        other.communicate()
    assert (strange.verdict, strange.hint) == ("warning", "stop it")
    assert strange.line.startswith(f"in use by python3 ({other.pid})")
    assert own.verdict == "ok"
    assert "in use by the service" in own.line


def test_a_user_outside_the_group_is_a_fault() -> None:
    """The device is root's and its group's."""
    os.chmod(DEVICE, 0o660)
    properties = {"LoadState": "loaded", "User": "edge-camera", "SupplementaryGroups": ""}
    check = look(DEVICE, Unit(properties))
    assert check.verdict == "fault"
    assert "which the user edge-camera is not in" in check.line


def test_libcameras_cameras_are_listed() -> None:
    """Both simulated cameras, from a process of its own."""
    virtual.prepare()
    check = look("picamera2:1")
    assert check.verdict == "ok", check
    assert {one["Model"] for one in check.facts["libcamera"]} == {"bars", "colours"}
    assert look("picamera2:7").verdict == "fault"
