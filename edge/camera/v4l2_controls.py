"""Controls of a V4L2 camera, by the names and ranges that all cameras here share.

A device counts in steps of its own; ours are mapped onto its range: -1, 0 and 1 of brightness, and
0, 1 and 2 of the factors, are its least, its default and its greatest. Source: the kernel's V4L2
documentation, "User Controls" and "Camera Control".
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Final

from edge.camera import v4l2_abi as abi
from edge.errors import CameraError
from edge.frames import ControlValue

USER, CAMERA = 0x00980900, 0x009A0900
AUTO_EXPOSURE, AUTO_EXPOSURE_MANUAL = CAMERA + 1, 1
EXPOSURE: Final = CAMERA + 2
"""Units of 100 microseconds."""
AUTO_FOCUS, AUTO_WHITE_BALANCE = CAMERA + 12, USER + 12
LEVELS: Final = {
    "brightness": USER + 0,
    "contrast": USER + 1,
    "saturation": USER + 2,
    "sharpness": USER + 27,
}
SWITCHES: Final = {
    "awb": (AUTO_WHITE_BALANCE, {"auto": 1, "manual": 0}),
    "af": (AUTO_FOCUS, {"continuous": 1, "manual": 0}),
}


class V4l2Controls:
    """The controls of one device. known: the names of those that it has."""

    def __init__(self, device: int, where: str) -> None:
        self._device, self._where = device, where
        named = {**LEVELS, "exposure_us": EXPOSURE}
        named |= {name: number for name, (number, _) in SWITCHES.items()}
        self._has = {name: one for name, number in named.items() if (one := self._query(number))}
        self.known = tuple(self._has)

    def set(self, values: Mapping[str, ControlValue]) -> None:
        """Set controls that are ``known``, all or none. Raises CameraError."""
        steps: list[tuple[int, int]] = []
        for name, value in values.items():
            steps += self._steps(name, value)
        for number, step in steps:
            abi.call(self._device, abi.S_CTRL, abi.V4l2ControlValue(number, step))

    def _steps(self, name: str, value: ControlValue) -> list[tuple[int, int]]:
        control = self._has[name]
        if name in SWITCHES:
            number, positions = SWITCHES[name]
            if value not in positions:
                raise CameraError(
                    f"control `{name}` does not take this value",
                    where=self._where,
                    expected=" or ".join(positions),
                    got=str(value),
                )
            return [(number, positions[str(value)])]
        amount = float(value)
        if name == "exposure_us":
            step = min(max(round(amount / 100), control.minimum), control.maximum)
            manual = [(AUTO_EXPOSURE, AUTO_EXPOSURE_MANUAL)] if self._query(AUTO_EXPOSURE) else []
            return [*manual, (control.id, step)]
        return [(control.id, level(amount if name == "brightness" else amount - 1, control))]

    def _query(self, number: int) -> abi.ControlDescription | None:
        control = abi.ControlDescription(id=number)
        with contextlib.suppress(OSError):  # it has no such control
            abi.call(self._device, abi.QUERYCTRL, control)
            return None if control.flags & abi.CTRL_DISABLED else control
        return None


def level(offset: float, control: abi.ControlDescription) -> int:
    """Return a device's step for ``offset``: -1 its least, 0 its default, 1 its greatest."""
    offset = min(max(offset, -1.0), 1.0)
    reach = control.maximum - control.default if offset > 0 else control.default - control.minimum
    return round(float(control.default + offset * reach))
