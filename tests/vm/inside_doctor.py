"""What `edge doctor` says of a real camera, and that it does not disturb who uses it."""

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


def test_a_camera_in_use_is_named_and_left_in_peace() -> None:
    """Driver and card are told, and who uses it; frames come on, none of them missing."""
    opened = open_camera(camera_spec(DEVICE))
    first = opened.read(WAIT_S)
    found = look(DEVICE)
    second = opened.read(WAIT_S)
    opened.close()
    assert found.verdict == "ok"
    assert found.facts["v4l2"] == [{"path": DEVICE, "driver": "vivid", "card": "vivid"}]
    assert found.line.startswith(f"{DEVICE} is vivid")
    assert first is not None
    assert second is not None
    assert second.sequence > first.sequence


def test_who_uses_it_is_told() -> None:
    """The service's own process is fine; another is a warning with its name."""
    code = "import sys; device = open('/dev/video0'); print('open', flush=True); sys.stdin.read()"
    with subprocess.Popen(["python3", "-c", code], stdin=PIPE, stdout=PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"open\n"
        strange = look(DEVICE)
        own = look(DEVICE, Unit({"MainPID": str(other.pid)}))
        other.communicate()
    assert (strange.verdict, strange.hint) == ("warning", "end that")
    assert strange.line.startswith(f"in use by python3 ({other.pid})")
    assert own.verdict == "ok"
    assert "in use by the service" in own.line


def test_a_user_outside_the_group_is_told() -> None:
    """The device is root's and its group's."""
    os.chmod(DEVICE, 0o660)
    shown = {"LoadState": "loaded", "User": "edge-camera", "SupplementaryGroups": ""}
    found = look(DEVICE, Unit(shown))
    assert found.verdict == "fault"
    assert "which the user edge-camera is not in" in found.line


def test_what_libcamera_sees() -> None:
    """Both made-up cameras, asked in a process of its own."""
    virtual.prepare()
    found = look("picamera2:1")
    assert found.verdict == "ok", found
    assert {one["Model"] for one in found.facts["libcamera"]} == {"bars", "colours"}
    assert look("picamera2:7").verdict == "fault"
