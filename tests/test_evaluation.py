"""How good a model is: sets, sources, false alarms, thresholds, the cascade. Scores by hand."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.config import ModelConfig
from edge.config.smoothing import DEFAULT, SmoothingConfig
from edge.errors import ConfigError, ModelError
from edge.model.card import ModelCard
from edge.model.engine import start
from models import calibrate, cascade, dataset, evaluate, floors, judge, metrics, options
from models.folders import Sample
from models.judge import Judged
from tests.conftest import ROOT, model_folder

LABELS = ("cat", "dog", "neither")
RANDOM = np.random.default_rng(3)


def scores(*rows: Sequence[float]) -> metrics.Scores:
    """Return scores, (N, C)."""
    return np.array(rows, np.float32)


def judged(label: int, source: str, *rows: Sequence[float]) -> Judged:
    """Return pictures of one class and source with these scores."""
    samples = tuple(Sample(Path(f"{source}-{label}-{i}"), label, source) for i in range(len(rows)))
    return Judged(samples, scores(*rows))


def empty(source: str, count: int, false: int, score: float = 0.8) -> Judged:
    """Return background pictures, of which some are called a cat with a score."""
    rows = [[score, 0.0, 1 - score]] * false + [[0.02, 0.0, 0.98]] * (count - false)
    return judged(2, source, *rows)


def cats(source: str, count: int, low: int = 0, score: float = 0.65) -> Judged:
    """Return cats that are called cats, some of them with a low score."""
    rows = [[score, 0.0, 1 - score]] * low + [[0.97, 0.01, 0.02]] * (count - low)
    return judged(0, source, *rows)


def write(folder: Path, *names: str, side: int = 40) -> Path:
    """Write a picture of noise for each name."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        noise = RANDOM.integers(0, 256, (side, side, 3), np.uint8)
        cv2.imwrite(str(folder / name), noise)
    return folder


def card(*labels: str, background: tuple[str, ...] = ()) -> ModelCard:
    """Return the card of a model with these labels."""
    return ModelCard("colours", "x.tflite", labels, background=background)


def test_a_false_alarm_is_a_sure_subject_on_a_background_picture() -> None:
    """At 0.6 it counts, below not; background that is called background never."""
    rows = scores([0.6, 0.0, 0.4], [0.59, 0.0, 0.41], [0.1, 0.0, 0.9], [0.0, 0.9, 0.1])
    figures = metrics.figures(rows, np.array([2, 2, 2, 1]), [2])
    assert (figures["background_images"], figures["false_alarms"]) == (3, 1)
    assert (figures["subject_images"], figures["called_background"]) == (1, 0)
    assert (figures["correct"], figures["images"]) == (2, 4)


def test_told_apart_leaves_out_what_is_called_background() -> None:
    """Of four cats one is missed, and two of the other three are told from dogs."""
    rows = scores([0.2, 0.0, 0.8], [0.9, 0.1, 0.0], [0.1, 0.9, 0.0], [0.5, 0.3, 0.2])
    figures = metrics.figures(rows, np.zeros(4, np.int64), [2])
    assert (figures["called_background"], figures["either_said"], figures["either_right"]) == (
        1,
        3,
        2,
    )
    assert "false_alarms" not in figures


def test_a_model_without_the_class_has_false_alarms_but_no_accuracy() -> None:
    """Two classes, three of which are in the pictures."""
    figures = metrics.figures(
        scores([0.7, 0.3], [0.55, 0.45], [0.9, 0.1]), np.array([2, 2, 0]), [2]
    )
    assert (figures["background_images"], figures["false_alarms"]) == (2, 1)
    assert not {"accuracy", "correct", "ece", "called_background"} & set(figures)
    table = metrics.confusion(scores([0.7, 0.3], [0.9, 0.1]), np.array([2, 0]))
    assert table.tolist() == [[1, 0], [0, 0], [1, 0]]


