"""Opens and identifies a V4L2 device; translates its errors."""

from __future__ import annotations

import errno
import os
from typing import Final

from edge.camera import v4l2_abi as abi
from edge.errors import CameraError, CameraReason

REASONS: Final[dict[int, tuple[CameraReason, str, str]]] = {
    errno.EBUSY: ("busy", "is in use", "stop what uses it: fuser -v {}"),
    errno.EACCES: ("denied", "may not be opened", "add this user to the group video"),
    errno.EPERM: ("denied", "may not be opened", "add this user to the group video"),
    errno.ENOENT: ("absent", "is not there", "connect it; ls /dev/v4l/by-id lists what is"),
    errno.ENXIO: ("absent", "is not there", "connect it; ls /dev/v4l/by-id lists what is"),
    errno.ENODEV: ("gone", "has gone", "connect it again"),
    errno.EPIPE: ("changed", "has lost its signal", "check what feeds it"),
    errno.ENOLINK: ("gone", "has no signal", "check what feeds it"),
    errno.ENOTTY: ("unsupported", "is not a camera", "ls /dev/v4l/by-id lists cameras"),
}


def open_device(path: str) -> int:
    """Return a descriptor that never blocks. Raises OSError."""
    return os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)


def identify(device: int) -> str:
    """Return the camera's own name. Raises OSError if the device is not a camera."""
    answer = abi.call(device, abi.QUERYCAP, abi.Capability())
    whole = answer.capabilities & abi.CAP_DEVICE_CAPS
    able = answer.device_caps if whole else answer.capabilities
    if not (able & abi.CAP_VIDEO_CAPTURE and able & abi.CAP_STREAMING):
        raise OSError(errno.ENOTTY, "not a camera")
    return bytes(answer.card).decode("utf-8", "replace")


def is_camera(path: str) -> bool:
    """Return whether ``path`` gives pictures: not a codec, not a metadata node.

    One that may not be opened counts, so that opening it reports why.
    """
    try:
        device = open_device(path)
    except OSError as exc:
        return exc.errno in (errno.EACCES, errno.EPERM, errno.EBUSY)
    try:
        identify(device)
    except OSError:
        return False
    finally:
        os.close(device)
    return True


def translated(exc: OSError, where: str) -> CameraError:
    """Return the error for the kernel's."""
    unknown: tuple[CameraReason, str, str] = ("failed", f"fails: {exc.strerror}", "")
    reason, what, hint = REASONS.get(exc.errno or 0, unknown)
    return CameraError(what, reason=reason, where=where, hint=hint.format(where))
