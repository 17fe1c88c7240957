"""Checks the names of controls that a source is to set."""

from __future__ import annotations

from collections.abc import Mapping

from edge.errors import CameraError
from edge.frames import ControlValue


def check(values: Mapping[str, ControlValue], known: tuple[str, ...], where: str) -> None:
    """Raise CameraError where ``values`` has a control that is not ``known``.

    where  the source, for the message
    """
    for name in values:
        if name not in known:
            raise CameraError(
                f"this source has no control `{name}`",
                where=where,
                expected=" or ".join(known) or "none",
            )
