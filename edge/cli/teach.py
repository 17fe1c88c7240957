"""`edge teach`: folders of pictures become a model that tells them apart, on this machine.

Composes a backbone (model/), which gives features, and learn/, which makes a head of them. The
model is proven before it replaces an older one; interrupted, nothing is changed.
"""

from __future__ import annotations

import argparse
import contextlib
import re
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import cv2
import msgspec
import numpy as np

from edge import baseline, folders
from edge.cli import teach_pictures
from edge.cli import teach_progress as progress
from edge.cli.teach_pictures import Figures, Pictures
from edge.config import ModelConfig
from edge.errors import ConfigError, EdgeError
from edge.learn import bundle, report
from edge.learn.samples import Folder, scan
from edge.learn.teach import Taught, teach
from edge.model import backbone, baselinefile, engine, installed, locate
from edge.model.backbone import Backbone
from edge.pictures.picture import Unreadable
from edge.text import escaped

BACKGROUND: Final = "neither"
GOLDEN: Final = "golden.png"
TOLERANCE: Final = 0.15
"""Of a score of the golden picture: kernels of other processors round otherwise."""
ENDING: Final = "-model"
"""Of the folder that a model goes to by default: NAME is often that of the pictures."""
UNDERWAY: Final = ".teach-"
"""What the folder of a model that is being written begins with; a kill leaves it behind."""
STALE_S: Final = 3600.0
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,39}\Z")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Teach, write the bundle; return the report's figures. Raises EdgeError."""
    folder = Path(args.folder)
    name = args.name or folder.resolve().name
    _check_name(name)
    out = Path(args.out or f"{name}{ENDING}")
    found = scan(folder, skip_empty=args.skip_empty)
    background = _background(args.background, found)
    place = _place(out, folder)
    version = _next_version(place, name)
    threads = 1 if args.gently else 0
    cv2.setNumThreads(threads or -1)
    network = backbone.start(ModelConfig(path=args.features, threads=threads))
    show = progress.show(args.progress)
    pictures = teach_pictures.read(folder, found, network, show)
    card = {
        "name": name,
        "version": version,
        "description": f"taught with {len(pictures.paths)} pictures on"
        f" `{network.engine.card.name}`",
        "backbone": _reference(args.features),
        "sha256": network.engine.sha256,
        **({"background": background} if background else {}),
        "preprocessing": _preprocessing(network),
    }
    del network  # its memory
    taught = teach(pictures.samples, progress.judging(show))
    show("proving the model", progress.READING + progress.JUDGING)
    with _writing(out):
        _install(place, taught, card, pictures)
    show("", 1.0)
    for line in () if args.json else report.text(taught).splitlines():
        print(escaped(line))
    return {"model": str(out), "name": name, "version": version, **report.figures(taught)}


def _place(out: Path, folder: Path) -> Path:
    """Return where the model goes, links followed; that it can go there is known before the work.

    Raises EdgeError.
    """
    with _writing(out):
        place, pictures = out.resolve(), folder.resolve()
        if place.exists() and not _is_bundle(place):
            raise ConfigError(
                "is there, and is no model", where=str(out), hint="give another place with --out"
            )
        if pictures in place.parents:
            raise ConfigError(
                "lies among the pictures",
                where=str(out),
                hint=f"give a place outside {folder} with --out",
            )
        place.parent.mkdir(parents=True, exist_ok=True)
        for left in place.parent.glob(f"{UNDERWAY}*"):
            with contextlib.suppress(FileNotFoundError):  # another one has ended
                if time.time() - left.stat().st_mtime > STALE_S:
                    shutil.rmtree(left, ignore_errors=True)
        with tempfile.TemporaryDirectory(prefix=UNDERWAY, dir=place.parent):
            return place


def _is_bundle(place: Path) -> bool:
    """Return whether a folder can be replaced: it has a card, and no folder of somebody's."""
    return (place / bundle.CARD).is_file() and not any(path.is_dir() for path in place.iterdir())


@contextlib.contextmanager
def _writing(out: Path) -> Iterator[None]:
    """Turn what the file system refuses into one line."""
    try:
        yield
    except (OSError, RuntimeError) as exc:  # a loop of links
        reason = exc.strerror if isinstance(exc, OSError) else "its links lead to themselves"
        raise EdgeError(f"the model cannot be written: {reason}", where=str(out)) from exc


