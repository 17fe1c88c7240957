"""The measured figures, as tables and a plot in the README beside the model.

    python -m models.report [--out build/model] [--to models/catdog]

Reads OUT/variants.json and, if present, OUT/pruned.json and OUT/points.json (other networks, by
models.search). Replaces the section of TO/README.md between the two marks, or makes the file;
writes TO/variants.png.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from edge.errors import ConfigError, EdgeError
from edge.model import locate
from models import metrics, options

BEGIN: Final = "<!-- measured: written by models.report -->"
END: Final = "<!-- /measured -->"
TESTS: Final = ("held_out", "test_independent")


def render(table: dict[str, Any], labels: tuple[str, ...], more: dict[str, Any]) -> str:
    """Return the section: sizes and speed, accuracy by set, confusion of the shipped variant.

    more  other variants, for the table only
    """
    any_row = next(iter(table.values()))
    sets = [name for name in TESTS if name in any_row["sets"]]
    lines = [
        f"`invoke`: median of 300, {any_row['runtime']}, {any_row['threads']} threads, on the"
        " machine that exported the model. Accuracy in percent with its 95 % Wilson interval.",
        "",
        _line(["variant", "bytes", "gzip -9", "`invoke` ms", *sets, "all", "AUC", "ECE"]),
        "|---" * (7 + len(sets)) + "|",
        *(_variant(name, row, sets) for name, row in (table | more).items()),
    ]
    shipped = table["int8"]
    for name in sets:
        figures = shipped["sets"][name]
        lines += ["", f"int8, {name}, {figures['images']:,} pictures, true class by row:", ""]
        lines += _confusion(figures["confusion"], labels)
    if "threshold" in shipped:
        lines += ["", _threshold(shipped, labels[1], sets)]
    return "\n".join(lines)


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _variant(name: str, row: dict[str, Any], sets: list[str]) -> str:
    """Return the row of one variant."""
    figures = [row["sets"][name] for name in sets]
    correct = sum(one["correct"] for one in figures)
    images = sum(one["images"] for one in figures)
    return _line(
        [
            name,
            f"{row['bytes']:,}",
            f"{row['gzip_bytes']:,}",
            f"{row['invoke_ms']:.2f}",
            *(_share(one["correct"], one["images"]) for one in figures),
            _share(correct, images),
            " / ".join(f"{one['auc']:.4f}" for one in figures),
            " / ".join(f"{one['ece']:.3f}" for one in figures),
        ]
    )


def _confusion(table: list[list[int]], labels: tuple[str, ...]) -> list[str]:
    """Return the table of true classes, by row, against the model's."""
    lines = [
        "| | " + " | ".join(f"said {label}" for label in labels) + " | right |",
        "|---" * (len(labels) + 2) + "|",
    ]
    for index, (label, row) in enumerate(zip(labels, table, strict=True)):
        right = 100 * row[index] / max(1, sum(row))
        lines.append(_line([label, *map(str, row), f"{right:.2f} %"]))
    return lines


def _threshold(shipped: dict[str, Any], label: str, sets: list[str]) -> str:
    """Return what another threshold than 0.5 would give."""
    fitted = ", ".join(
        f"{name} {100 * shipped['sets'][name]['accuracy_fitted']:.2f} %" for name in sets
    )
    return (
        f"The threshold that is best on the validation pictures, {shipped['threshold']:.3f} for"
        f" {label} instead of 0.5, would give {fitted}; it is not used."
    )


def render_points(points: list[dict[str, Any]]) -> str:
    """Return the table of other sizes of the network."""
    lines = [
        "",
        f"Other sizes, each trained on for the same few epochs from the shipped weights, int8, on"
        f" {points[0]['images']:,} validation pictures; `less 15`: without that residual block; `1"
        " @192`: the teacher.",
        "",
        "| width @side | MACs, million | bytes | `invoke` ms | accuracy | AUC |",
        "|---" * 6 + "|",
    ]
    for point in points:
        mark = ", shipped" if point.get("shipped") else ""
        lines.append(
            f"| {point['name']}{mark} | {point['macs'] / 1e6:.1f} | {point['bytes']:,} |"
            f" {point['invoke_ms']:.2f} | {100 * point['accuracy']:.1f} | {point['auc']:.4f} |"
        )
    return "\n".join(lines)


def _share(correct: int, images: int) -> str:
    low, high = metrics.wilson(correct, images)
    return f"{100 * correct / images:.2f} ({100 * low:.2f} to {100 * high:.2f})"


def insert(text: str, section: str) -> str:
    """Return ``text`` with ``section`` between the marks, which are added at its end if absent."""
    if BEGIN in text and END in text:
        before, _, rest = text.partition(BEGIN)
        _, _, after = rest.partition(END)
    else:
        before, after = text.rstrip() + "\n\n", "\n"
    return f"{before}{BEGIN}\n\n{section}\n\n{END}{after}"


def draw(table: dict[str, Any], points: list[dict[str, Any]], to: Path) -> None:
    """Draw accuracy by size for the variants, and by cost for other networks."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 1 + bool(points), figsize=(9, 3.2), layout="constrained")
    left = axes[0] if points else axes
    for name, mark in zip((*TESTS, "validation"), "os^", strict=True):
        rows = [(k, r) for k, r in table.items() if name in r["sets"]]
        where = [r["bytes"] / 1e6 for _, r in rows]
        share = [100 * r["sets"][name]["accuracy"] for _, r in rows]
        left.plot(where, share, mark, label=name)
        for (kind, _), x, y in zip(rows, where, share, strict=True):
            left.annotate(kind, (x, y), fontsize=7, xytext=(4, 3), textcoords="offset points")
    left.set(xlabel="MB", ylabel="accuracy, %")
    left.legend(fontsize=7)
    if points:
        for point in points:
            mark = "*" if point.get("shipped") else "o"
            axes[1].plot(point["invoke_ms"], 100 * point["accuracy"], mark, color="C0")
            at = (point["invoke_ms"], 100 * point["accuracy"])
            axes[1].annotate(
                point["name"], at, fontsize=7, xytext=(4, 3), textcoords="offset points"
            )
        axes[1].set(xlabel="int8 invoke, ms", ylabel="validation accuracy, %")
    figure.savefig(to, dpi=80)
    pyplot.close(figure)


def main() -> None:
    """Write the section and the plot."""
    parser = options.parser(__doc__)
    parser.add_argument("--to", type=Path, default=options.SHIPPED)
    args = parser.parse_args()
    try:
        table = json.loads((args.out / "variants.json").read_text())
    except FileNotFoundError as exc:
        raise ConfigError(
            "nothing measured", where=str(exc.filename), hint="run python -m models.export first"
        ) from None
    other = args.out / "points.json"
    points = json.loads(other.read_text()) if other.is_file() else []
    card = locate.read(args.to / locate.CARD)
    readme = args.to / "README.md"
    text = readme.read_text() if readme.is_file() else f"# {card.name}\n\n{card.description}\n"
    pruned = args.out / "pruned.json"
    more = json.loads(pruned.read_text()) if pruned.is_file() else {}
    section = render(table, card.labels, more)
    if points:
        section += "\n" + render_points(points)
    section += "\n\n![accuracy by size and cost](variants.png)"
    draw(table, points, args.to / "variants.png")
    readme.write_text(insert(text, section))
    print(readme)


if __name__ == "__main__":
    try:
        main()
    except EdgeError as exc:
        sys.exit(str(exc))
