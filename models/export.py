"""The trained network becomes the shipped model: int8 inside, uint8 pixels in, uint8 score out.

    python -m models.export [--backbone mobilenet] [--data DIR] [--out build/model]
        [--to models/catdog]

Reads OUT/dataset.json and OUT/NAME.keras; for the int8 file OUT/NAME-int8.keras, if present.
Calibrates on training pictures; writes every variant into OUT/NAME-variants and measures all of
them on the same pictures (OUT/NAME-variants.json). The int8 one becomes model.tflite, labels.txt,
golden.png, baseline.npz and model.toml in a temporary folder, which replaces the old one only when
whole.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
import tempfile
from itertools import groupby
from pathlib import Path
from typing import Any, Final

import cv2
import keras
import msgspec
import numpy as np

from edge import folders
from edge.config import ModelConfig, Recommended
from edge.errors import EdgeError, ModelError
from edge.frames import Frame
from edge.model import locate
from edge.model.card import Golden, ModelCard, Output
from edge.model.engine import Unreadable, read_picture, start
from models import (
    backbones,
    baseline,
    calibrate,
    dataset,
    evaluate,
    metadata,
    options,
    train,
    variants,
)
from models.judge import Judged, find_sets, judge_all

GOLDEN_PICTURE: Final = options.ROOT / "deploy" / "demo" / "pictures" / "cat_skimage_chelsea.jpg"
SHIPPED_LABELS: Final = ("cat", "dog", "neither")
SHIPPED_VERSIONS: Final = {"catdog": "3", "catdog-large": "4"}
GOLDEN_TOLERANCE: Final = 0.1
LICENSE: Final = (
    "Weights derived from ImageNet weights (Apache-2.0); most of the training photographs state no"
    " open licence and are not distributed: see README.md"
)


def write_model(
    folder: Path, content: bytes, corpus: dataset.Dataset, backbone: backbones.Backbone, name: str
) -> ModelCard:
    """Write model, labels and card into ``folder``; return the card."""
    labels = corpus.labels
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "labels.txt").write_text("".join(f"{label}\n" for label in labels))
    shipped = labels == SHIPPED_LABELS
    card = ModelCard(
        name=name if shipped else "-".join(labels)[:40],
        version=SHIPPED_VERSIONS[name] if shipped else "1",
        description=f"{backbone.name}, {len(labels)} classes: {', '.join(labels)}",
        license=LICENSE if shipped else "",
        file="model.tflite",
        labels=labels,
        background=corpus.background,
        preprocessing=msgspec.structs.replace(corpus.how, mean=backbone.mean, std=backbone.std),
        output=Output("softmax"),
    )
    content = metadata.embed(content, card)
    (folder / card.file).write_bytes(content)
    card = msgspec.structs.replace(card, sha256=hashlib.sha256(content).hexdigest())
    write_card(folder, card)
    return card


def attest(folder: Path, picture: Path) -> Golden:
    """Write golden.png from ``picture``; return it with the model's scores for it."""
    engine = start(ModelConfig(path=str(folder)))
    side = engine.classifier.input.shape[1]
    golden = folder / "golden.png"
    cv2.imwrite(str(golden), cv2.resize(_picture(picture).pixels, (side, side)))
    scores = np.empty(len(engine.card.labels), np.float32)
    if not engine.classify(_picture(golden), scores):
        fault = engine.classifier.fault()
        raise ModelError("the model gives no scores", where=str(golden), got=fault)
    kept = tuple(round(float(score), 4) for score in scores)
    return Golden(golden.name, kept, GOLDEN_TOLERANCE)


def _picture(path: Path) -> Frame:
    try:
        return read_picture(path)
    except Unreadable as exc:
        raise ModelError(f"the golden picture cannot be used: {exc}", where=str(path)) from exc


def _golden(corpus: dataset.Dataset) -> Path:
    """Return a freely licensed picture for the shipped classes, else a held-out one."""
    if corpus.labels == SHIPPED_LABELS:
        return GOLDEN_PICTURE
    return corpus.samples[int(corpus.indices("held_out")[0])].path


def write_card(folder: Path, card: ModelCard) -> None:
    """Write ``model.toml``, without what is empty; TOML has no null."""
    tables = {k: v for k, v in msgspec.to_builtins(card).items() if v not in (None, "", [], ())}
    tables["preprocessing"] = {k: v for k, v in tables["preprocessing"].items() if v is not None}
    (folder / "model.toml").write_bytes(msgspec.toml.encode(tables))


