"""A made-up gate with three states, as pictures for a camera that reads a folder."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

STATES = ("ajar", "closed", "open")
Pixels = NDArray[np.uint8]


def picture(state: str, seed: int, light: float = 1.0) -> Pixels:
    """Return the gate as a camera in the wind sees it: leaves, a passer-by; (240, 320, 3) BGR."""
    random = np.random.default_rng((seed, STATES.index(state)))
    sky, ground = np.array((200, 170, 140)), np.array((90, 120, 110))
    shade = np.linspace(0, 1, 240)[:, None, None]
    scene = np.ascontiguousarray(np.repeat(sky * (1 - shade) + ground * shade, 320, 1), np.uint8)
    for x, y, size, green in random.integers((0, 20, 8, 60), (320, 90, 30, 130), (9, 4)).tolist():
        cv2.circle(scene, (x, y), size, (40, green, 50), -1)
    for x in (70, 250):
        cv2.rectangle(scene, (x - 8, 60), (x + 8, 220), (70, 75, 80), -1)
    width = {"closed": 164, "ajar": 90, "open": 24}[state]
    for bar in range(5):
        cv2.line(scene, (78, 90 + 28 * bar), (78 + width, 90 + 28 * bar), (30, 50, 90), 9)
    cv2.line(scene, (78 + width, 86), (78 + width, 206), (30, 50, 90), 9)
    x, size = int(random.integers(0, 320)), int(random.integers(20, 45))
    coat = tuple(random.integers(30, 200, 3).tolist())
    cv2.ellipse(scene, (x, 225 - size), (size // 3, size), 0, 0, 360, coat, -1)
    shaken = np.roll(scene, random.integers(-5, 6, 2).tolist(), (0, 1))
    noisy = shaken * light * random.uniform(0.9, 1.1) + random.normal(
        0, 1 + 2 * light, shaken.shape
    )
    return np.asarray(np.clip(noisy, 0, 255), np.uint8)


def write(folder: Path, state: str, seeds: range, light: float = 1.0) -> list[Path]:
    """Write a picture for each seed, each replaced in one step; return the files."""
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for number, seed in enumerate(seeds):
        part, file = folder.parent / f"part-{folder.name}.png", folder / f"{number:02}.png"
        cv2.imwrite(str(part), picture(state, seed, light))
        files.append(part.replace(file))
    return files
