"""Recordings for tests: made by the command, or record by record."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.camera.recording import records
from edge.camera.recording.archive import CLOSING, Kind, Member, encode
from edge.camera.recording.reader import Reader, Recorded
from edge.config import SmoothingConfig, Thresholds
from edge.contract import CameraMode, ModelInfo
from edge.frames import Frame, PixelFormat, View
from tests.conftest import edge

LABELS = ("red", "green", "blue")
MODE = CameraMode("file", "clip.mp4", 16, 12, 10.0, "bgr")
MODEL = ModelInfo(
    name="rgb", version="1", sha256="ab" * 32, labels=LABELS, input_shape=(1, 32, 32, 3),
    input_dtype="uint8", runtime="test", kind="int8", xnnpack=True, delegated_share=1.0,
    left_out=(), threads=1, golden="none",
)  # fmt: skip


def recorded(path: Path, *arguments: str | Path, config: str = "") -> Path:
    """Return a recording that the command has made, of a film or folder as fast as it goes."""
    file = path.parent / f"{path.name}.toml"
    file.write_text('[camera]\npace = "fast"\n' + config)
    done = edge("record", "--config", file, *arguments, path)
    assert done.returncode == 0, done.stderr
    return path


def start(**changes: Any) -> records.Start:
    """Return the first record of a recording."""
    fields: dict[str, Any] = {
        "version": 1, "edge": "0", "device": "d", "started": 1.7e9, "monotonic_ns": 10**9,
        "lossless": True, "model": MODEL, "smoothing": SmoothingConfig(),
        "thresholds": Thresholds(0.6, "default", 0.4, "default"),
    }  # fmt: skip
    return records.Start(**fields | changes)


def source(format: PixelFormat = "bgr", **changes: Any) -> records.Source:
    """Return the record of a camera of 16 x 12 pixels."""
    fields: dict[str, Any] = {"mode": MODE, "width": 16, "height": 12, "view": View()}
    return records.Source(format=format, **fields | changes)


def seen(number: int, **changes: Any) -> records.Seen:
    """Return the record of a frame, ten a second."""
    fields: dict[str, Any] = {
        "sequence": number, "captured_ns": 10**9 + number * 10**8, "scores": (1.0, 0.0, 0.0)
    }  # fmt: skip
    return records.Seen(**fields | changes)


def png(color: Sequence[int] = (0, 0, 200), width: int = 16, height: int = 12) -> bytes:
    """Return a picture of one colour, BGR."""
    pixels: NDArray[np.uint8] = np.full((height, width, 3), color, np.uint8)
    return cv2.imencode(".png", pixels)[1].tobytes()


def of(frames: int = 3) -> list[records.Record | tuple[Kind, bytes]]:
    """Return the parts of a whole recording of red frames."""
    parts: list[records.Record | tuple[Kind, bytes]] = [start(), source()]
    for number in range(frames):
        parts += [seen(number), ("png", png())]
    return [*parts, records.End(reason="seconds", frames=frames, dropped=0)]


def tar(parts: Iterable[records.Record | tuple[Kind, bytes]], closing: bytes = CLOSING) -> bytes:
    """Return the file that these parts make, each with its number and checksum."""
    members: Iterator[tuple[Kind, bytes]] = (
        part if isinstance(part, tuple) else ("json", records.encode(part)) for part in parts
    )
    return b"".join(encode(Member(n, *m), 0.0) for n, m in enumerate(members)) + closing


def contents(path: Path) -> list[tuple[str, bytes]]:
    """Return names and contents, as Python's tarfile reads them."""
    with tarfile.open(path, "r:") as file:
        return [(info.name, content.read()) for info in file if (content := file.extractfile(info))]


def jsons(path: Path, kind: str) -> list[dict[str, Any]]:
    """Return the JSON records of a kind."""
    found = [json.loads(c) for name, c in contents(path) if name.endswith("json")]
    return [record for record in found if record["kind"] == kind]


def frames(path: Path) -> tuple[list[Frame], bool]:
    """Return every frame, decoded, and whether the file was closed. Raises CameraError."""
    reader = Reader(path)
    try:
        found = [reader.frame(item) for item in reader if isinstance(item, Recorded)]
        return found, reader.whole
    finally:
        reader.close()
