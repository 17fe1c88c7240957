"""Teaching, without a network: the regression, groups and folds, and what is said of the result."""

from __future__ import annotations

import json
import math
import os
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from edge import baseline
from edge.errors import ConfigError
from edge.learn import curve, doubts, page, report, samples, solver, times, validation
from edge.learn.samples import Samples
from edge.learn.teach import teach


def cloud(
    each: int, centres: NDArray[np.float64], seed: int = 0
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return ``each`` points around every centre, and their classes."""
    random = np.random.default_rng(seed)
    classes = np.repeat(np.arange(len(centres)), each)
    return centres[classes] + random.normal(size=(len(classes), centres.shape[1])), classes


def made(
    each: int = 30, labels: tuple[str, ...] = ("closed", "open", "ajar"), **changes: object
) -> Samples:
    """Return samples of classes that features tell apart, every picture a moment of its own."""
    random = np.random.default_rng(3)
    centres = random.normal(size=(len(labels), 40))
    x, classes = cloud(each, 1.5 * centres)
    count = len(classes)
    fields: dict[str, object] = {
        "labels": labels,
        "names": tuple(f"{labels[c]}/{i}.jpg" for i, c in enumerate(classes)),
        "classes": classes,
        "features": x.astype(np.float32),
        "prints": tuple(int(one) for one in random.integers(0, 2**63, count)),
        "bright": random.uniform(60, 180, count),
        "times_s": np.full(count, np.nan),
        "unread": (),
    }
    return Samples(**(fields | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize("strength", [0.001, 0.1, 3.0])
@pytest.mark.parametrize("shape", [(40, 40, 3), (200, 30, 5), (30, 90, 2)])
def test_the_fit_is_the_least_of_its_loss(shape: tuple[int, int, int], strength: float) -> None:
    """At it the gradient is 0, by the formula written out anew; one start or another."""
    count, size, total = shape
    random = np.random.default_rng(1)
    x, classes = random.normal(size=(count, size)), random.integers(0, total, count)
    often = random.uniform(0.5, 2, count)
    found = solver.fit(x, classes, total, strength, often)
    wrong = (found.scores(x) - np.eye(total)[classes]) * often[:, None]
    slope = x.T @ wrong + found.weights / strength
    assert np.abs(slope).max() < 1e-3 * count
    assert np.abs(wrong.sum(0)).max() < 1e-3 * count
    again = solver.fit(x, classes, total, strength, often, found)
    assert np.abs(again.scores(x) - found.scores(x)).max() < 1e-3


def test_a_head_gives_the_same_scores_on_the_features_themselves() -> None:
    """The basis in which it was found is gone from it, with fewer samples than features or more."""
    for count, size in ((20, 50), (90, 30)):
        features = np.random.default_rng(2).normal(3, 2, (count, size)).astype(np.float32)
        basis, x = validation.basis(features.copy())
        fit = solver.fit(x, np.arange(count) % 3, 3, 0.1)
        own = basis.head(fit).scores(features.astype(np.float64))
        assert own == pytest.approx(fit.scores(x), abs=1e-4)
        if basis.axes is None:
            basis.restore(x)
            assert x == pytest.approx(features, abs=1e-5)


def test_many_pictures_take_no_multiple_of_their_features() -> None:
    """Of 3,000 the features take 15 MB; all else less than that, and the process 150 MB."""
    random = np.random.default_rng(6)
    classes = np.arange(3000) % 3
    features = random.normal(size=(3000, 1280)).astype(np.float32)
    features[:, :3] += 3 * np.eye(3, dtype=np.float32)[classes]
    before = features.copy()
    many = made(1000, features=features, classes=classes, times_s=np.arange(3000.0) * 3600)
    tracemalloc.start()
    taught = teach(many)
    baseline.build(random.random((3000, 8), np.float32), features)
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak_bytes < features.nbytes
    assert taught.accuracy > 0.8
    assert features == pytest.approx(before, abs=1e-5)


def test_pictures_that_are_all_alike_are_one_group() -> None:
    """Also where one of them joins two that are not alike."""
    prints = (0b0, 0b111111, 0b111111_111111, 0b0, 1 << 60 | 0xFFFF << 30)
    alike = made(5, ("open",), prints=prints)
    assert samples.groups(alike).tolist() == [0, 0, 0, 0, 1]
    ends = made(3, ("open",), prints=(0b0, 0b111111_111111, 0b111111))
    assert samples.groups(ends).tolist() == [0, 0, 0]


@settings(max_examples=30)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 12)), min_size=4, max_size=60))
def test_folds_keep_groups_whole(pairs: list[tuple[int, int]]) -> None:
    """Whatever the sizes of classes and groups; every sample has a fold."""
    classes = np.array([pair[0] for pair in pairs])
    groups = np.array([pair[1] for pair in pairs])
    fold = validation.folds(classes, groups, 4)
    for group in np.unique(groups):
        assert len(np.unique(fold[groups == group])) == 1
    assert fold.min() >= 0
    assert fold.max() < min(validation.FOLDS, len(np.unique(groups)))


def test_one_minute_and_twins_are_one_group() -> None:
    """59 s are together and 61 s are not; a near-duplicate joins two minutes."""
    times_s = np.array([1e9, 1e9 + 59, 1e9 + 61, 1e9 + 500, np.nan, np.nan])
    other = 0x5555_5555_5555_5555
    prints = (0, (1 << 32) - 1, 0x00FF_00FF_00FF_00FF, other, other ^ 7, 0x3333_3333_3333_3333)
    base = made(2, prints=prints, times_s=times_s)
    groups = samples.groups(base).tolist()
    assert groups[0] == groups[1] != groups[2]
    assert groups[3] == groups[4]
    assert len(set(groups)) == 4


def test_a_fixed_camera_sees_the_same_and_still_other_moments() -> None:
    """All frames of a class look alike: an hour apart they are moments, of unknown times one."""
    looks = (0, (1 << 32) - 1, 0x5555_5555_5555_5555)
    prints = tuple(looks[number] ^ (1 << place % 3) for number in range(3) for place in range(30))
    hourly = teach(made(prints=prints, times_s=1e9 + 3600.0 * np.arange(90)))
    assert len(np.unique(hourly.groups)) == 90
    assert not hourly.warnings
    unknown = teach(made(prints=prints))
    assert len(np.unique(unknown.groups)) == 3
    assert unknown.accuracy > 0.9
    assert sum("of 1 moment:" in line for line in unknown.warnings) == 3
    assert unknown.interval[0] < 0.6


def test_pictures_of_one_moment_prove_nothing() -> None:
    """30 copies of two moments a class: a wide interval, and a warning."""
    base = made()
    moments = 1e9 + 600.0 * (np.arange(90) // 15)
    sure, unsure = teach(base), teach(made(times_s=moments))
    assert unsure.interval[1] - unsure.interval[0] > 3 * (sure.interval[1] - sure.interval[0])
    assert any("of 2 moments" in line for line in unsure.warnings)
    assert not sure.warnings


def test_teaching_is_deterministic_and_tells_the_classes_apart() -> None:
    """Twice the same bytes; all right, and enough."""
    one, other = teach(made()), teach(made())
    assert one.head.weights.tobytes() == other.head.weights.tobytes()
    assert one.accuracy > 0.97
    assert one.confusion.sum() == 90
    assert report.figures(one)["classes"]["open"]["pictures"] == 30


def test_wrong_labels_are_found_and_right_ones_left() -> None:
    """Nine of ninety are turned: at least seven are suspects, and no more right ones."""
    base = made()
    wrong = np.arange(0, 90, 10)
    classes = base.classes.copy()
    classes[wrong] = (classes[wrong] + 1) % 3
    found = {one.index for one in teach(made(classes=classes)).suspects}
    assert len(found & set(wrong.tolist())) >= 7
    assert len(found - set(wrong.tolist())) <= 7


def test_light_and_hours_that_give_a_class_away_are_reported() -> None:
    """All of `open` dark and by night, the others bright and by day."""
    dark = np.where(made().classes == 1, 20.0, 150.0) + np.random.default_rng(1).normal(0, 5, 90)
    warnings = teach(made(bright=dark)).warnings
    assert any("`open` are darker" in line for line in warnings)
    noon = 1_700_000_000 - 1_700_000_000 % 86_400 + 43_200 - _offset_s()
    hours = np.where(made().classes == 1, 12 * 3600, 0) + noon + 86_400.0 * np.arange(90)
    warnings = teach(made(times_s=hours)).warnings
    assert any("`open` pictures are all by night" in line for line in warnings)


def _offset_s() -> int:
    """Return how far local time is ahead."""
    import datetime

    offset = datetime.datetime.now().astimezone().utcoffset()
    return int(offset.total_seconds()) if offset else 0


def test_what_features_cannot_tell_apart_is_reported() -> None:
    """Two of three classes are the same cloud."""
    base = made()
    features = base.features.copy()
    features[base.classes == 1] = np.random.default_rng(5).normal(size=(30, 40)) + features[
        base.classes == 0
    ].mean(0)
    taught = teach(made(features=features))
    assert any("hardly tell `closed` from `open`" in line for line in taught.warnings)
    assert taught.accuracy < 0.85


def test_more_pictures_or_enough() -> None:
    """The verdict follows the curve and names the class that is worst."""
    labels, table = ("a", "b"), np.array([[9, 1], [4, 6]])
    points = [curve.Point(10, 0.7), curve.Point(20, 0.72), curve.Point(30, 0.78)]
    assert curve.verdict(points, table, labels) == "more pictures of `b` would help most"
    flat = [*points[:2], curve.Point(30, 0.721)]
    assert "other situations of `b`" in curve.verdict(flat, table, labels)
    assert curve.verdict([*points[:2], curve.Point(30, 0.995)], table, labels) == "enough"
    assert curve.verdict([*points[:2], curve.Point(30, 0.4)], table, labels).startswith(
        "not usable"
    )


def test_what_cannot_be_taught_is_one_line() -> None:
    """A class of nothing that can be read; two classes of the same pictures; no numbers."""
    with pytest.raises(ConfigError, match="class `gone` has no picture that can be read"):
        teach(made(labels=("closed", "open", "ajar", "gone"), classes=made().classes))
    base = made()
    same = np.concatenate([base.features[:30], base.features[:30], base.features[60:]])
    with pytest.raises(ConfigError, match="two classes are the same pictures: got closed and open"):
        teach(made(features=same, prints=base.prints[:30] * 2 + base.prints[60:]))
    same[30:58] = base.features[30:58]
    prints = base.prints[:58] + base.prints[28:30] + base.prints[60:]
    found = teach(made(features=same, prints=prints)).warnings
    assert any("2 near-duplicates are in two classes" in line for line in found), found
    features = base.features.copy()
    features[4, 4] = np.nan
    with pytest.raises(ConfigError, match="not finite"):
        teach(made(features=features))


def test_a_class_of_three_is_a_warning() -> None:
    """It is taught all the same."""
    keep = np.r_[0:30, 30:60, 60:63]
    base = made()
    few = teach(
        made(
            **{
                name: getattr(base, name)[keep]
                for name in ("classes", "features", "bright", "times_s")
            },
            names=tuple(base.names[i] for i in keep),
            prints=tuple(base.prints[i] for i in keep),
        )
    )
    assert any("`ajar` has only 3 pictures" in line for line in few.warnings)


def test_the_page_runs_nothing_and_escapes_everything() -> None:
    """A label and a file name that are HTML stay text."""
    evil = "<script>alert(1)</script>"
    classes = made().classes.copy()
    classes[0] = 1
    base = made(labels=(evil, "open", "ajar"), classes=classes, unread=(("<b>.jpg", "<i>bad"),))
    taught = teach(base)
    html = page.page(evil, report.figures(taught), {base.names[0]: b"\xff\xd8"})
    assert "<script" not in html
    assert "<b>.jpg" not in html
    assert "&lt;script&gt;" in html
    assert "http" not in html.replace("data:image", "")


def test_a_time_is_found_where_it_is(tmp_path: Path) -> None:
    """Side-car, EXIF, name, and dates of files where they differ; in this order."""
    file = tmp_path / "2024-05-06_07-08-09.jpg"
    file.write_bytes(b"\xff\xd8 Exif 2023:01:02 03:04:05\x00 rest")
    assert times.of(file) == pytest.approx(_local(2023, 1, 2, 3, 4, 5))
    file.with_suffix(".json").write_text(json.dumps({"time": 1.6e9}))
    assert times.of(file) == 1.6e9
    file.with_suffix(".json").unlink()
    file.with_suffix(".json").write_text(json.dumps({"time": 0}))
    assert math.isnan(times.of(file))  # the name is that of an upload
    file.with_suffix(".json").unlink()
    assert times.of_upload(file.read_bytes(), "x") == pytest.approx(_local(2023, 1, 2, 3, 4, 5))
    assert times.of_upload(b"", file.name) == pytest.approx(_local(2024, 5, 6, 7, 8, 9))
    assert math.isnan(times.of_upload(b"\xff\xd8", "a.jpg"))
    named = tmp_path / "IMG_20240506_070809.png"
    named.touch()
    assert times.of(named) == pytest.approx(_local(2024, 5, 6, 7, 8, 9))
    pipe = tmp_path / "pipe.jpg"
    os.mkfifo(pipe)
    assert math.isnan(times.of(pipe))  # and does not wait for a writer
    plain = [tmp_path / f"{i}.jpg" for i in range(3)]
    for number, path in enumerate(plain):
        path.touch()
        os.utime(path, (1.5e9, 1.5e9 + number * 1000))
    assert times.of_all(plain).tolist() == [1.5e9, 1.5e9 + 1000, 1.5e9 + 2000]
    plain[0].with_suffix(".json").write_text(json.dumps({"time": 0, "reason": "upload"}))
    assert np.isnan(times.of_all(plain)).all()  # the dates are those of uploads
    plain[0].with_suffix(".json").unlink()
    for path in plain:
        os.utime(path, (1.5e9, 1.5e9))
    assert np.isnan(times.of_all(plain)).all()


def _local(*parts: int) -> float:
    import datetime

    return datetime.datetime(*parts).timestamp()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "content",
    [
        b"", b"{", b"[1]", b"null", b'{"time": "1e9"}', b'{"time": NaN}', b'{"time": 1e400}',
        b'{"time": -5}', b'{"time": true}', b'{"time": [1e9]}', b"[" * 5000, b"\xff\xfe",
        b"1" * 70_000,
        b'{"time": ' + b"9" * 5000 + b"}",
    ],
)  # fmt: skip
def test_a_hostile_side_car_is_no_time(content: bytes, tmp_path: Path) -> None:
    """Any bytes: the picture counts as one of an unknown time."""
    file = tmp_path / "a.jpg"
    file.touch()
    file.with_suffix(".json").write_bytes(content)
    assert math.isnan(times.of(file))


def test_a_folder_that_cannot_teach_is_one_line(tmp_path: Path) -> None:
    """None, one class, an empty one, two of one name, an odd name, 51."""

    def refused(match: str, *names: str, empty: bool = False) -> None:
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        folder.mkdir()
        for name in names:
            (folder / name).mkdir()
            if not empty:
                (folder / name / "a.jpg").touch()
        with pytest.raises(ConfigError, match=match) as raised:
            samples.scan(folder)
        assert "\n" not in str(raised.value)

    refused("nothing to tell apart")
    refused("got only open", "open")
    refused("class `closed` has no pictures", "closed", "open", empty=True)
    refused("two classes have the same name: got Open and open", "Open", "open")
    refused("not a label", "a\nb", "open")
    refused("not a label", "x" * 65, "open")
    refused("at most 50, got 51", *(f"c{i}" for i in range(51)))
    with pytest.raises(ConfigError, match="cannot be read"):
        samples.scan(tmp_path / "none")


def test_doubts_leave_a_hopeless_class_alone() -> None:
    """A class that is all noise is no heap of wrong labels: at most three in ten are suspects."""
    base = made()
    features = base.features.copy()
    features[base.classes == 2] = features[base.classes == 0][::-1] + 0.01
    found = doubts.suspects(validation.basis(features)[1], base.classes, np.arange(90) % 5, 3, 0.1)
    assert sum(base.classes[one.index] == 2 for one in found) <= 9
