"""The parts of the recipe that need no training packages."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.errors import ConfigError
from models import data
from models.evaluate import wilson


def pictures(folder: Path, **counts: int) -> Path:
    """Write so many grey pictures of each class."""
    for label, count in counts.items():
        (folder / label).mkdir(parents=True)
        for index in range(count):
            picture = np.full((30, 40, 3), 50 + index, np.uint8)
            cv2.imwrite(str(folder / label / f"{label}{index}.png"), picture)
    return folder


def test_the_split_is_fixed_stratified_and_disjoint(tmp_path: Path) -> None:
    """The same seed deals the same; every part has the classes in the whole's proportion."""
    labels, samples = data.scan(pictures(tmp_path, dog=30, cat=60))
    assert labels == ("cat", "dog")
    parts = data.split(samples, held_out=30, validation=15, seed=3)
    assert parts == data.split(samples, held_out=30, validation=15, seed=3)
    assert parts != data.split(samples, held_out=30, validation=15, seed=4)
    everything = [*parts.train, *parts.validation, *parts.held_out]
    assert sorted(s.path for s in everything) == sorted(s.path for s in samples)
    assert [sum(s.label == 0 for s in part) for part in (parts.train, parts.held_out)] == [30, 20]
    assert (len(parts.validation), len(parts.held_out)) == (15, 30)


def test_missing_pictures_are_one_line(tmp_path: Path) -> None:
    """No folder, one class, an empty class, too few for the split."""
    with pytest.raises(ConfigError, match=r"no training pictures.*Dogs-vs-Cats"):
        data.scan(tmp_path / "none")
    with pytest.raises(ConfigError, match="fewer than two classes"):
        data.scan(pictures(tmp_path / "one", cat=3))
    with pytest.raises(ConfigError, match="class `dog` holds no picture"):
        data.scan(pictures(tmp_path / "empty", cat=3, dog=0))
    _, samples = data.scan(pictures(tmp_path / "few", cat=3, dog=3))
    with pytest.raises(ConfigError, match="expected more than 12, got 6"):
        data.split(samples, held_out=10, validation=2, seed=1)


def test_unreadable_pictures_are_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The others keep their labels."""
    folder = pictures(tmp_path, cat=2, dog=2)
    (folder / "cat" / "cat0.png").write_bytes(b"nothing")
    pixels, labels = data.load(data.scan(folder)[1])
    assert labels.tolist() == [0, 1, 1]
    assert pixels[:, 0, 0, 0].tolist() == [51, 50, 51]
    assert "cat0.png" in capsys.readouterr().out


def test_augmented_views_differ_and_are_pictures() -> None:
    """Same size and type, another view each time, the same for the same random state."""
    picture = np.random.default_rng(0).integers(0, 256, (256, 256, 3), np.uint8)
    views = [data.augment(picture, 64, np.random.default_rng(seed)) for seed in (1, 1, 2)]
    assert all(view.shape == (64, 64, 3) and view.dtype == np.uint8 for view in views)
    assert np.array_equal(views[0], views[1])
    assert not np.array_equal(views[0], views[2])


def test_the_interval_is_wilsons() -> None:
    """Against the values of Wilson's formula worked by hand for 95 of 100."""
    low, high = wilson(95, 100)
    assert (round(low, 4), round(high, 4)) == (0.8882, 0.9785)
    assert wilson(0, 0) == (0.0, 1.0)
    assert wilson(10, 10)[1] == pytest.approx(1.0)