def test_figures_are_by_source_and_group_and_all_tests_together() -> None:
    """Sources largest first; pictures that have no group have no such table."""
    sets = {
        "held_out": cats("web", 3),
        "test_more": judge.pool([cats("phone", 2), cats("web", 4)]),
        "test_neither": empty("rooms", 10, 1),
    }
    measured = evaluate.measure(sets, [2])
    assert list(measured) == ["held_out", "test_more", "test_neither", "together"]
    assert list(measured["test_more"]["source"]) == ["web", "phone"]
    assert measured["test_more"]["group"] == {}
    assert measured["together"]["images"] == 16
    assert measured["together"]["false_alarms"] == 1
    card = evaluate.card_figures(measured, "_int8")
    assert card["test_neither_int8"]["false_alarms"] == 1
    assert not {"auc", "confusion", "source", "either_said"} & set(card["together_int8"])


def test_scores_are_kept_until_a_file_changes(tmp_path: Path) -> None:
    """The second time the model does not run; another file, or a broken store, and it does."""
    folder = write(tmp_path / "cat", "a.png", "b.png")
    (folder / "c.png").write_bytes(b"not a picture")
    samples = [Sample(folder / f"{name}.png", 0) for name in "abc"]
    engine = start(ModelConfig())
    first = judge.judge(engine, samples, tmp_path / "scores")
    assert [sample.path.name for sample in first.samples] == ["a.png", "b.png"]
    (kept,) = (tmp_path / "scores").iterdir()
    np.savez(kept, indices=[1, 0], scores=first.scores)
    second = judge.judge(engine, samples, tmp_path / "scores")
    assert [sample.path.name for sample in second.samples] == ["b.png", "a.png"]
    for broken in (b"", b"PK\x03\x04 cut", kept.read_bytes()[:200]):
        kept.write_bytes(broken)
        third = judge.judge(engine, samples, tmp_path / "scores")
        assert np.array_equal(third.scores, first.scores)
    write(folder, "b.png", side=60)
    fourth = judge.judge(engine, samples, tmp_path / "scores")
    assert len(list((tmp_path / "scores").iterdir())) == 2
    assert not np.array_equal(fourth.scores, first.scores)


def prepared(folder: Path) -> Path:
    """Write and prepare a small set of three classes; return its work folder."""
    names = [f"{i}.png" for i in range(12)]
    for label in ("cat", "dog"):
        write(folder / "train" / label, *names)
    write(folder / "train_neither", *(f"{i}.png" for i in range(16)))
    out = folder / "out"
    args = ["--data", str(folder), "--out", str(out), "--held-out", "4", "--validation", "2"]
    dataset.prepare(options.parser("test").parse_args(args))
    return out


def test_the_sets_are_those_of_the_data_set_and_every_test_folder(tmp_path: Path) -> None:
    """Classes follow the model's order; one that it does not know comes after them."""
    out = prepared(tmp_path)
    write(tmp_path / "test_neither", "room.png")
    write(tmp_path / "test_more" / "dog", "dog.png")
    labels, background = judge.classes_of(card("dog", "cat"), out)
    assert (labels, background) == (("dog", "cat", "neither"), (2,))
    sets = judge.find_sets(tmp_path, out, labels)
    assert [(name, len(samples)) for name, samples in sets.items()] == [
        ("validation", 4),
        ("held_out", 4),
        ("test_more", 1),
        ("test_neither", 1),
    ]
    for samples in sets.values():
        for sample in samples:
            folder = sample.path.parent.name.removeprefix("train_").removeprefix("test_")
            assert labels[sample.label] == folder


def test_a_class_that_the_model_does_not_know_is_one_line(tmp_path: Path) -> None:
    """A folder of horses, and a data set of them."""
    write(tmp_path / "test_farm" / "horse", "a.png")
    labels, _ = judge.classes_of(card("cat", "dog"), tmp_path / "out")
    assert labels == LABELS
    with pytest.raises(ConfigError, match=r"test_farm: the model has no class `horse`.*cat, dog"):
        judge.find_sets(tmp_path, tmp_path / "out", labels)
    out = prepared(tmp_path / "more")
    with pytest.raises(ConfigError, match="has no class `dog`"):
        judge.find_sets(tmp_path / "more", out, ("cat", "neither"))
    empty_card = card("cat", "empty", background=("empty",))
    assert judge.classes_of(empty_card, out)[0] == ("cat", "empty")
    assert judge.classes_of(empty_card, out, ["dark"])[0] == ("cat", "empty", "dark")
    with pytest.raises(ModelError, match="gives features, no scores"):
        judge.classes_of(card(), out)
    with pytest.raises(ConfigError, match="no test pictures"):
        judge.find_sets(tmp_path / "none", tmp_path / "none", labels)


