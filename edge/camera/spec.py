"""The settings of one opening: the config's, and what the model can use of a picture.

`CameraSpec` is frozen and holds all that an opening needs, so it may cross to the thread that opens
[1]: neither the config in force nor the engine is read there. Knows the model by one Protocol.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import msgspec

from edge import config as configs
from edge.camera.policy import Policy
from edge.config import CameraConfig
from edge.frames import Camera, View


class Preprocess(Protocol):
    """How large pictures the model can use."""

    @property
    def any_shape(self) -> bool:
        """Whether the model's picture is stretched in any case."""

    def useful(self, view: View) -> tuple[int, int]:
        """Return (width, height) beyond which pixels are lost on the model."""


@dataclass(frozen=True, slots=True)
class CameraSpec:
    """What a camera is opened with; every source reads its settings here.

    config          the table [camera]. Within ``open_camera`` its ``source`` is the address that is
                    opened: with the login, and for `auto` the camera that was chosen
    useful          (width, height) beyond which pixels are lost on the model, None if unknown
    any_shape       the model's picture is stretched in any case: frames may come stretched
    first_sequence  the number of the first frame
    """

    config: CameraConfig
    useful: tuple[int, int] | None = None
    any_shape: bool = False
    first_sequence: int = 0

    @property
    def source(self) -> str:
        """What is opened; may hold credentials."""
        return self.config.source

    @property
    def name(self) -> str:
        """The source without credentials, for messages."""
        return configs.without_credentials(self.config.source)

    @property
    def timeout_s(self) -> float:
        """For a live source to open and give its first frame; then from frame to frame."""
        return self.config.stall_timeout_s

    @property
    def view(self) -> View:
        """What is to be done to the camera's pictures."""
        return view(self.config)

    def at(self, source: str) -> CameraSpec:
        """Return the same settings for another source."""
        config = msgspec.structs.replace(self.config, source=source, username="")
        return replace(self, config=config)

    def open(self, first_sequence: int = 0) -> Camera:
        """[1] Return the camera, open and its controls set. Raises EdgeError.

        A stream's password is read now: a reopening takes the current one.
        """
        from edge.camera import open_camera  # whose sources import this file

        spec = replace(self.at(configs.source(self.config)), first_sequence=first_sequence)
        camera = open_camera(spec)
        controls = msgspec.structs.asdict(self.config.controls)
        try:
            camera.control({name: value for name, value in controls.items() if value is not None})
        except BaseException:
            camera.close()
            raise
        return camera


def camera_spec(config: CameraConfig, preprocess: Preprocess) -> CameraSpec:
    """Return what ``config`` and the model need of a camera."""
    return CameraSpec(config, preprocess.useful(view(config)), preprocess.any_shape)


def view(config: CameraConfig) -> View:
    """Return what is to be done to the camera's pictures."""
    return View(config.rotation, config.flip_horizontal, config.flip_vertical, config.roi)


def policy(config: CameraConfig) -> Policy:
    """Return when to give up on the camera."""
    return Policy(
        config.required, config.stall_timeout_s, config.max_reopens, config.reopen_window_s
    )
