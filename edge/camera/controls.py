"""Which controls a source has."""

from __future__ import annotations

from collections.abc import Mapping

from edge.errors import CameraError
from edge.frames import ControlValue


def check(wanted: Mapping[str, ControlValue], known: tuple[str, ...], shown: str) -> None:
    """Raise CameraError where ``wanted`` names a control that is not ``known``.

    shown  the source, for the message
    """
    for name in wanted:
        if name not in known:
            raise CameraError(
                f"this source has no control `{name}`",
                where=shown,
                expected=" or ".join(known) or "none at all",
            )