def test_the_command_prints_tables_for_the_shipped_model(tmp_path: Path) -> None:
    """A row for each set, through the daemon's engine; a sheet of what is wrong."""
    write(tmp_path / "test_neither", "room.png", "wall.png")
    write(tmp_path / "test_more" / "dog", "dog.png")
    command: list[str | Path]
    command = [sys.executable, "-m", "models.evaluate", "--data", tmp_path, "--out", tmp_path / "o"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    rows = [line.split("|")[1].strip() for line in done.stdout.splitlines() if line[:1] == "|"]
    assert {"test_neither", "test_more", "together"} <= set(rows)
    assert (tmp_path / "o" / "worst-test_neither.jpg").is_file()
    write(tmp_path / "test_farm" / "horse", "a.png")
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    assert "no class `horse`" in done.stderr.strip().splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_small_sources_count_together_and_every_source_alike() -> None:
    """A thousand pictures of one source weigh as much as two small ones together."""
    every = judge.pool([cats("web", 1000), empty("a", 20, 0), empty("b", 30, 0), empty("c", 50, 0)])
    parts = calibrate.sources(every, np.ones(1100, bool))
    assert {name: len(part) for name, part in parts.items()} == {"web": 1000, "c": 50, "others": 50}
    right = np.arange(1100) >= 1000
    assert calibrate.alike(parts, right) == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("pictures", "expected"),
    [
        # no false alarm at all: the daemon's own values
        ([cats("web", 100), empty("rooms", 100, 0)], (0.6, 0.4)),
        # one picture of a small source may be wrong, whatever its score
        ([cats("web", 100), empty("rooms", 100, 0), empty("parks", 60, 1, 0.99)], (0.6, 0.4)),
        # two of them are too many: above their score of 0.8
        ([cats("web", 100), empty("rooms", 900, 0), empty("parks", 60, 2)], (0.85, 0.15)),
        # a large source may have one in a hundred
        ([cats("web", 100), empty("rooms", 900, 9)], (0.6, 0.4)),
        ([cats("web", 100), empty("rooms", 900, 10)], (0.85, 0.15)),
        # but not at the cost of the cats: ten of a hundred have 0.65
        ([cats("web", 100, low=10), empty("rooms", 100, 2)], (0.65, 0.35)),
        # where cats are of two sources, the mean of both counts
        ([cats("web", 900), cats("home", 100, low=10), empty("rooms", 100, 2)], (0.85, 0.15)),
    ],
)
def test_thresholds_follow_the_rule(pictures: list[Judged], expected: tuple[float, float]) -> None:
    """Few false alarms in the worst source, few subjects lost."""
    found = calibrate.recommend(judge.pool(pictures), LABELS, ["neither"])
    assert found == expected
    SmoothingConfig(enter=found[0], exit=found[1]).check("smoothing")


def test_without_background_pictures_the_daemons_thresholds_stand() -> None:
    """Nothing to be learnt about false alarms."""
    usual = (DEFAULT.enter, DEFAULT.exit)
    assert calibrate.recommend(cats("web", 60), LABELS, []) == usual
    assert calibrate.recommend(cats("web", 60), LABELS, ["neither"]) == usual


def test_a_temperature_is_found_again() -> None:
    """Scores from logits twice too large: 2, and a lower loss by it."""
    random = np.random.default_rng(5)
    logits = random.normal(0, 0.7, (4000, 3))
    true = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    classes = [int(random.choice(3, p=row)) for row in true]
    sharp = np.exp(2 * logits) / np.exp(2 * logits).sum(axis=1, keepdims=True)
    samples = tuple(Sample(Path(str(i)), label, "web") for i, label in enumerate(classes))
    every = Judged(samples, sharp.astype(np.float32))
    assert calibrate.temperature(every, np.ones(4000, bool)) == pytest.approx(2, abs=0.15)
    measured = calibrate.measure(every, LABELS, ["neither"])
    assert measured["loss_warmed"] < measured["loss"]
    source = measured["sources"]["web"]
    assert source["ece_warmed"] < 0.04 < source["ece"]
    assert sum(row["images"] for row in source["reliability"]) == 4000


