"""What is wanted of a camera, by the config and by the model; it travels with each opening.

Knows the model by one Protocol. Opening runs on whatever thread calls it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import msgspec

from edge import config as configs
from edge.camera import open_camera
from edge.camera.policy import Policy
from edge.config import CameraConfig
from edge.frames import Camera, CameraSpec, View


class Sees(Protocol):
    """How large pictures the model can use."""

    @property
    def any_shape(self) -> bool:
        """Whether the model's picture is stretched in any case."""

    def useful(self, view: View) -> tuple[int, int]:
        """Return (width, height) beyond which pixels are lost on the model."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is wanted of a camera: the config's, and the model's. It travels with an opening.

    useful, any_shape  as in CameraSpec
    """

    config: CameraConfig
    useful: tuple[int, int]
    any_shape: bool

    def open(self, first_sequence: int = 0) -> Camera:
        """Return the camera, open and told its controls. Raises EdgeError."""
        config, source = self.config, configs.source(self.config)
        opened = open_camera(
            CameraSpec(
                source=source,
                shown=configs.without_credentials(source),
                width=config.width,
                height=config.height,
                fps=config.fps,
                format=config.format,
                transport=config.transport,
                view=view(config),
                fast=config.pace == "fast",
                loop=config.loop,
                timeout_s=config.stall_timeout_s,
                useful=self.useful,
                any_shape=self.any_shape,
                first_sequence=first_sequence,
                max_pixels=config.max_pixels,
                max_bytes=config.max_bytes,
            )
        )
        told = msgspec.structs.asdict(config.controls)
        try:
            opened.control({name: value for name, value in told.items() if value is not None})
        except BaseException:
            opened.close()
            raise
        return opened


def wanted(config: CameraConfig, preprocess: Sees) -> Wanted:
    """Return what ``config`` and the model want of a camera."""
    return Wanted(config, preprocess.useful(view(config)), preprocess.any_shape)


def view(config: CameraConfig) -> View:
    """Return what is to be done to the camera's pictures."""
    return View(config.rotation, config.flip_horizontal, config.flip_vertical, config.roi)


def policy(config: CameraConfig) -> Policy:
    """Return what is put up with from the camera."""
    return Policy(
        config.required, config.stall_timeout_s, config.max_reopens, config.reopen_window_s
    )
