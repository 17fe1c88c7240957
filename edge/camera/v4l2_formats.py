"""Pixel formats of V4L2 cameras: chooses one, and turns the bytes of a buffer into pixels.

Raw pictures stay where the driver put them: the result is a view of its buffer. A JPEG is decoded
at half, a quarter or an eighth of its size where the model has no use for more, which costs a third
of the time. It does not know when a buffer is filled or given back. Runs on the reader's thread.
"""

from __future__ import annotations

import mmap
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge.camera import jpeg
from edge.camera import v4l2_abi as abi
from edge.camera.spec import CameraSpec
from edge.errors import CameraError
from edge.frames import PixelFormat
from edge.pictures import picture

FORMATS: Final[dict[str, PixelFormat]] = {
    "yuyv": "yuyv", "nv12": "nv12", "yu12": "i420", "mjpg": "bgr", "jpeg": "bgr",
    "bgr3": "bgr", "rgb3": "rgb", "grey": "gray",
}  # fmt: skip
"""V4L2's four letters -> the format of the frames; the cheapest first."""
COMPRESSED: Final = ("mjpg", "jpeg")
PACKED_BYTES: Final[dict[PixelFormat, int]] = {"yuyv": 2, "bgr": 3, "rgb": 3, "gray": 1}


@dataclass(frozen=True, slots=True)
class Negotiated:
    """What the driver agreed to. fps: 0 if it does not say."""

    pix: abi.PixFormat
    fps: float


def negotiate(device: int, spec: CameraSpec) -> Negotiated:
    """Set the format nearest to ``spec``: size first, then frame rate, then cost.

    Raises CameraError if it has no format that can be read, OSError if it is busy.
    """
    config, offered = spec.config, _offered(device)
    usable = [name for name in FORMATS if name in offered and config.format in ("auto", name)]
    if not usable:
        raise CameraError(
            "no pixel format that can be read",
            reason="unsupported",
            where=spec.name,
            expected=" or ".join(FORMATS if config.format == "auto" else (config.format,)),
            got=", ".join(offered) or "none",
            hint="set camera.format" if config.format != "auto" else "",
        )

    def worth(name: str) -> tuple[int, float, int]:
        got = _set(device, name, spec)
        off = abs(got.pix.width - config.width) + abs(got.pix.height - config.height)
        return -off, min(got.fps or config.fps, config.fps * 0.95), -usable.index(name)

    got = _set(device, usable[0] if len(usable) == 1 else max(usable, key=worth), spec)
    if abi.name(got.pix.pixelformat).lower() not in FORMATS:
        raise CameraError(
            "the driver chose another pixel format",
            reason="unsupported",
            where=spec.name,
            got=abi.name(got.pix.pixelformat),
        )
    return got


def _offered(device: int) -> list[str]:
    names: list[str] = []
    while True:
        format = abi.FormatDescription(index=len(names), type=abi.CAPTURE)
        try:
            names.append(abi.name(abi.call(device, abi.ENUM_FMT, format).pixelformat).lower())
        except OSError:
            return names


def _set(device: int, name: str, spec: CameraSpec) -> Negotiated:
    request = abi.Format(type=abi.CAPTURE)
    pix = request.fmt.pix
    pix.width, pix.height, pix.field = spec.config.width, spec.config.height, abi.FIELD_NONE
    pix.pixelformat = abi.code(name.upper())
    got = abi.call(device, abi.S_FMT, request).fmt.pix
    rate = abi.StreamParameters(type=abi.CAPTURE)
    rate.timeperframe.numerator, rate.timeperframe.denominator = 1000, round(spec.config.fps * 1000)
    fps = 0.0
    try:
        period = abi.call(device, abi.S_PARM, rate).timeperframe
        if period.numerator:
            fps = period.denominator / period.numerator
    except OSError:
        pass  # a device without frame rates
    return Negotiated(abi.PixFormat.from_buffer_copy(got), fps)