def _install(place: Path, taught: Taught, card: Mapping[str, Any], pictures: Pictures) -> None:
    """Write the bundle beside ``place``, prove it, and put it there."""
    with tempfile.TemporaryDirectory(prefix=UNDERWAY, dir=place.parent) as temporary:
        made = Path(temporary) / "model"
        made.mkdir()
        bundle.write(made, taught, card, teach_pictures.thumbnails(pictures, taught))
        _add_baseline(made, taught, pictures.figures)
        golden = _golden(made, taught, pictures)
        with (made / bundle.CARD).open("a") as file:
            file.write(bundle.toml({"golden": golden}))
        engine.load(ModelConfig(path=str(made)))
        folders.replace(made, place)


def _add_baseline(made: Path, taught: Taught, pictures: Figures) -> None:
    """Write what drift compares with later; of too few pictures a device learns its own."""
    if len(pictures) < baseline.FEWEST:
        return
    figures = baseline.joined(pictures, taught.scores.astype(np.float32))
    table = baselinefile.write(made, baseline.build(figures, taught.samples.features))
    with (made / bundle.CARD).open("a") as file:
        file.write(bundle.toml({"baseline": msgspec.to_builtins(table)}))


def _golden(made: Path, taught: Taught, pictures: Pictures) -> dict[str, Any]:
    """Write the golden picture: the one that is surest of its class; return its scores."""
    rows = np.arange(len(taught.samples.names))
    surest = pictures.paths[int(taught.scores[rows, taught.samples.classes].argmax())]
    started = engine.load(ModelConfig(path=str(made)))
    side = started.classifier.input.shape[1]
    try:
        pixels = teach_pictures.small(surest)
    except Unreadable as exc:
        raise EdgeError(f"it has changed meanwhile: {exc}", where=str(surest)) from exc
    small = cv2.resize(pixels, (side, side), interpolation=cv2.INTER_AREA)
    (made / GOLDEN).write_bytes(cv2.imencode(".png", small)[1].tobytes())
    scores = np.empty(len(taught.samples.labels), np.float32)
    if not started.classify(engine.read_picture(made / GOLDEN), scores):
        raise EdgeError("the golden picture has no scores", got=started.classifier.fault())
    kept = [round(float(score), 4) for score in scores]
    return {"picture": GOLDEN, "scores": kept, "tolerance": TOLERANCE}


def _check_name(name: str) -> None:
    if not _NAME.match(name):
        raise ConfigError(
            "not a name",
            where="--name",
            expected="letters, digits, `.`, `_` and `-`, at most 40",
            got=name,
            hint="give one with --name",
        )
    if (installed.places()[0] / name / installed.CARD).is_file():
        raise ConfigError("a model of this name comes with the program", where="--name", got=name)


def _next_version(out: Path, name: str) -> str:
    """Return the version after those that there are, here and on this device."""
    there = [path.name.partition("@")[2] for path in installed.versions(name)]
    if (out / bundle.CARD).is_file():
        try:
            there.append(locate.read(out / bundle.CARD).version)
        except EdgeError:  # it is replaced anyway
            there.append("")
    return str(1 + max((int(one) for one in there if one.isdecimal() and len(one) < 9), default=0))


def _background(given: list[str] | None, found: Folder) -> list[str]:
    """Return the background labels: those given, else the usual one where it is a class."""
    if given is None:
        return [label for label in found.labels if label == BACKGROUND]
    for label in given:
        if label not in found.labels:
            raise ConfigError(
                "no such class",
                where="--background",
                expected=f"one of {', '.join(found.labels)}",
                got=label,
            )
    if set(given) >= set(found.labels):
        raise ConfigError("every class is background", where="--background")
    return given


def _reference(features: str) -> str:
    """Return the backbone as the card names it: by name, or by a path that holds anywhere."""
    return features if installed.folder(features) else str(Path(features).resolve())


def _preprocessing(network: Backbone) -> dict[str, Any]:
    found = msgspec.to_builtins(network.engine.card.preprocessing)
    return {key: value for key, value in found.items() if value is not None}
