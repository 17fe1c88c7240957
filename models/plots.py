"""Plots of a model's figures: accuracy by size and cost, reliability of the scores, a cascade."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

DPI: Final = 80
MARKS: Final = "os^vDP*X"


def _figure(panels: int) -> tuple[Any, list[Any]]:
    """Return a figure and its panels."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(
        1, panels, figsize=(4.5 * max(2, panels), 3.2), layout="constrained", squeeze=False
    )
    return figure, list(axes[0])


def _save(figure: Any, to: Path) -> None:
    from matplotlib import pyplot

    figure.savefig(to, dpi=DPI)
    pyplot.close(figure)


def _note(axis: Any, text: str, at: tuple[float, float]) -> None:
    axis.annotate(text, at, fontsize=7, xytext=(4, 3), textcoords="offset points")


def variants(table: Mapping[str, Any], points: Sequence[Mapping[str, Any]], to: Path) -> None:
    """Draw accuracy by size for the variants, and by cost for other networks."""
    figure, axes = _figure(1 + bool(points))
    sets = next(iter(table.values()))["sets"]
    for number, name in enumerate(sets):
        rows = [(kind, row["bytes"] / 1e6, row["sets"][name]) for kind, row in table.items()]
        drawn = [(kind, x, 100 * one["accuracy"]) for kind, x, one in rows if "accuracy" in one]
        mark = MARKS[number % len(MARKS)]
        axes[0].plot([x for _, x, _ in drawn], [y for _, _, y in drawn], mark, label=name)
        for kind, x, y in drawn:
            _note(axes[0], kind, (x, y))
    axes[0].set(xlabel="MB", ylabel="accuracy, %")
    axes[0].legend(fontsize=7)
    for point in points:
        at = (point["invoke_ms"], 100 * point["accuracy"])
        axes[1].plot(*at, "*" if point.get("shipped") else "o", color="C0")
        _note(axes[1], point["name"], at)
    if points:
        axes[1].set(xlabel="int8 invoke, ms", ylabel="validation accuracy, %")
    _save(figure, to)


def curves(
    calibration: Mapping[str, Any] | None, cascade: Mapping[str, Any] | None, to: Path
) -> None:
    """Draw the reliability by source, and the cascade; either may be absent."""
    figure, axes = _figure(bool(calibration) + bool(cascade))
    if calibration:
        _reliability(axes[0], calibration)
    if cascade:
        _cascade(axes[-1], cascade)
    _save(figure, to)


def _reliability(axis: Any, calibration: Mapping[str, Any]) -> None:
    axis.plot([0, 1], [0, 1], color="0.8")
    for name, source in calibration["sources"].items():
        rows = [row for row in source["reliability"] if row["images"] >= 5]
        axis.plot(
            [row["score"] for row in rows],
            [row["right"] for row in rows],
            "o-",
            markersize=3,
            linewidth=1,
            label=f"{name}, {source['images']}",
        )
    axis.set(xlabel="best score, validation, 5 pictures and more", ylabel="share right")
    axis.set(xlim=(0.3, 1.02), ylim=(0.3, 1.02))
    axis.legend(fontsize=6)


def _cascade(axis: Any, figures: Mapping[str, Any]) -> None:
    rows = figures["curve"]
    share = [100 * row["correct"] / row["images"] for row in rows]
    axis.plot([row["cost"] for row in rows], share, "-", label="all test pictures")
    for name, row in figures["chosen"].items():
        at = (row["cost"], 100 * row["correct"] / row["images"])
        axis.plot(*at, "o", color="C1")
        _note(axis, name.replace("small", figures["small"]).replace("large", figures["large"]), at)
    axis.set(xlabel=f"mean {figures['unit']}", ylabel="right, %")
