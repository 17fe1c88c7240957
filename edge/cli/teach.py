"""`edge teach`: folders of pictures become a model that tells them apart, on this machine.

Composes a backbone (model/), which gives features, and learn/, which makes a head of them. The
model is proven before it replaces an older one; interrupted, nothing is changed.
"""

from __future__ import annotations

import argparse
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
from numpy.typing import NDArray

from edge import baseline, folders
from edge.cli import teach_progress as progress
from edge.config import ModelConfig
from edge.errors import ConfigError, EdgeError
from edge.fingerprint import fingerprint
from edge.learn import bundle, report, times
from edge.learn.page import SUSPECTS
from edge.learn.samples import Folder, Samples, scan
from edge.learn.teach import Taught, teach
from edge.model import backbone, baselinefile, engine, installed, locate
from edge.model.backbone import Backbone
from edge.model.survey import Survey
from edge.pictures.picture import Unreadable
from edge.text import escaped

Figures = NDArray[np.float32]
BACKGROUND: Final = "neither"
GOLDEN: Final = "golden.png"
TOLERANCE: Final = 0.15
"""Of a score of the golden picture: kernels of other processors round otherwise."""
THUMBNAIL: Final = 144
UNDERWAY: Final = ".teach-"
"""What the folder of a model that is being written begins with; a kill leaves it behind."""
STALE_S: Final = 3600.0
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,39}\Z")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Teach, write the bundle; return the report's figures. Raises EdgeError."""
    folder = Path(args.folder)
    name = args.name or folder.resolve().name
    _check_name(name)
    out = Path(args.out or name)
    version = _next_version(out, name)
    found = scan(folder, skip_empty=args.skip_empty)
    threads = 1 if args.gently else 0
    cv2.setNumThreads(threads or -1)
    background = _background(args.background, found)
    network = backbone.start(ModelConfig(path=args.features, threads=threads))
    show = progress.show(args.progress)
    samples, pictures = read(folder, found, network, show)
    taught = teach(samples, progress.judging(show))
    card = {
        "name": name,
        "version": version,
        "description": f"taught with {len(samples.names)} pictures on `{network.engine.card.name}`",
        "backbone": _reference(args.features),
        "sha256": network.engine.sha256,
        **({"background": background} if background else {}),
        "preprocessing": _preprocessing(network),
    }
    show("proving the model", progress.READING + progress.JUDGING)
    try:
        _install(out, folder, taught, card, pictures)
    except OSError as exc:
        raise EdgeError(f"the model cannot be written: {exc.strerror}", where=str(out)) from exc
    show("", 1.0)
    for line in () if args.json else report.text(taught).splitlines():
        print(escaped(line))
    return {"model": str(out), "name": name, "version": version, **report.figures(taught)}


def read(
    folder: Path, found: Folder, network: Backbone, show: progress.Show
) -> tuple[Samples, Figures]:
    """Return the pictures with their features; those that cannot be read are listed.

    Also returns what drift compares later pictures with, (N, 6).
    """
    survey, figures = Survey(network.engine), []
    kept: list[tuple[Path, int]] = []
    features, prints, bright = [], [], []
    unread: list[tuple[str, str]] = []
    for number, (path, label) in enumerate(found.files):
        total = len(found.files)
        show(f"{number + 1} of {total} pictures", progress.READING * (number + 1) / total)
        try:
            frame = engine.read_picture(path)
        except Unreadable as exc:
            unread.append((str(path.relative_to(folder)), str(exc)))
            continue
        features.append(network.features(frame))
        figures.append(np.empty(len(baseline.OF_PICTURES), np.float32))
        survey.picture(figures[-1])
        prints.append(fingerprint(frame.pixels))
        bright.append(float(frame.pixels[::4, ::4].mean()))
        kept.append((path, label))
    if not kept:
        raise ConfigError("no picture can be read", where=str(folder), got=unread[0][1])
    samples = Samples(
        labels=found.labels,
        names=tuple(str(path.relative_to(folder)) for path, _ in kept),
        classes=np.array([label for _, label in kept], np.int64),
        features=np.stack(features),
        prints=tuple(prints),
        bright=np.array(bright),
        times_s=times.of_all([path for path, _ in kept]),
        unread=tuple(unread),
    )
    return samples, np.stack(figures)


def _install(
    out: Path, folder: Path, taught: Taught, card: Mapping[str, Any], pictures: Figures
) -> None:
    """Write the bundle beside ``out``, prove it, and put it there."""
    if out.exists() and not (out / bundle.CARD).is_file():
        raise ConfigError(
            "is there, and is no model", where=str(out), hint="give another place with --out"
        )
    out.parent.mkdir(parents=True, exist_ok=True)
    for left in out.parent.glob(f"{UNDERWAY}*"):
        if time.time() - left.stat().st_mtime > STALE_S:
            shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=UNDERWAY, dir=out.parent) as temporary:
        made = Path(temporary) / "model"
        made.mkdir()
        bundle.write(made, taught, card, _thumbnails(folder, taught))
        _add_baseline(made, taught, pictures)
        golden = _golden(made, folder, taught)
        with (made / bundle.CARD).open("a") as file:
            file.write(bundle.toml({"golden": golden}))
        engine.load(ModelConfig(path=str(made.resolve())))
        folders.replace(made, out)


def _add_baseline(made: Path, taught: Taught, pictures: Figures) -> None:
    """Write what drift compares with later; of too few pictures a device learns its own."""
    if len(pictures) < baseline.FEWEST:
        return
    figures = baseline.joined(pictures, taught.scores.astype(np.float32))
    table = baselinefile.write(made, baseline.build(figures, taught.samples.features))
    with (made / bundle.CARD).open("a") as file:
        file.write(bundle.toml({"baseline": msgspec.to_builtins(table)}))


def _golden(made: Path, folder: Path, taught: Taught) -> dict[str, Any]:
    """Write the golden picture: the one that is surest of its class; return its scores."""
    rows = np.arange(len(taught.samples.names))
    surest = taught.samples.names[int(taught.scores[rows, taught.samples.classes].argmax())]
    started = engine.load(ModelConfig(path=str(made.resolve())))
    side = started.classifier.input.shape[1]
    pixels = engine.read_picture(folder / surest).pixels
    small = cv2.resize(pixels, (side, side), interpolation=cv2.INTER_AREA)
    cv2.imwrite(str(made / GOLDEN), small)
    scores = np.empty(len(taught.samples.labels), np.float32)
    if not started.classify(engine.read_picture(made / GOLDEN), scores):
        raise EdgeError("the golden picture has no scores", got=started.classifier.fault())
    kept = [round(float(score), 4) for score in scores]
    return {"picture": GOLDEN, "scores": kept, "tolerance": TOLERANCE}


def _thumbnails(folder: Path, taught: Taught) -> dict[str, bytes]:
    names = [taught.samples.names[one.index] for one in taught.suspects[:SUSPECTS]]
    return {name: jpeg for name in names for jpeg in _thumbnail(folder / name)}


def _thumbnail(path: Path) -> Iterator[bytes]:
    try:
        pixels = engine.read_picture(path).pixels
    except Unreadable:  # it has gone meanwhile
        return
    scale = THUMBNAIL / max(pixels.shape[:2])
    size = tuple(max(1, round(side * scale)) for side in pixels.shape[1::-1])
    small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    yield cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, 70])[1].tobytes()


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
