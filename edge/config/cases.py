"""The table [cases]: which frames are kept for a person to sort, where, and how many."""

from __future__ import annotations

from typing import Annotated, ClassVar, Final

from msgspec import Meta

from edge.config.table import Share, Table
from edge.errors import ConfigError

Seconds = Annotated[float, Meta(ge=0, le=31_536_000)]
MASKS_MAX: Final = 64


class CasesConfig(Table, frozen=True):
    """Frames that are kept as pictures. Every reason is off unless it is set.

    shadow, drift  that another observer asks for: a candidate disagrees, an outlier
    request        the next frame, on the request ``cases-keep``
    flips          the label has changed more than so often in ``flips_s``; 0: off
    window         the frame's best label is not the window's
    margin         the frame's two best scores differ by less; 0: off
    control        this share of all frames, at random, from ``seed``; 0: off
    every_s        one in so long; 0: off
    interval_s     least time between two that are kept; requested ones do not wait
    per_hour       at most
    duplicate_bits, duplicate_s  a frame is not kept if its perceptual hash differs in so few of 64
                   bits from that of a case of the last so long, and its best label is the same;
                   0 s: off
    path           a folder; auto: cases in systemd's state directory
    side           pixels of a picture's longer side, at most
    scores         in the side-car, the best
    mask           painted over: left, top, width, height of each part, as camera.roi has them:
                   shares of the upright picture, before camera.roi is cut
    bytes          of all cases, sorted ones included; beyond it the oldest unsorted one is dropped
    free_bytes     of the disk that are left free, in the same way
    """

    changed_by: ClassVar = "reload"

    shadow: bool = False
    drift: bool = False
    request: bool = False
    flips: Annotated[int, Meta(ge=0, le=1000)] = 0
    flips_s: Seconds = 60.0
    window: bool = False
    margin: Share = 0.0
    control: Share = 0.0
    seed: Annotated[int, Meta(ge=0, le=2**63 - 1)] = 0
    every_s: Seconds = 0.0
    interval_s: Seconds = 1.0
    per_hour: Annotated[int, Meta(ge=1, le=3600)] = 300
    duplicate_bits: Annotated[int, Meta(ge=0, le=64)] = 3
    duplicate_s: Seconds = 86_400.0
    path: str = "auto"
    side: Annotated[int, Meta(ge=64, le=4096)] = 640
    scores: Annotated[int, Meta(ge=1, le=100)] = 5
    mask: tuple[tuple[Share, Share, Share, Share], ...] = ()
    bytes: Annotated[int, Meta(ge=100_000, le=1_000_000_000_000)] = 200_000_000
    free_bytes: Annotated[int, Meta(ge=0, le=1_000_000_000_000)] = 200_000_000

    @property
    def enabled(self) -> bool:
        """Whether there is any reason to keep a frame."""
        flags = (self.shadow, self.drift, self.request, self.window)
        return any((*flags, self.flips, self.margin, self.control, self.every_s))

    def check(self, where: str) -> None:
        """Raise ConfigError for a mask that is no part of a picture, or an empty path."""
        if not self.path:
            raise ConfigError("not a folder", where=f"{where}.path", expected="a folder, or auto")
        if len(self.mask) > MASKS_MAX:
            raise ConfigError(
                "too many parts", where=f"{where}.mask", expected=f"at most {MASKS_MAX}"
            )
        for left, top, width, height in self.mask:
            inside = left + width <= 1 + 1e-9 and top + height <= 1 + 1e-9
            if not (width > 0 and height > 0 and inside):
                raise ConfigError(
                    "not a part of the picture",
                    where=f"{where}.mask",
                    expected="left, top, width, height as shares: a width and a height above 0,"
                    " inside 1",
                    got=str([left, top, width, height]),
                )