def test_reliability_is_score_against_share_right() -> None:
    """Two bins: sure and always right, unsure and right in half."""
    rows = scores([0.95, 0.05, 0], [0.95, 0.05, 0], [0.52, 0.48, 0], [0.52, 0.48, 0])
    curve = calibrate.reliability(rows, np.array([0, 0, 0, 1]))
    assert [(row["images"], row["right"]) for row in curve] == [(2, 0.5), (2, 1.0)]
    assert [row["score"] for row in curve] == pytest.approx([0.52, 0.95])


def pair(unsure: int, sure: int) -> cascade.Pair:
    """Return a small model that is wrong where unsure, and a large one that is always right."""
    small = judged(0, "web", *[[0.38, 0.49, 0.13]] * unsure, *[[0.9, 0.1, 0.0]] * sure)
    large = judged(0, "web", *[[0.99, 0.01, 0.0]] * (unsure + sure))
    return cascade.pair(small, large, (2,), (1.0, 6.0))


def test_a_cascade_costs_the_large_model_only_where_the_small_is_unsure() -> None:
    """A fifth is unsure: cost 1 + 6 / 5, and all of the gain."""
    measured = cascade.measure(pair(10, 40), pair(20, 80))
    small, large = (measured["chosen"][f"{name} alone"] for name in ("small", "large"))
    assert (small["correct"], small["cost"]) == (80, 1.0)
    assert (large["correct"], large["cost"]) == (100, 6.0)
    both = measured["chosen"]["all of the gain"]
    assert both["threshold"] == 0.12  # the first step above the margin of 0.11
    assert (both["correct"], both["asked"], both["cost"]) == (100, 0.2, 2.2)
    assert measured["curve"][0]["asked"] == 0
    assert [row["cost"] for row in measured["curve"]] == sorted(
        row["cost"] for row in measured["curve"]
    )


def test_a_cascade_is_chosen_on_validation_pictures_alone() -> None:
    """A large model that gains nothing there is never asked, whatever it gains on the test."""
    same = cats("web", 50)
    validation = cascade.pair(same, same, (2,), (1.0, 6.0))
    measured = cascade.measure(validation, pair(20, 80))
    assert measured["chosen"]["all of the gain"]["asked"] == 0
    rooms = empty("rooms", 10, 4, 0.55)
    quiet = cascade.pair(rooms, empty("rooms", 10, 0), (2,), (1.0, 6.0))
    assert cascade.point(quiet, 0.5)["cost_background"] == pytest.approx(1 + 0.4 * 6)


def test_a_cascade_of_models_with_other_labels_is_one_line(tmp_path: Path) -> None:
    """And so is a cost that is none, and pictures that only one could read."""
    other = model_folder(tmp_path / "rgb")
    command: list[str | Path]
    command = [sys.executable, "-m", "models.cascade", "--out", tmp_path, "--data", tmp_path]
    command += ["--large", other, "--cost-small", "1", "--cost-large"]
    done = subprocess.run([*command, "6"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    assert "the two models have other labels" in done.stderr.splitlines()[-1]
    done = subprocess.run([*command, "-1"], cwd=ROOT, capture_output=True, text=True)
    assert "a cost is not above 0" in done.stderr.splitlines()[-1]
    with pytest.raises(ConfigError, match="judged by both"):
        cascade.pair(cats("web", 3), cats("other", 3), (2,), (1.0, 6.0))


def test_floors_are_met_or_said_not_to_be() -> None:
    """Three per cent of false alarms are the most; another model has no floors."""
    sets = {"test_neither": empty("rooms", 100, 3), "held_out": cats("web", 100)}
    table = floors.table("catdog", {"int8": sets}, [2])
    assert len(table) == 4
    assert "3.00 (1.03 to 8.45) " in table[2]
    assert "not met" not in "".join(table)
    sets = {"test_neither": empty("rooms", 100, 2)}
    assert "2.00 (0.55 to 7.00), not met" in floors.table("catdog-large", {"int8": sets}, [2])[2]
    assert floors.table("shapes", {"int8": sets}, [2]) == []
