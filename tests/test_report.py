"""The section that the recipe writes into the README beside a model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from models import calibrate, evaluate, report, sections, tables
from models.folders import Sample
from models.judge import Judged

LABELS = ("cat", "dog", "neither")


def row(correct: int, **more: object) -> dict[str, Any]:
    """Return what the export measures of one variant."""
    figures = {"images": 100, "correct": correct, "accuracy": correct / 100}
    sets = {"held_out": figures, "validation": figures, "test_none": {"images": 5}}
    made = {"bytes": 800_000, "gzip_bytes": 700_000, "invoke_ms": 1.5, "runtime": "x 1"}
    return made | {"threads": 2, "sets": sets} | more


def judged(*rows: tuple[int, float, float, float]) -> Judged:
    """Return pictures, each its class and scores."""
    samples = tuple(Sample(Path(str(i)), row[0], "web", "room") for i, row in enumerate(rows))
    return Judged(samples, np.array([row[1:] for row in rows], np.float32))


SOME = judged((0, 0.9, 0.1, 0.0), (0, 0.1, 0.8, 0.1), (1, 0.1, 0.2, 0.7), (2, 0.7, 0.0, 0.3))


def cells(lines: list[str]) -> list[list[str]]:
    """Return the cells of a table, without the rule under its head."""
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line[:1] == "|"]
    assert len({len(row) for row in rows}) == 1, "rows of different lengths"
    return [row for row in rows if set(row[0]) != {"-"}]


def test_every_variant_has_a_row() -> None:
    """Sets that chose something, or have no accuracy, have no column."""
    head, *rows = cells(
        sections.variants({"float32": row(96), "int8": row(95)}, {"pruned": row(9)})
    )
    assert head == ["variant", "bytes", "gzip -9", "`invoke` ms", "held_out", "all"]
    assert [one[0] for one in rows] == ["float32", "int8", "pruned"]
    assert rows[1][4] == "95.00 (88.82 to 97.85)"


def test_what_trained_it_is_counted_by_source_and_class() -> None:
    """The largest source first, those that nothing uses too; the sums are those of the parts."""
    samples = [Sample(Path(str(i)), i % 3, "web" if i < 7 else "rooms") for i in range(10)]
    parts = ["train"] * 5 + ["validation", "held_out", "train", "train", "none"]
    head, *rows = cells(sections.corpus(LABELS, samples, parts))
    assert head == ["source", *(f"trains: {x}" for x in LABELS), "validation", "held_out"]
    assert rows == [
        ["web", "2", "2", "1", "1", "1"],
        ["rooms", "-", "1", "1", "-", "-"],
        ["all", "2", "3", "2", "1", "1"],
    ]


def test_figures_that_are_not_there_are_dashes() -> None:
    """Every set has a row for each kind of file; classes are shares of their own pictures."""
    measured = evaluate.measure({"held_out": SOME, "test_empty": SOME.part(np.array([3]))}, [2])
    _, first, second, *_ = cells(tables.sets({"float32": measured, "int8": measured}))
    assert first[:3] == ["held_out", "float32", "4"]
    assert first[3][:5] == "25.00"
    assert first[4][:6] == "100.00"
    assert first[5:7] == ["33.33", "50.00"]
    assert second[1] == "int8"
    last = cells(tables.sets({"int8": measured}))[-1]
    assert last[0] == "test_empty"
    assert last[5:8] == ["-", "-", "-"]
    rows = cells(tables.confusions(measured, LABELS))
    assert ["held_out", "cat", "1", "1", "0", "50.00"] in rows
    assert ["test_empty", "neither", "1", "0", "0", "0.00"] in rows
    parts = cells(tables.parts(measured))
    assert [row[1:4] for row in parts if row[0] == "held_out"] == [
        ["source", "web", "4"],
        ["group", "room", "4"],
    ]


def test_thresholds_are_marked_and_tried_on_the_other_sets() -> None:
    """The recommended ones stand in their rows; validation pictures are no test."""
    calibration = calibrate.measure(SOME, LABELS, ["neither"])
    sets = {"validation": SOME, "held_out": SOME}
    lines = sections.thresholds(calibration, sets, [2])
    text = "\n".join(lines)
    marked = [line.split("|")[1].strip() for line in lines if line[:4] in ("| 0.", "| 1.")]
    assert {"0.40 `exit`", "0.60 `enter`"} <= set(marked)
    assert len(marked) == 12
    assert "| held_out | 100.00 (20.65 to 100.00) | 33.33 " in " ".join(text.split())
    assert "| validation |" not in text
    assert "no step does both" not in text
    assert "no step does both" in "\n".join(
        sections.thresholds(calibration | {"quiet": False}, sets, [2])
    )
    assert "###" not in "\n".join(sections.thresholds(calibration, sets, [])[2:])


def test_the_cascade_has_a_row_for_each_choice() -> None:
    """A model alone has no margin; without background pictures there is no column for them."""
    point = {"threshold": 0.4, "images": 100, "correct": 97, "asked": 0.25, "cost": 2.5}
    names = ("small alone", "half of the gain", "large alone")
    figures = {"small": "catdog", "large": "catdog-large", "unit": "ms"}
    head, alone, half, large = cells(
        sections.cascade(figures | {"chosen": {name: dict(point) for name in names}})
    )
    assert alone[:4] == ["catdog alone", "-", "-", "2.5"]
    assert half[:4] == ["half of the gain", "0.40", "25.0", "2.5"]
    assert large[0] == "catdog-large alone"
    assert "false alarms, %" not in head
    point |= {"background_images": 50, "false_alarms": 1, "cost_background": 1.5}
    point |= {"asked_background": 0.1}
    head, first, *_ = cells(sections.cascade(figures | {"chosen": dict.fromkeys(names, point)}))
    assert first[head.index("false alarms, %")] == "2.00"
    assert first[head.index("mean cost, background")] == "1.5"


def test_the_section_replaces_itself_and_nothing_else() -> None:
    """Written twice it stands once; what a person wrote around it stays."""
    once = report.insert("# model\n\nwords\n", "one")
    assert once.startswith("# model\n\nwords\n")
    again = report.insert(once + "after\n", "two")
    assert "one" not in again
    assert again.count(report.BEGIN) == 1
    assert again.endswith("after\n")


def test_other_sizes_are_a_table_with_the_shipped_one_marked() -> None:
    """Cost and accuracy, a row each."""
    point = {"name": "0.35 @224", "macs": 58_169_776, "bytes": 804_434, "invoke_ms": 0.69}
    point |= {"accuracy": 0.986, "auc": 0.9991, "images": 1000}
    _, first, second = cells(
        sections.points([point | {"shipped": True}, point | {"name": "0.35 @128"}])
    )
    assert first == ["0.35 @224, shipped", "58.2", "804,434", "0.69", "98.6", "0.9991"]
    assert second[0] == "0.35 @128"
