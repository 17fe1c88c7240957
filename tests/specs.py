"""Settings of an opening for tests, from keywords: of the config, or of the spec itself."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from edge.camera.spec import CameraSpec
from edge.config import CameraConfig
from edge.frames import View

UNFENCED = (
    "import resource\n"
    "hard = resource.getrlimit(resource.RLIMIT_DATA)[1]\n"
    "resource.setrlimit(resource.RLIMIT_DATA, (hard, hard))\n"
)
"""Begins a child's code: it inherits the limit of any source that this process has open."""
OWN = {field.name for field in fields(CameraSpec)}


def camera_spec(source: object, **settings: Any) -> CameraSpec:
    """Return the settings for ``source``; ``view`` stands for all the keys of a View."""
    view: View | None = settings.pop("view", None)
    own = {name: settings.pop(name) for name in OWN & settings.keys()}
    if view is not None:
        settings |= {"rotation": view.rotation, "roi": view.roi}
        settings["flip_horizontal"] = view.flip_horizontal
        settings["flip_vertical"] = view.flip_vertical
    return CameraSpec(CameraConfig(source=str(source), **settings), **own)
