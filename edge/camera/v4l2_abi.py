"""The kernel's video capture interface: structures, numbers and calls; no policy.

Laid out by ctypes as the C compiler would, so that 64-bit and 32-bit machines both fit.
Source: linux/videodev2.h, and the kernel's V4L2 user-space documentation.
"""

from __future__ import annotations

import ctypes
import fcntl
from ctypes import c_char, c_int32, c_long, c_uint8, c_uint32, c_ulong
from typing import Any, Final

CAPTURE: Final = 1
"""V4L2_BUF_TYPE_VIDEO_CAPTURE"""
MMAP: Final = 1
"""V4L2_MEMORY_MMAP"""
CAP_VIDEO_CAPTURE: Final = 0x1
CAP_STREAMING: Final = 0x04000000
CAP_DEVICE_CAPS: Final = 0x80000000
FIELD_NONE: Final = 1
FLAG_ERROR: Final = 0x40
FLAG_TIMESTAMP_MASK: Final = 0xE000
FLAG_TIMESTAMP_MONOTONIC: Final = 0x2000
EVENT_SOURCE_CHANGE: Final = 5
CTRL_DISABLED: Final = 0x1


class Capability(ctypes.Structure):
    """struct v4l2_capability"""

    _fields_ = (
        ("driver", c_char * 16),
        ("card", c_char * 32),
        ("bus_info", c_char * 32),
        ("version", c_uint32),
        ("capabilities", c_uint32),
        ("device_caps", c_uint32),
        ("reserved", c_uint32 * 3),
    )


class FormatDescription(ctypes.Structure):
    """struct v4l2_fmtdesc"""

    _fields_ = (
        ("index", c_uint32),
        ("type", c_uint32),
        ("flags", c_uint32),
        ("description", c_char * 32),
        ("pixelformat", c_uint32),
        ("mbus_code", c_uint32),
        ("reserved", c_uint32 * 3),
    )


class PixFormat(ctypes.Structure):
    """struct v4l2_pix_format"""

    _fields_ = (
        ("width", c_uint32),
        ("height", c_uint32),
        ("pixelformat", c_uint32),
        ("field", c_uint32),
        ("bytesperline", c_uint32),
        ("sizeimage", c_uint32),
        ("colorspace", c_uint32),
        ("priv", c_uint32),
        ("flags", c_uint32),
        ("ycbcr_enc", c_uint32),
        ("quantization", c_uint32),
        ("xfer_func", c_uint32),
    )


class _FormatUnion(ctypes.Union):
    _fields_ = (("pix", PixFormat), ("raw", c_ulong * (200 // ctypes.sizeof(c_ulong))))


class Format(ctypes.Structure):
    """struct v4l2_format"""

    _fields_ = (("type", c_uint32), ("fmt", _FormatUnion))


class Fraction(ctypes.Structure):
    """struct v4l2_fract"""

    _fields_ = (("numerator", c_uint32), ("denominator", c_uint32))


class StreamParameters(ctypes.Structure):
    """struct v4l2_streamparm, for capture"""

    _fields_ = (
        ("type", c_uint32),
        ("capability", c_uint32),
        ("capturemode", c_uint32),
        ("timeperframe", Fraction),
        ("rest", c_uint32 * 46),
    )


class BuffersRequest(ctypes.Structure):
    """struct v4l2_requestbuffers"""

    _fields_ = (
        ("count", c_uint32),
        ("type", c_uint32),
        ("memory", c_uint32),
        ("capabilities", c_uint32),
        ("flags", c_uint8),
        ("reserved", c_uint8 * 3),
    )


class Buffer(ctypes.Structure):
    """struct v4l2_buffer; ``place`` is the union ``m``: for MMAP, an offset"""

    _fields_ = (
        ("index", c_uint32),
        ("type", c_uint32),
        ("bytesused", c_uint32),
        ("flags", c_uint32),
        ("field", c_uint32),
        ("seconds", c_long),
        ("microseconds", c_long),
        ("timecode", c_uint32 * 4),
        ("sequence", c_uint32),
        ("memory", c_uint32),
        ("place", c_ulong),
        ("length", c_uint32),
        ("reserved2", c_uint32),
        ("request_fd", c_int32),
    )


class ControlDescription(ctypes.Structure):
    """struct v4l2_queryctrl"""

    _fields_ = (
        ("id", c_uint32),
        ("type", c_uint32),
        ("name", c_char * 32),
        ("minimum", c_int32),
        ("maximum", c_int32),
        ("step", c_int32),
        ("default", c_int32),
        ("flags", c_uint32),
        ("reserved", c_uint32 * 2),
    )


class V4l2ControlValue(ctypes.Structure):
    """struct v4l2_control"""

    _fields_ = (("id", c_uint32), ("value", c_int32))


class EventSubscription(ctypes.Structure):
    """struct v4l2_event_subscription"""

    _fields_ = (
        ("type", c_uint32),
        ("id", c_uint32),
        ("flags", c_uint32),
        ("reserved", c_uint32 * 5),
    )


def _number(direction: int, number: int, structure: type[Any]) -> int:
    """Return an ioctl's number: _IOW is direction 1, _IOR 2, _IOWR 3. Source: asm/ioctl.h."""
    return direction << 30 | ctypes.sizeof(structure) << 16 | ord("V") << 8 | number


QUERYCAP: Final = _number(2, 0, Capability)
ENUM_FMT: Final = _number(3, 2, FormatDescription)
S_FMT: Final = _number(3, 5, Format)
REQBUFS: Final = _number(3, 8, BuffersRequest)
QUERYBUF: Final = _number(3, 9, Buffer)
QBUF: Final = _number(3, 15, Buffer)
DQBUF: Final = _number(3, 17, Buffer)
STREAMON: Final = _number(1, 18, c_int32)
STREAMOFF: Final = _number(1, 19, c_int32)
S_PARM: Final = _number(3, 22, StreamParameters)
S_CTRL: Final = _number(3, 28, V4l2ControlValue)
QUERYCTRL: Final = _number(3, 36, ControlDescription)
G_INPUT: Final = _number(2, 38, c_int32)
SUBSCRIBE_EVENT: Final = _number(1, 90, EventSubscription)


def call(device: int, number: int, argument: Any) -> Any:
    """Call the driver with ``argument``, which it may write to; return it. Raises OSError."""
    fcntl.ioctl(device, number, argument)
    return argument


def code(name: str) -> int:
    """Return the number of a pixel format from its four letters."""
    return int.from_bytes(name.encode("ascii"), "little")


def name(code: int) -> str:
    """Return the four letters of a pixel format."""
    return (code & 0x7FFFFFFF).to_bytes(4, "little").decode("ascii", "replace").rstrip()
