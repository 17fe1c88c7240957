"""The parts of the recipe that need neither TensorFlow nor Albumentations."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from edge.config import ModelConfig
from edge.errors import ConfigError
from edge.model import engine as engines
from models import data, dataset, evaluate, options


def pictures(folder: Path, seed: int = 0, **counts: int) -> Path:
    """Write so many pictures of each class, no two alike."""
    random = np.random.default_rng(seed)
    for label, count in counts.items():
        (folder / label).mkdir(parents=True)
        for index in range(count):
            small = random.integers(0, 256, (6, 8, 3), np.uint8)
            picture = cv2.resize(small, (80, 60), interpolation=cv2.INTER_CUBIC)
            cv2.imwrite(str(folder / label / f"{label}{index}.png"), picture)
    return folder


def arguments(folder: Path, **changes: object) -> argparse.Namespace:
    """Return the recipe's options for a small folder."""
    args = options.parser("test").parse_args(
        [
            "--data",
            str(folder),
            "--out",
            str(folder / "out"),
            "--held-out",
            "4",
            "--validation",
            "2",
        ]
    )
    vars(args).update(changes)
    return args


def test_the_split_is_fixed_stratified_and_disjoint() -> None:
    """The same seed deals the same; every part has the classes in the whole's proportion."""
    labels, groups = np.array([0] * 60 + [1] * 30), np.arange(90)
    parts = data.split(labels, groups, held_out=30, validation=15, seed=3)
    assert parts == data.split(labels, groups, held_out=30, validation=15, seed=3)
    assert parts != data.split(labels, groups, held_out=30, validation=15, seed=4)
    counts = {
        part: [sum(p == part for p in parts[:60]), sum(p == part for p in parts[60:])]
        for part in ("train", "validation", "held_out")
    }
    assert counts == {"train": [30, 15], "validation": [10, 5], "held_out": [20, 10]}


def test_near_duplicates_stay_on_one_side(tmp_path: Path) -> None:
    """A copy of another size and quality is found; the pair is never divided."""
    folder = pictures(tmp_path / "train", cat=8, dog=8)
    twin = Image.open(folder / "cat" / "cat0.png").resize((120, 90))
    twin.save(folder / "cat" / "twin.jpg", quality=60)
    for seed in range(6):
        found = dataset.prepare(arguments(tmp_path, seed=seed))
        part = {s.path.name: p for s, p in zip(found.samples, found.parts, strict=True)}
        assert part["cat0.png"] == part["twin.jpg"]
        assert found.parts.count("held_out") == 4
    Image.open(folder / "cat" / "cat1.png").save(folder / "dog" / "liar.png")
    found = dataset.prepare(arguments(tmp_path))
    part = {s.path.name: p for s, p in zip(found.samples, found.parts, strict=True)}
    assert part["cat1.png"] == part["liar.png"] == "none"


def test_every_format_is_read_as_what_it_is(tmp_path: Path) -> None:
    """EXIF, palette, alpha, CMYK, grey, 16 bits, WebP, GIF, and a wrong suffix: all red on top."""
    rows = np.zeros((40, 60, 3), np.uint8)
    rows[:20] = (200, 0, 0)
    whole = Image.fromarray(rows)
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    whole.rotate(180).save(tmp_path / "exif.jpg", exif=exif, quality=95)
    whole.quantize(8).save(tmp_path / "palette.png")
    whole.convert("CMYK").save(tmp_path / "cmyk.jpg", quality=95)
    whole.save(tmp_path / "lossless.webp", lossless=True)
    whole.save(tmp_path / "moving.gif", save_all=True, append_images=[Image.new("RGB", (60, 40))])
    (tmp_path / "moving.gif").replace(tmp_path / "gif-really.jpg")
    for path in tmp_path.iterdir():
        pixels = data.read_rgb(path)
        assert pixels.shape == (40, 60, 3), path
        assert pixels[5, 30, 0] > 150 > 60 > pixels[5, 30, 1], path
        assert pixels[35, 30].max() < 60, path
    Image.new("RGBA", (40, 40), (255, 0, 0, 0)).save(tmp_path / "clear.png")
    assert data.read_rgb(tmp_path / "clear.png")[0, 0].tolist() == [128, 128, 128]
    Image.fromarray(np.full((40, 40), 65535, np.uint16)).save(tmp_path / "deep.png")
    assert data.read_rgb(tmp_path / "deep.png")[0, 0].tolist() == [255, 255, 255]


