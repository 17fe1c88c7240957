"""The measured figures, as tables and plots in the README beside the model.

    python -m models.report [--backbone mobilenet] [--data DIR] [--out build/model]
        [--to models/catdog]

Judges the model in TO and its float32 variant, whose scores OUT keeps, on every set; reads
OUT/NAME-variants.json and, if present, OUT/cascade.json, and for the default backbone
OUT/pruned.json and OUT/points.json (other networks). Replaces the section of TO/README.md between
the two marks, or makes the file; writes TO/variants.png and TO/curves.png.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from edge.errors import ConfigError, EdgeError
from edge.model import locate
from edge.model.card import ModelCard
from models import calibrate, dataset, evaluate, floors, options, plots, sections, tables
from models.judge import Judged, classes_of, find_sets, judge_all

BEGIN: Final = "<!-- measured: written by models.report -->"
END: Final = "<!-- /measured -->"
FIRST: Final = "mobilenet"
"""The backbone whose pruned and other sizes models.prune and models.search measure."""


def insert(text: str, section: str) -> str:
    """Return ``text`` with ``section`` between the marks, which are added at its end if absent."""
    if BEGIN in text and END in text:
        before, _, rest = text.partition(BEGIN)
        _, _, after = rest.partition(END)
    else:
        before, after = text.rstrip() + "\n\n", "\n"
    return f"{before}{BEGIN}\n\n{section}\n\n{END}{after}"


def judged_kinds(
    args: argparse.Namespace, to: Path, labels: Sequence[str]
) -> dict[str, dict[str, Judged]]:
    """Return the scores by set of the float32 variant, if present, and of the model in ``to``."""
    sets = find_sets(args.data, args.out, labels)
    folders = {"float32": args.out / f"{args.name}-variants" / "float32", "int8": to}
    return {
        kind: judge_all(folder, sets, args.out)
        for kind, folder in folders.items()
        if (folder / locate.CARD).is_file()
    }


def accuracy(
    card: ModelCard,
    kinds: Mapping[str, Mapping[str, Judged]],
    background: Sequence[int],
    subjects: Sequence[str],
) -> list[str]:
    """Return the lines on accuracy: what was wanted, every set, confusions, sources, groups."""
    lines = floors.table(card.name, kinds, background)
    lines += ["", "### Every set", ""] if lines else []
    every = {kind: evaluate.measure(sets, background) for kind, sets in kinds.items()}
    lines += [f"{tables.legend(subjects)} `{evaluate.TOGETHER}`: every test set.", ""]
    lines += [*tables.sets(every), "", "True classes by row, int8:", ""]
    measured = every["int8"]
    lines += [*tables.confusions(measured, card.labels)]
    parts = {name: figures for name, figures in measured.items() if name != "validation"}
    if any(figures.get("source") or figures.get("group") for figures in parts.values()):
        lines += ["", "### By source and group", "", "As the pictures' lists name them, int8:", ""]
        lines += tables.parts(parts)
    return lines


def main() -> None:
    """Write the section and the plots."""
    parser = options.parser(__doc__)
    parser.add_argument("--to", type=Path, help="folder of the model (default: the shipped one)")
    args = options.parse(parser)
    to = args.to or options.ROOT / "models" / options.NETWORKS[args.backbone]
    table = _read(args.out / f"{args.name}-variants.json")
    if table is None:
        raise ConfigError(
            "nothing measured",
            where=str(args.out / f"{args.name}-variants.json"),
            hint="run python -m models.export first",
        )
    card = locate.read(to / locate.CARD)
    labels, background = classes_of(card, args.out, args.background)
    names = [labels[i] for i in background]
    kinds = judged_kinds(args, to, labels)
    lines = accuracy(card, kinds, background, [name for name in labels if name not in names])
    calibration, validation = None, kinds["int8"].get("validation")
    if validation and len(labels) == len(card.labels):
        calibration = calibrate.measure(validation, labels, names)
        lines += ["", *sections.thresholds(calibration, kinds["int8"], background)]
    cascade = _read(args.out / "cascade.json")
    if cascade and card.name in (cascade["small"], cascade["large"]):
        lines += ["", *sections.cascade(cascade)]
    else:
        cascade = None
    if calibration or cascade:
        lines += ["", "![reliability of the scores; the cascade](curves.png)"]
        plots.curves(calibration, cascade, to / "curves.png")
    corpus = dataset.load(args.out)
    lines += ["", *sections.corpus(corpus.labels, corpus.samples, corpus.parts)]
    first = args.backbone == FIRST
    pruned = (_read(args.out / "pruned.json") if first else None) or {}
    points = (_read(args.out / "points.json") if first else None) or []
    lines += ["", *sections.variants(table, pruned)]
    lines += ["", *sections.points(points)] if points else []
    lines += ["", "![accuracy by size and cost](variants.png)"]
    plots.variants(table, points, to / "variants.png")
    readme = to / "README.md"
    text = readme.read_text() if readme.is_file() else f"# {card.name}\n\n{card.description}\n"
    readme.write_text(insert(text, "\n".join(lines)))
    print(readme)


def _read(file: Path) -> Any:
    """Return what a step has written; None where it has not run."""
    return json.loads(file.read_text()) if file.is_file() else None


if __name__ == "__main__":
    try:
        main()
    except EdgeError as exc:
        sys.exit(str(exc))