def replace_folder(new: Path, old: Path) -> None:
    """Replace ``old`` by ``new``, whole, in one step; files that only ``old`` has are kept."""
    for file in old.iterdir() if old.is_dir() else ():
        if not (new / file.name).exists():
            shutil.copy2(file, new)
    folders.replace(new, old)


def networks(trained: Path) -> list[tuple[str, variants.Kind, Path]]:
    """Return name, kind and network of every variant; ``int8`` is the one that is shipped.

    It comes from the network that models.quantise trained further, if present; the other is then
    measured as ``int8-calibrated``.
    """
    rows = [(str(kind), kind, trained) for kind in variants.EXPORTED]
    quantised = trained.with_name(f"{trained.stem}-int8.keras")
    if quantised.is_file():
        rows[-1:] = [("int8-calibrated", "int8", trained), ("int8", "int8", quantised)]
    return rows


def calibrated(
    model: Any, corpus: dataset.Dataset, backbone: backbones.Backbone, side: int
) -> float:
    """Divide the logits of ``model`` by the temperature that suits the validation pictures best.

    The order of the scores stays. Returns the temperature. Source: Guo et al. 2017.
    """
    pictures, _, _ = train.validation(corpus, backbone, side)
    samples = tuple(corpus.samples[i] for i in corpus.indices("validation"))
    judged = Judged(samples, model.predict(pictures, batch_size=64, verbose=0))
    temperature = calibrate.temperature(judged, np.ones(len(samples), bool))
    last = model.get_layer("scores")
    last.set_weights([weight / temperature for weight in last.get_weights()])
    return temperature


def main() -> None:
    """Export, measure, and install the result."""
    parser = options.parser(__doc__)
    parser.add_argument("--to", type=Path, help="folder of the model (default: the shipped one)")
    parser.add_argument("--golden", type=Path, help="picture that every start checks")
    args = options.parse(parser)
    name = options.NETWORKS[args.backbone]
    to = args.to or options.ROOT / "models" / name
    trained = args.out / f"{args.name}.keras"
    if not trained.is_file():
        raise ModelError("no trained network", where=str(trained), hint="run models.train first")
    corpus, backbone = dataset.load(args.out), backbones.BACKBONES[args.backbone]
    sets = find_sets(args.data, args.out)
    table: dict[str, dict[str, Any]] = {}
    made = args.out / f"{args.name}-variants"
    for file, rows in groupby(networks(trained), lambda row: row[2]):
        model = keras.models.load_model(file, compile=False)
        print(f"{file}: temperature {calibrated(model, corpus, backbone, args.side):.2f}")
        with variants.saved(model, args.side) as saved:
            for variant, kind, _ in rows:
                content = variants.convert(saved, corpus, backbone, args.side, kind)
                folder = made / variant
                write_model(folder, content, corpus, backbone, name)
                measured = variants.measure(folder, sets, corpus.background_classes, args.out)
                table[variant] = measured
                print(variant, json.dumps(measured), flush=True)
    (args.out / f"{args.name}-variants.json").write_text(json.dumps(table, indent=1))
    accuracy = evaluate.card_figures(table["int8"]["sets"])
    validation = judge_all(made / "int8", {"validation": sets["validation"]}, args.out)
    enter, leave = calibrate.recommend(validation["validation"], corpus.labels, corpus.background)
    with tempfile.TemporaryDirectory(dir=to.parent, prefix=".export-") as temporary:
        folder = Path(temporary) / "model"
        shutil.copytree(made / "int8", folder)
        golden = attest(folder, args.golden or _golden(corpus))
        card = locate.read(folder / locate.CARD)
        card = msgspec.structs.replace(
            card,
            golden=golden,
            baseline=baseline.write(folder, validation["validation"].samples),
            accuracy=accuracy,
            smoothing=Recommended(enter, leave),
        )
        write_card(folder, card)
        start(ModelConfig(path=str(folder)))  # the new card must attest
        replace_folder(folder, to)
    print(to)


if __name__ == "__main__":
    try:
        main()
    except EdgeError as exc:
        sys.exit(str(exc))
