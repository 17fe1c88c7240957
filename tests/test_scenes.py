"""The recipe's cutouts and scenes: a subject found by map and colour, and put into other scenes."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from edge.model.card import Preprocessing
from models.cutouts import SIDE, cutout
from models.data import Part
from models.dataset import Dataset
from models.folders import Sample
from models.scenes import Scenes

GREEN, RED, BLUE = (40, 160, 40), (200, 30, 30), (30, 30, 200)


def disc(side: int, centre: tuple[int, int], radius: int) -> NDArray[np.uint8]:
    """Return a red disc on green, with noise."""
    picture = np.full((side, side, 3), GREEN, np.uint8)
    cv2.circle(picture, centre, radius, RED, -1)
    noise = np.random.default_rng(1).normal(0, 8, picture.shape)
    return np.clip(picture + noise, 0, 255).astype(np.uint8)


def test_a_coarse_map_becomes_the_outline_of_the_subject() -> None:
    """Nine by nine places, none of them exact, and the colours: nearly the true outline."""
    true = np.zeros((SIDE, SIDE), np.uint8)
    cv2.circle(true, (60, 50), 28, 1, -1)
    small = cv2.resize(true.astype(np.float32), (9, 9), interpolation=cv2.INTER_AREA)
    coarse = np.asarray(small, np.float32)
    found = cutout(disc(224, (120, 100), 56), coarse)
    assert found.shape == (SIDE, SIDE)
    assert (found & (true > 0)).sum() / (found | (true > 0)).sum() > 0.9


def test_a_map_that_says_nothing_cuts_nothing_out() -> None:
    """A flat map, or one that speaks of the whole picture alike."""
    assert not cutout(disc(224, (120, 100), 56), np.ones((9, 9), np.float32)).any()


@pytest.fixture
def corpus() -> Dataset:
    """Two subjects, of which one was not found, and two background pictures, green and blue."""
    pictures = np.stack([disc(96, (48, 48), 24)] * 2 + [np.full((96, 96, 3), GREEN)] * 2)
    pictures[3] = BLUE
    labels = (0, 0, 1, 1)
    samples = tuple(Sample(Path(f"{i}"), label) for i, label in enumerate(labels))
    parts: tuple[Part, ...] = ("train",) * 4
    how = Preprocessing(central_fraction=1.0)
    return Dataset(("dog", "room"), ("room",), samples, parts, pictures.astype(np.uint8), how)


@pytest.fixture
def cutouts() -> NDArray[np.bool_]:
    """The first picture's disc."""
    masks = np.zeros((4, SIDE, SIDE), np.uint8)
    cv2.circle(masks[0], (SIDE // 2, SIDE // 2), 28, 1, -1)
    return masks.astype(np.bool_)


def test_a_subject_stands_small_in_a_scene(corpus: Dataset, cutouts: NDArray[np.bool_]) -> None:
    """Every number is another scene, the same each time; the scene stays around the subject."""
    scenes = Scenes(corpus, cutouts, 64, seed=3)
    assert scenes.possible.tolist() == [True, False, True, True]
    shares = []
    for number in range(40):
        picture = scenes.picture(0, number)
        assert picture.shape == (64, 64, 3)
        assert (picture == scenes.picture(0, number)).all()
        red = picture.astype(int)[..., 0] - picture[..., 1]
        shares.append(float((red > 40).mean()))
    assert 0.01 < min(shares) < 0.1 < max(shares) < 0.45


def test_background_is_cut_in_the_shape_of_a_subject(
    corpus: Dataset, cutouts: NDArray[np.bool_]
) -> None:
    """The edge of a cutout must not say that there is an animal."""
    scenes = Scenes(corpus, cutouts, 64, seed=3)
    mixed = [scenes.picture(3, number) for number in range(20)]
    assert any(len(np.unique(one.reshape(-1, 3), axis=0)) > 2 for one in mixed)
    for one in mixed:
        assert one[..., 0].max() < 120, "something red: the subject itself was pasted"


def test_without_scenes_or_subjects_nothing_is_possible(
    corpus: Dataset, cutouts: NDArray[np.bool_]
) -> None:
    """A recipe without background, and one whose teacher found no subject."""
    assert not Scenes(corpus, cutouts & False, 64, seed=3).possible.any()
    plain = Dataset(corpus.labels, (), corpus.samples, corpus.parts, corpus.pictures, corpus.how)
    assert not Scenes(plain, cutouts, 64, seed=3).possible.any()
