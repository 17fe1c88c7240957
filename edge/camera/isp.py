"""Settings for the Pi's image processor: sizes, flips, crop, controls, as libcamera names them.

Pure: no camera is touched here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from edge import geometry
from edge.camera import controls
from edge.camera.spec import CameraSpec
from edge.errors import CameraError
from edge.frames import ControlValue, View

NUMBERS: Final = {
    "exposure_us": "ExposureTime",
    "gain": "AnalogueGain",
    "brightness": "Brightness",
    "contrast": "Contrast",
    "saturation": "Saturation",
    "sharpness": "Sharpness",
    "lens_position": "LensPosition",
}
CHOICES: Final = {
    "awb": (
        "AwbMode",
        *("auto", "incandescent", "tungsten", "fluorescent", "indoor", "daylight", "cloudy"),
    ),
    "af": ("AfMode", "manual", "auto", "continuous"),
}
"""Our name -> libcamera's, and the names of its values from 0 on. Source: control_ids_core.yaml."""

ROW: Final = 64
"""A multiple of it has rows without padding on a Pi 4; so has its half, for YUV420's U and V."""


def translated(
    values: Mapping[str, ControlValue], offered: Mapping[str, tuple[Any, Any, Any]], where: str
) -> dict[str, Any]:
    """Return controls by libcamera's names.

    values   by our names
    offered  by the camera: its names -> least, most, usual
    Raises CameraError if the camera has no such control or does not take the value.
    """
    names = NUMBERS | {name: choice[0] for name, choice in CHOICES.items()}
    known = tuple(name for name, foreign in names.items() if foreign in offered)
    controls.check(values, known, where)
    settings: dict[str, Any] = {}
    for name, value in values.items():
        foreign = names[name]
        least, most, _ = offered[foreign]
        if name == "awb" and value == "manual":  # stays as it is
            settings["AwbEnable"] = False
        elif name in CHOICES:
            words = CHOICES[name][1:]
            index = words.index(value) if value in words else -1
            if not least <= index <= most:
                usable = [word for i, word in enumerate(words) if least <= i <= most]
                raise _refused(name, " or ".join(usable), value, where)
            settings[foreign] = index
        elif isinstance(value, str) or not least <= value <= most:
            raise _refused(name, f"{least:g} to {most:g}", value, where)
        else:
            settings[foreign] = round(value) if name == "exposure_us" else float(value)
    if "AwbMode" in settings:
        settings["AwbEnable"] = True
    if values.get("af") == "auto":
        settings["AfTrigger"] = 0  # focuses once, now
    if "lens_position" in values and settings.setdefault("AfMode", 0) != 0:
        raise CameraError("`lens_position` needs `af` manual", reason="unsupported", where=where)
    return settings


def _refused(name: str, expected: str, got: ControlValue, where: str) -> CameraError:
    what = f"control `{name}` does not take this value"
    return CameraError(what, reason="unsupported", where=where, expected=expected, got=str(got))


def flips(view: View) -> tuple[bool, bool]:
    """Return whether the camera is to mirror: horizontally, vertically.

    Half a turn is both. No Pi camera makes a quarter turn: software turns and mirrors then.
    """
    if view.rotation in (90, 270):
        return False, False
    half = view.rotation == 180
    return view.flip_horizontal != half, view.flip_vertical != half


def rest(view: View, done: tuple[bool, bool]) -> View:
    """Return what is left of ``view`` for software, after the flips that the camera has done."""
    if view.rotation in (90, 270):
        return view
    horizontal, vertical = flips(view)
    return View(0, horizontal != done[0], vertical != done[1], view.roi)


@dataclass(frozen=True, slots=True)
class Plan:
    """How a camera is configured.

    main   (width, height) of the full picture
    lores  of a smaller one for the model, None if it would not be smaller
    flips  horizontally, vertically
    """

    main: tuple[int, int]
    lores: tuple[int, int] | None
    flips: tuple[bool, bool]


def plan(spec: CameraSpec, cropping: bool) -> Plan:
    """Return how to configure a camera. cropping: it can cut out a part of its picture."""
    main, needed = whole(spec), spec.useful
    if cropping:
        roi = geometry.before_turning(rest(spec.view, flips(spec.view)))
        main = cut(main, roi)
        if needed:  # counted on the whole picture, of which a part comes
            needed = math.ceil(needed[0] * roi[2]), math.ceil(needed[1] * roi[3])
    if cropping and spec.any_shape:
        return Plan(main, stretched(main, needed), flips(spec.view))
    return Plan(main, scaled(main, needed), flips(spec.view))


def whole(spec: CameraSpec) -> tuple[int, int]:
    """Return the size of the whole picture, before a part is cut out of it; even."""
    return _even(spec.config.width), _even(spec.config.height)


def cut(size: tuple[int, int], roi: geometry.Roi) -> tuple[int, int]:
    """Return the largest even size within ``size`` that has the shape of its ``roi``."""
    scale = 1 / max(roi[2], roi[3])
    return _even(size[0] * roi[2] * scale), _even(size[1] * roi[3] * scale)


def scaled(size: tuple[int, int], needed: tuple[int, int] | None) -> tuple[int, int] | None:
    """Return the smallest size of the same shape that has the needed pixels.

    Even, and without padding in its rows; None if it would not be smaller than ``size``.
    """
    if needed is None:
        return None
    scale = max(needed[0] / size[0], needed[1] / size[1])
    width = math.ceil(size[0] * scale / ROW) * ROW
    height = 2 * math.ceil(size[1] * width / size[0] / 2)
    return (width, height) if width < size[0] and height < size[1] else None


def stretched(size: tuple[int, int], needed: tuple[int, int] | None) -> tuple[int, int] | None:
    """Return just the needed size, in its own shape, so that software need not resize.

    Even; its rows may have padding. None if it would not be smaller than ``size``.
    """
    if needed is None:
        return None
    width, height = (2 * math.ceil(side / 2) for side in needed)
    return (width, height) if width < size[0] and height < size[1] else None


def crop(
    largest: tuple[int, int, int, int], size: tuple[int, int], roi: geometry.Roi
) -> tuple[int, int, int, int]:
    """Return the part of the sensor that is ``roi``: left, top, width, height.

    largest  all that can be used of the sensor
    size     the whole picture's, whose shape is cut from the middle of ``largest``
    """
    left, top, width, height = largest
    scale = min(width / size[0], height / size[1])
    whole = size[0] * scale, size[1] * scale
    return (
        round(left + (width - whole[0]) / 2 + roi[0] * whole[0]),
        round(top + (height - whole[1]) / 2 + roi[1] * whole[1]),
        _even(roi[2] * whole[0]),
        _even(roi[3] * whole[1]),
    )


def _even(number: float) -> int:
    return max(2, 2 * round(number / 2))