class Decoder:
    """Turns the bytes of a buffer into pixels.

    layout         of the pixels
    width, height  of the frames: the camera's, divided by ``reduced``
    still          width and height of a picture in full size
    Raises CameraError if a picture has more pixels than may be decoded.
    """

    def __init__(self, pix: abi.PixFormat, spec: CameraSpec) -> None:
        name = abi.name(pix.pixelformat).lower()
        self.layout: PixelFormat = FORMATS[name]
        self._jpeg = name in COMPRESSED
        self._whole = (pix.height, pix.width)
        self._stride, self._max_pixels = pix.bytesperline, spec.config.max_pixels
        self._least = self.reduced = 1
        if self._jpeg:
            header = picture.Header("jpeg", pix.width, pix.height)
            useful = picture.reduction(pix.width, pix.height, spec.useful)
            try:
                self._least = picture.fitting(header, spec.config.max_pixels)
                self.reduced = picture.fitting(header, spec.config.max_pixels, useful)
            except picture.Unreadable as exc:
                raise CameraError(str(exc), reason="unsupported", where=spec.name) from exc
        self.width, self.height = _divided(pix.width, pix.height, self.reduced)
        self.still = _divided(pix.width, pix.height, self._least)
        self._planes: NDArray[np.uint8] = np.empty(0, np.uint8)

    def decode(self, content: mmap.mmap, used: int, full: bool) -> NDArray[np.uint8] | None:
        """Return the pixels in the first ``used`` bytes of ``content``; None if corrupt.

        full  a JPEG in full size. Raw pixels are a view of ``content``.
        """
        if self._jpeg:
            return self._decode_jpeg(content, used, full)
        height, width = self._whole
        if self.layout in ("i420", "nv12"):
            return self._unpad(content, used)
        bytes_wide = width * PACKED_BYTES[self.layout]
        stride = self._stride or bytes_wide
        if used < stride * (height - 1) + bytes_wide:
            return None
        rows = np.frombuffer(content, np.uint8, min(len(content), stride * height))
        if len(rows) < stride * height:
            return None
        rows = rows.reshape(height, stride)[:, :bytes_wide]
        return rows if self.layout == "gray" else rows.reshape(height, width, -1)

    def _decode_jpeg(self, content: mmap.mmap, used: int, full: bool) -> NDArray[np.uint8] | None:
        received = np.frombuffer(content, np.uint8, used)
        header = picture.read_header(received)
        if header is None or (header.height, header.width) != self._whole:
            return None
        pixels = jpeg.decode(received, self._least if full else self.reduced, self._max_pixels)
        expected = self.still if full else (self.width, self.height)
        return pixels if pixels is not None and pixels.shape[1::-1] == expected else None

    def _unpad(self, content: mmap.mmap, used: int) -> NDArray[np.uint8] | None:
        """Return planes below each other without padding: a view if there is none."""
        height, width = self._whole
        stride = self._stride or width
        if used < stride * height * 3 // 2:
            return None
        flat = np.frombuffer(content, np.uint8, stride * height * 3 // 2)
        if stride == width:
            return flat.reshape(height * 3 // 2, width)
        if not self._planes.size:
            self._planes = np.empty((height * 3 // 2, width), np.uint8)
        luma = stride * height
        self._planes[:height] = flat[:luma].reshape(height, stride)[:, :width]
        chroma = self._planes[height:].reshape(-1)
        if self.layout == "nv12":
            rows = flat[luma:].reshape(height // 2, stride)[:, :width]
        else:
            rows = flat[luma:].reshape(height, stride // 2)[:, : width // 2]
        chroma.reshape(rows.shape)[...] = rows
        return self._planes


def _divided(width: int, height: int, by: int) -> tuple[int, int]:
    """Return the size of a picture whose sides are divided, and rounded up."""
    return -(-width // by), -(-height // by)
