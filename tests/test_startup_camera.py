"""The camera of a config: its view and its controls."""

from __future__ import annotations

import base64
import socket
from pathlib import Path

import numpy as np
import pytest

from edge import config as configs
from edge.camera.spec import CameraSpec, camera_spec
from edge.config import CameraConfig, ModelConfig
from edge.errors import CameraError, ConfigError
from edge.frames import Camera, View
from edge.model import engine as engines
from tests.web_cameras import WebCamera, color, single

CHALLENGE = (
    b'HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nWWW-Authenticate: Basic realm="x"\r\n\r\n'
)


def opened(rgb: Path, text: str) -> Camera:
    """Return the open camera of a config."""
    path = rgb / "edge.toml"
    path.write_text(text)
    engine = engines.start(ModelConfig(path=str(rgb)))
    return camera_spec(configs.load(path).camera, engine.preprocess).open(7)


def test_view_controls_and_numbers_come_from_the_config(rgb: Path) -> None:
    """The first frame has the given number."""
    camera = opened(
        rgb,
        '[camera]\nsource = "synthetic"\npace = "fast"\nrotation = 90\nflip_vertical = true\n'
        "roi = [0.5, 0, 0.5, 1]\nwidth = 64\nheight = 48\n[camera.controls]\nbrightness = 0.2\n",
    )
    frame = camera.read(1.0)
    assert frame is not None
    assert frame.view == View(90, False, True, (0.5, 0.0, 0.5, 1.0))
    assert frame.sequence == 7
    assert frame.pixels.shape == (48, 64, 3)
    assert np.array_equal(frame.pixels[0, -1], [51, 51, 251])


def test_an_unknown_control_closes_the_camera_again(rgb: Path) -> None:
    """One line; nothing is left open."""
    with pytest.raises(CameraError, match="no control `gain`"):
        opened(rgb, '[camera]\nsource = "synthetic"\n[camera.controls]\ngain = 2.0\n')


def test_each_opening_reads_the_password(tmp_path: Path) -> None:
    """The settings stay as they are; a reopening takes a password that has changed meanwhile."""

    def answer(connection: socket.socket, request: bytes, number: int) -> bool:
        if b"Authorization" in request:
            connection.sendall(single(color("red")))
        else:
            connection.sendall(CHALLENGE)
        return True

    server = WebCamera(answer)
    file = tmp_path / "password"
    config = CameraConfig(source=server.url, username="user", password_file=str(file))
    spec = CameraSpec(config)
    for password in ("first", "second"):
        file.write_text(password)
        camera = spec.open()
        assert camera.mode.source == f"http://***@127.0.0.1:{server.port}/cam"
        camera.close()
        login = base64.b64encode(f"user:{password}".encode())
        assert b"Authorization: Basic " + login in server.requests[-1]
    server.close()
    assert spec == CameraSpec(config)
    file.unlink()
    with pytest.raises(ConfigError, match="password file cannot be read"):
        spec.open()


def test_auto_takes_the_camera_that_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if it were named in the config."""
    monkeypatch.setattr("edge.camera.find", lambda: "synthetic")
    camera = CameraSpec(CameraConfig()).open()
    assert camera.mode.driver == "synthetic"
