"""The section that the recipe writes into the README beside a model."""

from __future__ import annotations

from typing import Any

from models import report


def row(correct: int, **more: object) -> dict[str, Any]:
    """Return what the export measures of one variant."""
    figures = {
        "images": 100,
        "correct": correct,
        "accuracy": correct / 100,
        "accuracy_fitted": 0.97,
        "auc": 0.99,
        "ece": 0.02,
        "confusion": [[49, 1], [99 - correct, correct - 49]],
    }
    made = {"bytes": 800_000, "gzip_bytes": 700_000, "invoke_ms": 1.5, "runtime": "x 1"}
    return made | {"threads": 2, "threshold": 0.6, "sets": {"held_out": figures}} | more


def test_every_variant_has_a_row_and_the_shipped_one_its_confusion() -> None:
    """Columns agree with the head; classes are shares of their own pictures."""
    text = report.render({"float32": row(96), "int8": row(95)}, ("cat", "dog"), {})
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    head = next(line for line in rows if "variant" in line)
    assert {line.count("|") for line in rows if "%" not in line and "said" not in line} == {
        head.count("|")
    }
    assert "95.00 (88.82 to 97.85)" in text
    assert "| cat | 49 | 1 | 98.00 % |" in text
    assert "held_out 97.00 %" in text


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
    text = report.render_points([point | {"shipped": True}, point | {"name": "0.35 @128"}])
    assert "| 0.35 @224, shipped | 58.2 | 804,434 | 0.69 | 98.6 | 0.9991 |" in text
    assert "| 0.35 @128 | " in text
