"""Make the demo clip, clip.mp4, and its ground truth, clip.toml, from the pictures beside it.

Reads the JPEG files in pictures/ that SHOTS names; a picture's label is its file name up to the
first underscore (cat_..., dog_..., neither_...). Each shot pans and zooms slowly over one picture;
shots follow one another with hard cuts. A slow brightness drift and a little noise make every
frame differ, as a camera's frames do. No sound.

Writes clip.mp4 (H.264 main profile, yuv420p) and clip.toml into --out, by default this directory.

Needs Python 3.11 or later, OpenCV, numpy, and an ffmpeg program with libx264. The same pictures
and the same versions of these give the same bytes.

    python deploy/demo/make_clip.py
"""

from __future__ import annotations

import argparse
import hashlib
import math
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

HERE = Path(__file__).resolve().parent
WIDTH, HEIGHT, FPS = 640, 480, 15
CRF = 32  # x264's quality: lower is better and larger
NOISE = 2.0  # standard deviation, in grey levels of 255
DRIFT, DRIFT_PERIOD_S = 0.06, 7.3  # brightness swings by this share, once per period

Image = npt.NDArray[np.uint8]
View = tuple[float, float, float]  # zoom (1 is the whole picture), centre x and y in 0..1


@dataclass(frozen=True)
class Shot:
    """One segment: a picture, how long it lasts, and where the view starts and ends."""

    picture: str
    seconds: int
    start: View
    end: View

    @property
    def label(self) -> str:
        """What the picture shows, from its file name."""
        return self.picture.partition("_")[0]

    @property
    def frames(self) -> int:
        """How many frames it has."""
        return self.seconds * FPS


SHOTS = (
    Shot("cat_skimage_chelsea.jpg", 3, (1.00, 0.50, 0.50), (1.18, 0.45, 0.55)),
    Shot("neither_scratch_kitchen.jpg", 3, (1.00, 0.50, 0.50), (1.15, 0.45, 0.50)),
    Shot("cat_gcompris_kitten.jpg", 3, (1.20, 0.45, 0.50), (1.02, 0.50, 0.50)),
    Shot("dog_forensics_floor.jpg", 3, (1.20, 0.55, 0.45), (1.00, 0.50, 0.50)),
    Shot("neither_lomiri_room.jpg", 3, (1.00, 0.50, 0.50), (1.20, 0.55, 0.45)),
    Shot("dog_kphotoalbum_forest.jpg", 3, (1.00, 0.50, 0.50), (1.20, 0.42, 0.50)),
    Shot("cat_skimage_chelsea.jpg", 3, (1.10, 0.45, 0.52), (1.00, 0.50, 0.50)),
    Shot("neither_scratch_garden.jpg", 3, (1.00, 0.50, 0.50), (1.15, 0.55, 0.50)),
    Shot("dog_plasma_retriever.jpg", 3, (1.15, 0.60, 0.55), (1.00, 0.50, 0.50)),
    Shot("neither_gcompris_horse.jpg", 3, (1.00, 0.50, 0.50), (1.15, 0.45, 0.45)),
    Shot("dog_forensics_park.jpg", 3, (1.00, 0.50, 0.50), (1.20, 0.50, 0.45)),
    Shot("neither_forensics_avenue.jpg", 3, (1.20, 0.45, 0.50), (1.00, 0.50, 0.50)),
    Shot("dog_kphotoalbum_indoors.jpg", 3, (1.15, 0.42, 0.56), (1.02, 0.55, 0.50)),
    Shot("neither_kphotoalbum_billiards.jpg", 3, (1.25, 0.62, 0.40), (1.10, 0.50, 0.45)),
)


def look(picture: Image, view: View) -> Image:
    """Cut the view out of the picture and scale it to the frame's size."""
    height, width = picture.shape[:2]
    zoom, x, y = view
    scale = zoom * max(WIDTH / width, HEIGHT / height)
    half_w, half_h = WIDTH / scale / 2, HEIGHT / scale / 2
    centre_x = min(max(x * width, half_w), width - half_w)
    centre_y = min(max(y * height, half_h), height - half_h)
    left, top = scale * (centre_x - half_w), scale * (centre_y - half_h)
    move = np.array([[scale, 0, -left], [0, scale, -top]])
    frame = cv2.warpAffine(picture, move, (WIDTH, HEIGHT), flags=cv2.INTER_CUBIC)
    return np.asarray(frame, dtype=np.uint8)


