"""The side-car of a case: a JSON file beside its picture. Pure."""

from __future__ import annotations

import math
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

MAX_BYTES: Final = 16_384
"""Of the file; ours have about 400."""
SCORES_MAX: Final = 100
_YEAR_10000: Final = 253_402_300_800
"""No later time can be shown."""
TEXT_MAX: Final = 500
Text = Annotated[str, Meta(max_length=TEXT_MAX)]


class SideCar(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a case.

    time         seconds since 1970
    sequence     number of the frame at its source
    reason       why it was kept
    label        of the window, null while uncertain
    scores       of this frame alone: the best ones, best first; none if the model gave none
    model        its name and version
    sha256       of the model's file; of its head's, if it has one
    fingerprint  perceptual hash of the picture, 16 hexadecimal digits (edge/fingerprint.py)
    """

    schema: Literal[1]
    time: Annotated[float, Meta(ge=0, lt=_YEAR_10000)]
    sequence: Annotated[int, Meta(ge=0, le=2**63 - 1)]
    reason: Annotated[str, Meta(max_length=64)]
    label: Text | None
    scores: Annotated[dict[Text, float], Meta(max_length=SCORES_MAX)]
    model: Text
    sha256: Annotated[str, Meta(pattern=r"\A(?:[0-9a-f]{64})?\Z")]
    fingerprint: Annotated[str, Meta(pattern=r"\A[0-9a-f]{16}\Z")]


def encode(sidecar: SideCar) -> bytes:
    """Return the file's content."""
    return msgspec.json.encode(sidecar) + b"\n"


def decode(content: bytes) -> SideCar:
    """Return the side-car in a file that anybody may have written. Raises ValueError."""
    if len(content) > MAX_BYTES:
        raise ValueError(f"expected at most {MAX_BYTES} bytes, got {len(content)}")
    try:
        sidecar = msgspec.json.decode(content, type=SideCar)
    except RecursionError as exc:
        raise ValueError("nested too deeply") from exc
    if not all(map(math.isfinite, (sidecar.time, *sidecar.scores.values()))):
        raise ValueError("a number is not finite")
    return sidecar
