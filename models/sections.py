"""Parts of a model's README: thresholds, the cascade, the variants, other sizes. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from models import calibrate, metrics, tables
from models.folders import Sample
from models.judge import Judged


def corpus(labels: Sequence[str], samples: Sequence[Sample], parts: Sequence[str]) -> list[str]:
    """Return the lines on what trained the model: pictures of each source, by use and class."""
    used = ("train", "validation", "held_out")
    counts = Counter(
        (sample.source or "unnamed", part, sample.label)
        for sample, part in zip(samples, parts, strict=True)
    )
    totals = Counter(sample.source or "unnamed" for sample in samples)
    numbers = range(len(labels))
    rows = [
        [source]
        + [_count(counts[source, "train", number]) for number in numbers]
        + [_count(sum(counts[source, part, number] for number in numbers)) for part in used[1:]]
        for source, _ in totals.most_common()
    ]
    columns = [("train", number) for number in numbers] + [(part, None) for part in used[1:]]
    sums = [
        sum(
            one
            for (_, part, number), one in counts.items()
            if part == wanted and label in (None, number)
        )
        for wanted, label in columns
    ]
    rows.append(["all", *map(_count, sums)])
    head = ["source", *(f"trains: {label}" for label in labels), *used[1:]]
    return [
        "### What trained it",
        "",
        "Pictures by source; `validation` decided every choice, `held_out` none.",
        "",
        *tables.table(head, rows),
    ]


def _count(number: int) -> str:
    return f"{number:,}" if number else tables.NONE


def thresholds(
    calibration: Mapping[str, Any], sets: Mapping[str, Judged], background: Sequence[int]
) -> list[str]:
    """Return the lines on reliability and on the recommended ``enter`` and ``exit``.

    calibration  of models.calibrate
    sets         scores by set; test sets and held_out show what ``enter`` does there
    """
    enter, leave = calibration["enter"], calibration["exit"]
    rest = ""
    if not calibration["quiet"]:
        rest = "; no step does both, so this is the highest within that, or the daemon's default"
    lines = [
        "### How far the scores can be trusted",
        "",
        f"On the validation pictures, every source alike (those of fewer than"
        f" {calibrate.LEAST} pictures together): the temperature with the lowest loss is"
        f" {calibration['temperature']:.2f}; it would change the loss from"
        f" {calibration['loss']:.4f} to {calibration['loss_warmed']:.4f} (each half by the"
        " other's temperature), and is not applied.",
        "",
        *tables.table(
            ["source", "pictures", "ECE", "ECE with temperature"],
            [
                [name, f"{one['images']:,}", f"{one['ece']:.4f}", f"{one['ece_warmed']:.4f}"]
                for name, one in calibration["sources"].items()
            ],
        ),
    ]
    if not background:
        return lines
    lines += [
        "",
        "### Thresholds",
        "",
        f"Recommended: `enter` {enter:g}, `exit` {leave:g}. `enter`: the lowest step at which no"
        f" source has more false alarms than {100 * calibrate.ALARMS:g} % of its background"
        f" pictures, or one picture; it may cost at most {100 * calibrate.LOST:g} % of the"
        f" subjects{rest}."
        " `exit` is 1 - `enter`: where one certain label gives way to another, no moment without"
        " a label comes between. On single pictures, as in a still scene; validation, every"
        " source alike:",
        "",
        *tables.table(
            ["threshold", "false alarms, %", "worst source, %", "subjects lost, %"],
            [
                [
                    f"{row['threshold']:.2f}" + _mark(row["threshold"], enter, leave),
                    f"{100 * row['false_alarms']:.2f}",
                    f"{100 * row['worst']:.2f}" + (f" ({row['where']})" if row["worst"] else ""),
                    f"{100 * row['lost']:.2f}",
                ]
                for row in calibration["trade_off"]
            ],
        ),
        "",
        f"With `enter` {enter:g} on the sets that chose nothing:",
        "",
        *_at_enter(enter, sets, background),
    ]
    return lines


def _mark(threshold: float, enter: float, leave: float) -> str:
    marks = {enter: " `enter`", leave: " `exit`"}
    return marks.get(threshold, "")


def _at_enter(enter: float, sets: Mapping[str, Judged], background: Sequence[int]) -> list[str]:
    """Return the table of what is shown at ``enter``."""
    rows = []
    for name, judged in sets.items():
        if name == "validation":
            continue
        classes, best = judged.classes, judged.scores.argmax(axis=1)
        empty = np.isin(classes, background)
        over = metrics.called(judged.scores, background, enter)
        right = over & (best == classes)
        rows.append(
            [
                name,
                tables.share(int((over & empty).sum()), int(empty.sum()), interval=True),
                tables.share(int(right.sum()), int((~empty).sum())),
                tables.share(int((over & ~right & ~empty).sum()), int((~empty).sum())),
            ]
        )
    head = ["set", "false alarms, %", "subjects shown rightly, %", "shown as another, %"]
    return tables.table(head, rows)


def cascade(figures: Mapping[str, Any]) -> list[str]:
    """Return the lines on two models of which the large one is asked where the small is unsure."""
    empty = "asked_background" in figures["chosen"]["small alone"]
    rows = []
    for name, row in figures["chosen"].items():
        alone = name.endswith("alone")
        cells = [
            name.replace("small", figures["small"]).replace("large", figures["large"]),
            tables.NONE if alone else f"{row['threshold']:.2f}",
            tables.NONE if alone else f"{100 * row['asked']:.1f}",
            f"{row['cost']:.1f}",
            tables.of(row, "correct", "images", interval=True),
        ]
        if empty:
            cells[4:4] = [f"{row['cost_background']:.1f}"]
            cells.append(tables.of(row, "false_alarms", "background_images"))
        rows.append(cells)
    head = ["model", "margin below", "asked, %", "mean cost", "right, %"]
    if empty:
        head[4:4] = ["mean cost, background"]
        head.append("false alarms, %")
    return [
        "### A cascade",
        "",
        f"Both models, `{figures['large']}` asked only where the two best scores of"
        f" `{figures['small']}` are nearer than a margin: what validation pictures chose, on all"
        f" test pictures. Cost: {figures['unit']}.",
        "",
        *tables.table(head, rows),
    ]


def variants(table: Mapping[str, Any], more: Mapping[str, Any]) -> list[str]:
    """Return the lines on sizes, speed and accuracy of every variant.

    more  other variants
    """
    first = next(iter(table.values()))
    sets = [name for name, one in first["sets"].items() if name != "validation"]
    sets = [name for name in sets if "accuracy" in first["sets"][name]]
    return [
        "### Sizes",
        "",
        f"Every variant: `invoke` is the median of 300, {first['runtime']}, {first['threads']}"
        " threads, on the machine that exported the model. Right, in percent, with the 95 % Wilson"
        " interval.",
        "",
        *tables.table(
            ["variant", "bytes", "gzip -9", "`invoke` ms", *sets, "all"],
            [_variant(name, row, sets) for name, row in {**table, **more}.items()],
        ),
    ]


def _variant(name: str, row: Mapping[str, Any], sets: Sequence[str]) -> list[str]:
    """Return the row of one variant."""
    figures = [row["sets"][name] for name in sets]
    correct = sum(one["correct"] for one in figures)
    return [
        name,
        f"{row['bytes']:,}",
        f"{row['gzip_bytes']:,}",
        f"{row['invoke_ms']:.2f}",
        *(tables.of(one, "correct", "images", interval=True) for one in figures),
        tables.share(correct, sum(one["images"] for one in figures), interval=True),
    ]


def points(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the lines on other sizes of the network."""
    return [
        f"Other sizes, each trained on for the same few epochs from the shipped weights, int8, on"
        f" {rows[0]['images']:,} validation pictures; `less 15`: without that residual block; the"
        " last is the teacher.",
        "",
        *tables.table(
            ["network @side", "MACs, million", "bytes", "`invoke` ms", "accuracy", "AUC"],
            [
                [
                    f"{row['name']}{', shipped' if row.get('shipped') else ''}",
                    f"{row['macs'] / 1e6:.1f}",
                    f"{row['bytes']:,}",
                    f"{row['invoke_ms']:.2f}",
                    f"{100 * row['accuracy']:.1f}",
                    f"{row['auc']:.4f}",
                ]
                for row in rows
            ],
        ),
    ]
