"""The parts of the recipe that need neither TensorFlow nor Albumentations."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from edge.cases import archive
from edge.cases.store import Store
from edge.config import ModelConfig
from edge.errors import ConfigError
from edge.model.engine import start
from models import data, dataset, folders, judge, options
from models.folders import Sample
from tests import case_files


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
    """The same seed gives the same split; each class has the same share of every part."""
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


def test_every_format_is_read_by_its_content(tmp_path: Path) -> None:
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


def test_unreadable_pictures_are_reported(tmp_path: Path) -> None:
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
    """The stored pictures are used; a changed file or option makes them again."""
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


def test_an_archive_of_cases_is_taken_as_it_is(tmp_path: Path) -> None:
    """`edge cases export`, unpacked: every picture trains, and no side-car is reported as none."""
    pictures(tmp_path / "train", cat=8, dog=8)
    case_files.fill(tmp_path / "cases", 3, "cat", first=20)
    case_files.fill(tmp_path / "cases", 2, "fox", first=30)
    with Store(tmp_path / "cases") as store:
        archive.export(store, tmp_path / "cases.tar", store.labels())
    (tmp_path / "extra").mkdir()
    subprocess.run(["tar", "-xf", tmp_path / "cases.tar", "-C", tmp_path / "extra"], check=True)
    found = dataset.prepare(arguments(tmp_path, extra=tmp_path / "extra"))
    assert found.labels == ("cat", "dog", "fox")
    mine = [p for s, p in zip(found.samples, found.parts, strict=True) if "extra" in str(s.path)]
    assert mine == ["train"] * 5
    assert json.loads((tmp_path / "out" / "dataset.json").read_text())["left_out"] == []


def test_a_small_source_trains_more_often_than_it_is_large() -> None:
    """Classes alike; sources of a class by the square root of their pictures."""
    sizes = {(0, "large"): 400, (0, "small"): 25, (1, "only"): 100}
    samples = [
        Sample(Path("x"), label, source)
        for (label, source), count in sizes.items()
        for _ in range(count)
    ]
    often = data.mix(samples)
    shares = {
        pair: sum(o for o, s in zip(often, samples, strict=True) if (s.label, s.source) == pair)
        for pair in sizes
    }
    assert often.mean() == pytest.approx(1)
    assert shares[0, "large"] + shares[0, "small"] == pytest.approx(shares[1, "only"])
    assert shares[0, "large"] == pytest.approx(4 * shares[0, "small"])


def test_the_students_targets_come_from_label_and_teacher() -> None:
    """Each view's target lies between the smoothed label and the teacher's score for that view."""
    logits = np.array([[[0.0, 0.0], [0.0, 2.0]], [[2.0, 0.0], [0.0, 9.0]]], np.float32)
    classes = np.array([1, 0])
    told = data.soft_targets(data.smoothed(classes, 2), logits, 0.5)[:, :, 1]
    says = 1 / (1 + np.exp(logits[:, :, 0] - logits[:, :, 1]))
    assert told == pytest.approx((says + [[0.975], [0.025]]) / 2, abs=1e-6)
    labels = data.smoothed(classes, 3)
    three = data.soft_targets(labels, np.zeros((2, 4, 3), np.float32), 1.0)
    assert three == pytest.approx(1 / 3)
    alone = data.soft_targets(labels, np.zeros((2, 4, 3), np.float32), 0.0)
    assert alone[0, 0] == pytest.approx([1 / 60, 1 - 2 / 60, 1 / 60])


def test_more_folders_train_beside_the_first(tmp_path: Path) -> None:
    """train_NAME holds classes or is one; its manifest says sources; an eighth decides choices."""
    pictures(tmp_path / "train", cat=8, dog=8)
    pictures(tmp_path / "train_more", seed=3, cat=16)
    pictures(tmp_path, seed=4, train_nothing=24)
    rows = [f"train_nothing{i}.png,street,{'night' if i % 2 else 'day'}" for i in range(20)]
    (tmp_path / "train_nothing" / "manifest.csv").write_text(
        "file,dataset,group\n" + "\n".join(rows)
    )
    (tmp_path / "train_more" / "manifest.csv").write_text("file,dataset\ncat/cat1.png,web\n")
    found = dataset.prepare(arguments(tmp_path, background=["nothing"]))
    assert (found.labels, found.background) == (("cat", "dog", "nothing"), ("nothing",))
    assert len(found.samples) == 16 + 16 + 24
    told = {(s.path.parent.name, s.path.name): s for s in found.samples}
    assert told["train_nothing", "train_nothing3.png"].source == "street"
    assert told["train_nothing", "train_nothing3.png"].group == "night"
    assert told["train_nothing", "train_nothing22.png"].source == ""
    assert [s.source for s in found.samples if s.path.name == "cat1.png"] == ["", "web"]
    held = [found.samples[i].path.parents[1].name for i in found.indices("held_out")]
    assert held == ["train"] * 4
    decide = [str(found.samples[i].path) for i in found.indices("validation")]
    assert [sum(f"/{name}/" in path for path in decide) for name in ("train", "train_more")] == [
        2,
        2,
    ]
    assert sum("train_nothing" in path for path in decide) == 3
    assert {found.samples[i].path.parent.name for i in found.scenes} == {"train_nothing"}
    assert dataset.load(tmp_path / "out").background == ("nothing",)


def test_the_background_class_is_found_by_its_usual_name(tmp_path: Path) -> None:
    """`neither` is background unless another is named; nothing is where there is none."""
    pictures(tmp_path / "train", cat=8, dog=8)
    assert dataset.prepare(arguments(tmp_path)).background == ()
    pictures(tmp_path, seed=4, train_neither=16)
    assert dataset.prepare(arguments(tmp_path)).background == ("neither",)
    extra = pictures(tmp_path / "extra", seed=9, neither=5)
    found = dataset.prepare(arguments(tmp_path, extra=extra))
    assert sum(s.path.is_relative_to(extra) for s in found.samples) == 5


def test_missing_pictures_are_one_line(tmp_path: Path) -> None:
    """No folder, one class, an empty class, odd and like names, too few for the split."""

    def refused(folder: Path, match: str, **changes: object) -> None:
        with pytest.raises(ConfigError, match=match) as raised:
            dataset.prepare(arguments(folder, **changes))
        assert "\n" not in str(raised.value)

    refused(tmp_path / "none", r"no training pictures.*Dogs-vs-Cats")
    pictures(tmp_path / "one" / "train", cat=3)
    refused(tmp_path / "one", "fewer than two classes")
    pictures(tmp_path / "empty" / "train", cat=3, dog=0)
    refused(tmp_path / "empty", "class `dog` has no pictures")
    (tmp_path / "odd" / "train" / "c\nat").mkdir(parents=True)
    (tmp_path / "odd" / "train" / "dog").mkdir()
    refused(tmp_path / "odd", "cannot be a label")
    good = pictures(tmp_path / "good" / "train", cat=12, dog=12).parent
    refused(good, "background class `room` has no pictures.*train_room", background=["room"])
    refused(good, "every class is a background class", background=["cat", "dog"])
    (good / "train_none").mkdir()
    refused(good, "class `none` has no pictures")
    pictures(good, train_Dog=3)
    (good / "train_none").rmdir()
    refused(good, "classes `Dog` and `dog` have the same name")
    (good / "train_Dog").rename(good / "train_bird")
    (good / "train_bird" / "manifest.csv").write_text("name,source\nx,y\n")
    refused(good, r"manifest cannot be read.*columns file, dataset, group")
    with pytest.raises(ConfigError, match="expected more than 12, got 6"):
        data.split(np.array([0, 1] * 3), np.arange(6), held_out=10, validation=2, seed=1)


def test_no_test_picture_is_an_error_not_a_zero(tmp_path: Path) -> None:
    """Accuracy over nothing is not 0 %."""
    gone = [Sample(tmp_path / "gone.jpg", 0)]
    with pytest.raises(ConfigError, match="none of the test pictures can be read"):
        judge.judge(start(ModelConfig()), gone)


def test_side_cars_of_cases_are_no_pictures(tmp_path: Path) -> None:
    """An exported archive is taken as it is; a JSON file of its own is reported, as any other."""
    folder = tmp_path / "open"
    folder.mkdir()
    for name in ("a.jpg", "a.json", "alone.json", "manifest.csv"):
        (folder / name).write_text("file\n")
    found = folders.scan({"open": folder}, ["open"])
    assert [sample.path.name for sample in found] == ["a.jpg", "alone.json"]


@pytest.mark.parametrize(
    ("given", "side"),
    [((), 224), (("--backbone", "lite0"), 256), (("--backbone", "lite0", "--side", "192"), 192)],
)
def test_the_input_size_follows_the_network(
    given: tuple[str, ...], side: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The larger model sees more pixels; `--side` decides where it is given."""
    monkeypatch.setattr("sys.argv", ["step", *given])

    assert options.parse(options.parser("A step.")).side == side
