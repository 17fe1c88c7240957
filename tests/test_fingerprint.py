"""Perceptual hashes: alike where a person sees the same picture, different where not."""

from __future__ import annotations

import subprocess
import sys

import cv2
import numpy as np
import pytest

from edge.fingerprint import distance, fingerprint
from tests.case_files import pixels
from tests.conftest import ROOT

RNG = np.random.default_rng(3)


def noisy(picture: np.ndarray, sigma: float) -> np.ndarray:
    """Return ``picture`` as a sensor gives it again."""
    return np.clip(picture + RNG.normal(0, sigma, picture.shape), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("seed", range(5))
def test_the_same_picture_has_the_same_hash(seed: int) -> None:
    """But for few bits: with noise, another size, as a JPEG, a little brighter, as RGB."""
    one = pixels(seed, 480, 640)
    code = fingerprint(one)
    assert 0 < code < 2**64
    half = np.asarray(cv2.resize(one, (320, 240), interpolation=cv2.INTER_AREA), np.uint8)
    packed = cv2.imencode(".jpg", one, [cv2.IMWRITE_JPEG_QUALITY, 80])[1]
    read = np.asarray(cv2.imdecode(packed, cv2.IMREAD_COLOR), np.uint8)
    brighter = (one * 0.9).astype(np.uint8)
    for other in (noisy(one, 8), half, read, brighter):
        assert distance(code, fingerprint(other)) <= 3
    assert fingerprint(one[..., ::-1]) == code


def test_other_pictures_have_other_hashes() -> None:
    """Far apart, mirrored ones too; an object of a twentieth of the picture in most places."""
    codes = [fingerprint(pixels(seed, 480, 640)) for seed in range(20)]
    apart = [distance(a, b) for place, a in enumerate(codes) for b in codes[:place]]
    assert min(apart) > 12
    one = pixels(0, 480, 640)
    assert distance(fingerprint(one), fingerprint(np.ascontiguousarray(one[:, ::-1]))) > 12
    moved = 0
    for _ in range(20):
        other = one.copy()
        top, left = RNG.integers(0, 480 - 107), RNG.integers(0, 640 - 143)
        other[top : top + 107, left : left + 143] = RNG.integers(0, 256, 3)
        moved += distance(fingerprint(one), fingerprint(other)) > 3
    assert moved >= 14


def test_nothing_to_see_is_alike() -> None:
    """A dark picture is no other one for its noise."""
    dark = np.full((480, 640, 3), 12, np.uint8)
    assert {fingerprint(noisy(dark, 6)) for _ in range(5)} == {0}


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 400, 3), (31, 33, 3), (2000, 7, 3)])
def test_any_shape_has_a_hash(shape: tuple[int, int, int]) -> None:
    """Small or narrow, and a part of another picture."""
    large = RNG.integers(0, 256, (shape[0] + 2, shape[1] + 2, 3), np.uint8)
    part = large[1:-1, 1:-1]
    assert fingerprint(part) == fingerprint(part.copy())


def test_the_distance_counts_bits() -> None:
    """From none to all."""
    assert [distance(5, 5), distance(0, 7), distance(0, 2**64 - 1)] == [0, 3, 64]


LATE = """
import sys
import numpy as np
from edge.fingerprint import fingerprint
from edge.observers.drift_learning import ROWS, Learning
from edge.observers.drift_window import Range, Window
rows = np.random.default_rng(1).random((ROWS, 8), np.float32)
before = {*sys.modules}
fingerprint(np.zeros((480, 640, 3), np.uint8))
one = np.ones(1, np.float32)
window = Window(Range(0 * one, one, np.zeros((1, 2), np.float32)))
for value in (3, 1, 2, 8):
    window.add(value * one)
assert window.median(0) == 2.5, window.median(0)
assert Learning(rows, lambda rows: None).baseline() is not None
print(*sorted({*sys.modules} - before))
"""


def test_nothing_is_imported_while_frames_are_handled() -> None:
    """numpy.median and quantile import numpy.ma at their first call: 20 ms, with the lock held."""
    done = subprocess.run(
        [sys.executable, "-c", LATE], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == ""
