"""What another reader of TFLite makes of our files: MediaPipe's ImageClassifier, Android's.

It reads labels and normalisation from the metadata in the file, and knows nothing of the card.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.config import ModelConfig
from edge.model import locate
from edge.model.card import ModelCard
from edge.model.engine import read_picture, start
from tests.conftest import ROOT

PYTHON = ROOT / ".venv-train" / "bin" / "python"
LABELS = ("cat", "dog", "neither")
SIDE = 112
PICTURE = 128
"""Side of a picture whose centre, 7/8 of it, is as large as the input: nothing is resized."""
CARDS = {card.parent: locate.read(card) for card in (ROOT / "models").glob(f"*/{locate.CARD}")}
CLASSIFIERS = sorted(
    folder for folder, card in CARDS.items() if card.labels and not getattr(card, "head", None)
)
"""Every shipped model that gives scores by itself."""
READER = """
import sys, json, cv2, mediapipe
from mediapipe.tasks.python import BaseOptions, vision
from mediapipe.tasks.python.components.containers.rect import RectF
from mediapipe.tasks.python.vision.core.image_processing_options import ImageProcessingOptions
options = vision.ImageClassifierOptions(base_options=BaseOptions(model_asset_path=sys.argv[1]))
edge = (1 - float(sys.argv[3])) / 2
part = ImageProcessingOptions(RectF(left=edge, top=edge, right=1 - edge, bottom=1 - edge))
picture = cv2.cvtColor(cv2.imread(sys.argv[2]), cv2.COLOR_BGR2RGB)
image = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=picture)
with vision.ImageClassifier.create_from_options(options) as reader:
    found = reader.classify(image, part).classifications[0].categories
print(json.dumps({c.category_name: c.score for c in found}))
"""

pytestmark = pytest.mark.skipif(
    not PYTHON.is_file(), reason="LEFT OUT: other readers, for want of deploy/setup.sh train"
)


def python(*arguments: object) -> str:
    """Run the training environment's Python; return what it prints."""
    command = ["nice", "-n", "10", str(PYTHON), *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def by_mediapipe(folder: Path, card: ModelCard, picture: Path) -> dict[str, float]:
    """Return MediaPipe's scores by label; the crop is the caller's, not the file's."""
    share = card.preprocessing.central_fraction
    scores: dict[str, float] = json.loads(python("-c", READER, folder / card.file, picture, share))
    return scores


def by_the_daemon(folder: Path, picture: Path) -> dict[str, float]:
    """Return our engine's scores by label."""
    engine = start(ModelConfig(path=str(folder), require_xnnpack=False))
    scores = np.empty(len(engine.card.labels), np.float32)
    assert engine.classify(read_picture(picture), scores)
    return dict(zip(engine.card.labels, map(float, scores), strict=True))


@pytest.mark.parametrize("folder", CLASSIFIERS, ids=lambda folder: folder.name)
def test_every_shipped_classifier_is_read_alike(folder: Path) -> None:
    """Labels and scores of the golden picture, as in the daemon; of a sigmoid its one label."""
    card = CARDS[folder]
    assert card.golden
    picture = folder / card.golden.picture
    ours = by_the_daemon(folder, picture)
    if card.output.activation == "sigmoid":
        ours = {card.labels[1]: ours[card.labels[1]]}
    assert by_mediapipe(folder, card, picture) == pytest.approx(ours, abs=0.02)


def test_there_is_a_classifier_to_read() -> None:
    """The default model is among them."""
    assert locate.shipped() in CLASSIFIERS


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Pictures of coarse random patches."""
    random = np.random.default_rng(4)
    folder = tmp_path_factory.mktemp("pictures")
    for index in range(4):
        coarse = random.integers(0, 256, (8, 8, 3), np.uint8)
        cv2.imwrite(str(folder / f"{index}.png"), cv2.resize(coarse, (PICTURE, PICTURE)))
    return sorted(folder.iterdir())


@pytest.mark.parametrize("kind", ["float32", "int8"])
@pytest.mark.parametrize("backbone", ["mobilenet", "lite0"])
def test_three_classes_and_both_normalisations_are_read_alike(
    backbone: str, kind: str, pictures: list[Path], tmp_path: Path
) -> None:
    """MobileNet's mean 127.5, std 127.5 and EfficientNet-Lite's 127, 128, which float needs."""
    python("-m", "tests.random_network", backbone, kind, SIDE, tmp_path, *LABELS)
    card = locate.read(tmp_path / kind / locate.CARD)
    rows = []
    for picture in pictures:
        ours = by_the_daemon(tmp_path / kind, picture)
        theirs = by_mediapipe(tmp_path / kind, card, picture)
        assert theirs == pytest.approx(ours, abs=0.01 if kind == "int8" else 1e-4)
        rows.append([*ours.values()])
    assert np.ptp(rows, axis=0).max() > 0.05, "all scores alike"
