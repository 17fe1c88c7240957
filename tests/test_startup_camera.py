"""The camera of a config: its view and its controls."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edge import config as configs
from edge.camera.spec import camera_spec
from edge.config import ModelConfig
from edge.errors import CameraError
from edge.frames import Camera, View
from edge.model import engine as engines


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