def clip_frames(pictures: Path) -> Iterator[Image]:
    """Draw every frame of the clip in turn."""
    rng = np.random.default_rng(1)
    number = 0
    for shot in SHOTS:
        picture = cv2.imread(str(pictures / shot.picture), cv2.IMREAD_COLOR)
        if picture is None:
            raise SystemExit(f"cannot read {pictures / shot.picture}")
        start, end = np.array(shot.start), np.array(shot.end)
        for step in range(shot.frames):
            zoom, x, y = (start + (end - start) * step / (shot.frames - 1)).tolist()
            frame = look(np.asarray(picture, dtype=np.uint8), (zoom, x, y)).astype(np.float32)
            frame *= 1 + DRIFT * math.sin(2 * math.pi * number / FPS / DRIFT_PERIOD_S)
            frame += NOISE * rng.standard_normal((HEIGHT, WIDTH, 1), dtype=np.float32)
            yield np.clip(np.rint(frame), 0, 255).astype(np.uint8)
            number += 1


def encode(pictures: Path, target: Path) -> None:
    """Pipe the frames through ffmpeg into the target file."""
    command = ["ffmpeg", "-y", "-loglevel", "error", "-f", "rawvideo", "-pix_fmt", "bgr24"]
    command += ["-s", f"{WIDTH}x{HEIGHT}", "-r", str(FPS), "-i", "-", "-an"]
    command += ["-c:v", "libx264", "-profile:v", "main", "-pix_fmt", "yuv420p", "-preset", "slow"]
    command += ["-crf", str(CRF), "-g", str(2 * FPS), "-bf", "0", "-threads", "1"]
    command += ["-fflags", "+bitexact", "-flags:v", "+bitexact", "-movflags", "+faststart"]
    with subprocess.Popen([*command, str(target)], stdin=subprocess.PIPE) as ffmpeg:
        assert ffmpeg.stdin is not None
        for frame in clip_frames(pictures):
            ffmpeg.stdin.write(frame.tobytes())
    if ffmpeg.returncode != 0:
        raise SystemExit("ffmpeg failed")


def truth(clip: Path) -> str:
    """Describe the clip in TOML: what it is, and what each segment shows."""
    lines = [
        "# Written by make_clip.py. A segment holds the frames first_frame to last_frame, both",
        "# included, counted from 0; end_s is the first moment after it.",
        f'clip = "{clip.name}"',
        f'sha256 = "{hashlib.sha256(clip.read_bytes()).hexdigest()}"',
        f"fps = {FPS}\nframes = {sum(shot.frames for shot in SHOTS)}",
        f"width = {WIDTH}\nheight = {HEIGHT}",
    ]
    first = 0
    for shot in SHOTS:
        after = first + shot.frames
        lines += ["", "[[segment]]", f"start_s = {first / FPS}", f"end_s = {after / FPS}"]
        lines += [f"first_frame = {first}", f"last_frame = {after - 1}"]
        lines += [f'label = "{shot.label}"', f'picture = "pictures/{shot.picture}"']
        first = after
    return "\n".join(lines) + "\n"


def main() -> None:
    """Make the clip and its ground truth."""
    parser = argparse.ArgumentParser(description="Make clip.mp4 and clip.toml from the pictures.")
    parser.add_argument("--pictures", type=Path, default=HERE / "pictures", help="where they are")
    parser.add_argument("--out", type=Path, default=HERE, help="where the two files go")
    options = parser.parse_args()
    encode(options.pictures, clip := options.out / "clip.mp4")
    clip.with_suffix(".toml").write_text(truth(clip), encoding="utf-8")
    print(f"{clip}: {clip.stat().st_size} bytes")


if __name__ == "__main__":
    main()