def test_what_cannot_be_read_is_reported(tmp_path: Path) -> None:
    """Truncated, empty, no picture: left out by name and reason; the others keep their labels."""
    folder = pictures(tmp_path / "train", cat=8, dog=8)
    good = (folder / "dog" / "dog0.png").read_bytes()
    (folder / "dog" / "cut.png").write_bytes(good[: len(good) // 2])
    (folder / "dog" / "empty.jpg").write_bytes(b"")
    (folder / "cat" / "notes.txt").write_text("not a picture")
    found = dataset.prepare(arguments(tmp_path))
    told = (tmp_path / "out" / "dataset.json").read_text()
    assert all(name in told for name in ("cut.png", "empty.jpg", "notes.txt"))
    assert len(found.samples) == 16
    for index, sample in enumerate(found.samples):
        assert sample.label == (sample.path.parent.name == "dog")
        small = cv2.resize(data.read_rgb(sample.path), (256, 256))
        assert np.array_equal(found.pictures[index], small)


def test_a_second_reading_does_nothing_until_a_file_changes(tmp_path: Path) -> None:
    """The pictures are kept; a changed file or option makes them anew."""
    folder = pictures(tmp_path / "train", cat=8, dog=8)
    dataset.prepare(arguments(tmp_path))
    stored = tmp_path / "out" / "pictures.npy"
    os.utime(stored, ns=(1, 1))
    dataset.prepare(arguments(tmp_path))
    assert stored.stat().st_mtime_ns == 1
    os.utime(folder / "cat" / "cat0.png", ns=(5, 5))
    dataset.prepare(arguments(tmp_path))
    assert stored.stat().st_mtime_ns != 1


def test_frames_sorted_by_a_person_only_train(tmp_path: Path) -> None:
    """--extra joins the training part; near-duplicates of test pictures do not."""
    pictures(tmp_path / "train", cat=8, dog=8)
    before = dataset.prepare(arguments(tmp_path))
    held = before.samples[int(before.indices("held_out")[0])]
    extra = pictures(tmp_path / "extra", seed=9, cat=3)
    Image.open(held.path).save(extra / "cat" / "leak.png")
    found = dataset.prepare(arguments(tmp_path, extra=extra))
    part = {s.path: p for s, p in zip(found.samples, found.parts, strict=True)}
    assert [part[extra / "cat" / f"cat{i}.png"] for i in range(3)] == ["train"] * 3
    assert part[extra / "cat" / "leak.png"] == "none"
    assert found.parts.count("held_out") == 4


def test_the_rarer_class_weighs_more() -> None:
    """Three to one: weights one to three, and their mean over the samples is 1."""
    labels = np.array([0] * 30 + [1] * 10)
    weights = data.class_weights(labels, 2)
    assert weights[1] == pytest.approx(3 * weights[0])
    assert weights[labels].mean() == pytest.approx(1)


def test_the_student_is_told_by_label_and_teacher() -> None:
    """Each view's target lies between the smoothed label and what the teacher says of that view."""
    logits = np.array([[[0.0], [2.0]], [[-2.0], [9.0]]], np.float32)
    classes = np.array([1, 0])
    told = data.soft_targets(classes, 2, logits, 0.5)[:, :, 0]
    says = 1 / (1 + np.exp(-logits[:, :, 0]))
    assert told == pytest.approx((says + [[0.975], [0.025]]) / 2, abs=1e-6)
    three = data.soft_targets(classes, 3, np.zeros((2, 4, 3), np.float32), 1.0)
    assert three == pytest.approx(1 / 3)
    alone = data.soft_targets(classes, 3, np.zeros((2, 4, 3), np.float32), 0.0)
    assert alone[0, 0] == pytest.approx([1 / 30, 1 - 2 / 30, 1 / 30])


def test_missing_pictures_are_one_line(tmp_path: Path) -> None:
    """No folder, one class, an empty class, an odd name, too few for the split."""
    with pytest.raises(ConfigError, match=r"no training pictures.*Dogs-vs-Cats"):
        data.scan(tmp_path / "none")
    with pytest.raises(ConfigError, match="fewer than two classes"):
        data.scan(pictures(tmp_path / "one", cat=3))
    with pytest.raises(ConfigError, match="class `dog` holds no picture"):
        data.scan(pictures(tmp_path / "empty", cat=3, dog=0))
    (tmp_path / "odd" / "c\nat").mkdir(parents=True)
    (tmp_path / "odd" / "dog").mkdir()
    with pytest.raises(ConfigError, match="cannot be a label"):
        data.scan(tmp_path / "odd")
    with pytest.raises(ConfigError, match="expected more than 12, got 6"):
        data.split(np.array([0, 1] * 3), np.arange(6), held_out=10, validation=2, seed=1)


def test_no_test_picture_is_an_error_not_a_zero(tmp_path: Path) -> None:
    """Accuracy over nothing is not 0 %."""
    gone = [data.Sample(tmp_path / "gone.jpg", 0)]
    with pytest.raises(ConfigError, match="none of the test pictures can be read"):
        evaluate.judge(engines.start(ModelConfig()), gone)
