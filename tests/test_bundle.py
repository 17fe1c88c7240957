"""Bundles: a head on a backbone, from the card to the daemon; and backbones by themselves."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.config import ModelConfig
from edge.errors import ModelError
from edge.frames import Frame
from edge.model import backbone as backbones
from edge.model import cardfile, locate
from edge.model.engine import describe, load, start
from edge.model.golden import sample
from tests import heads
from tests.conftest import MODELS, ROOT, Daemon, edge, model_folder

FEATURES = '[output]\nactivation = "features"\n'


def config(path: Path | str) -> ModelConfig:
    """Return the config of a model, with one thread."""
    return ModelConfig(path=str(path), threads=1)


def solid(color: str) -> Frame:
    """Return a frame of one colour."""
    return Frame(0, 0, np.full((48, 64, 3), heads.COLORS[color], np.uint8), "bgr")


@pytest.fixture
def taught(tmp_path: Path) -> Path:
    """A bundle whose backbone lies beside it."""
    heads.backbone(tmp_path / "features")
    return heads.bundle(tmp_path / "colours")


def test_a_bundle_names_the_color(taught: Path, tmp_path: Path) -> None:
    """Through the backbone's network and its own head, on XNNPACK; info has both checksums."""
    engine = start(config(taught))
    scores = np.empty(3, np.float32)
    for label in heads.LABELS:
        assert engine.classify(solid(label), scores)
        assert engine.card.labels[int(scores.argmax())] == label
        assert scores.max() > 0.9
        assert scores.sum() == pytest.approx(1)
    assert engine.path.resolve() == tmp_path / "features" / "features.tflite"
    assert engine.classifier.facts.xnnpack
    assert engine.classifier.labels_total == 3
    model = describe(engine)
    assert model.sha256 == heads.checksum(MODELS / "features.tflite")
    assert model.head_sha256 == heads.checksum(taught / "head.npz")
    assert (model.name, model.labels) == ("colours", heads.LABELS)


def test_many_heads_share_a_backbone_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Installed models are found by bundles as by a config."""
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))
    heads.backbone(tmp_path / "models" / "tiny")
    for name, labels in (("one", '["a", "b", "c"]'), ("two", '["x", "y", "z"]')):
        heads.bundle(tmp_path / "models" / name, "tiny", labels=labels)
    one, two = start(config("one")), start(config("two"))
    assert (one.card.labels[0], two.card.labels[0]) == ("a", "x")
    assert one.path == two.path
    shutil.rmtree(tmp_path / "models" / "tiny")
    with pytest.raises(ModelError, match=r"one/model\.toml: backbone: model not found: expected"):
        start(config("one"))


def test_a_head_may_lie_beside_its_own_network(tmp_path: Path) -> None:
    """With `file` instead of `backbone`."""
    folder = heads.bundle(tmp_path / "own", backbone="", file='"features.tflite"')
    shutil.copy(MODELS / "features.tflite", folder)
    scores = np.empty(3, np.float32)
    assert start(config(folder)).classify(solid("green"), scores)
    assert scores.argmax() == 1


def test_a_backbone_upgraded_under_a_head_is_refused(taught: Path, tmp_path: Path) -> None:
    """In one line that says so; the backbone itself is sound."""
    changed = (MODELS / "features.tflite").read_bytes() + b"\0"
    (tmp_path / "features" / "features.tflite").write_bytes(changed)
    backbones.start(config(tmp_path / "features"))
    with pytest.raises(ModelError) as caught:
        start(config(taught))
    before, after = (
        heads.checksum(file)
        for file in (MODELS / "features.tflite", tmp_path / "features" / "features.tflite")
    )
    assert str(caught.value) == (
        f"{taught}/model.toml: backbone: the backbone is not the one that the head was made for:"
        f" expected sha256 {before[:16]}..., got {after[:16]}..."
        f" ({taught}/../features/features.tflite); teach the head again, or restore the backbone"
    )


HEAD = 'head = {file = "head.npz", sha256 = "00"}\n'


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"backbone": '"no-such"'}, "backbone: model not found: expected one of .*catdog"),
        ({"backbone": '"../none"'}, r"none/model\.toml: model not found|none: model not found"),
        ({"backbone": '"../colours"'}, "backbone: the backbone gives no features"),
        (
            {"backbone": '"catdog"'},
            "the backbone gives no features: expected a model with",
        ),
        ({"backbone": '"../features/features.tflite"', "sha256": '"00"'}, "not the one .*head was"),
        ({"file": '"features.tflite"'}, "`file` and `backbone` at once: expected one of them"),
        ({"backbone": ""}, "key `file` is missing; add it, or `backbone`"),
        ({"head": ""}, "`backbone` without .head.; add .head."),
        ({"sha256": ""}, "key `sha256` is missing; add the checksum of the backbone's file"),
        ({"labels": ""}, "labels: a model with .head. needs labels: expected at least 2, got 0"),
        ({"labels": '["a"]'}, "needs labels: expected at least 2, got 1"),
        ({"labels": '["a", "b"]'}, "the labels that its card has: expected 2, got 3"),
        ({"labels": '["a", "a", "b"]'}, "labels must be distinct"),
        (
            {"output": '{activation = "softmax"}'},
            r"output\.activation: the network .* gives",
        ),
        ({"output": '{activation = "features"}'}, ""),
        ({"head": '{file = "head.npz"}'}, "head: key `sha256` is missing"),
        ({"head": '{file = "", sha256 = "00"}'}, "head.file: wrong value"),
        ({"head": '{file = "head.npz", sha256 = "00"}'}, "not the one that its card describes"),
        (
            {"head": '{file = "no.npz", sha256 = "00"}'},
            r"no\.npz: the head cannot be read: No",
        ),
        ({"head": '{file = "..", sha256 = "00"}'}, "the head cannot be read: is a folder"),
        ({"head": '{file = "head.npz", sha256 = "00", more = 1}'}, "head.more: unknown key"),
        ({"golden": '{picture = "g.png", scores = [1.0]}'}, "expected 3, one per label, got 1"),
        ({"golden": '{picture = "g.png", features = [1.0]}'}, "features of a model that gives"),
    ],
)
def test_a_wrong_bundle_is_one_line(changes: dict[str, str], message: str, tmp_path: Path) -> None:
    """Each fault says what, where and what was expected."""
    heads.backbone(tmp_path / "features")
    folder = heads.bundle(tmp_path / "colours", **changes)
    if not message:
        start(config(folder))
        return
    with pytest.raises(ModelError, match=message) as caught:
        start(config(folder))
    assert str(tmp_path) in str(caught.value)


def test_a_hostile_head_is_refused_in_the_trial(
    daemon: Callable[..., Daemon], taught: Path, rgb: Path, tmp_path: Path
) -> None:
    """One line at the start, with status 78; at a reload the old model goes on."""
    (taught / "head.npz").write_bytes(b"PK\x05\x06" + bytes(18))
    digest = heads.checksum(taught / "head.npz")
    card = (taught / "model.toml").read_text()
    head = card[card.index("head = ") :]
    (taught / "model.toml").write_text(
        card.replace(head, f'head = {{file = "head.npz", sha256 = "{digest}"}}\n')
    )
    line = "head.npz: the head has no array `weights`"
    nowhere = ("--source", "synthetic", "--broker", "localhost:1")
    failed = daemon(*nowhere, config=f'[model]\npath = "{taught}"\n')
    assert failed.process.wait(50) == 78
    lines = failed.log.read_text().splitlines()
    assert len(lines) == 1
    assert line in lines[0]
    running = daemon(*nowhere, config=f'[model]\npath = "{rgb}"\n')
    running.wait_for_log("red -> green")
    (tmp_path / "edge.toml").write_text(f'[model]\npath = "{taught}"\n')
    running.process.send_signal(signal.SIGHUP)
    running.wait_for_log("not reloaded")
    assert line in running.log.read_text()
    heads.bundle(taught)
    running.process.send_signal(signal.SIGHUP)
    running.wait_for_log(" reloaded")
    running.wait_for_log("green -> blue", running.log.read_text().count("green -> blue") + 1)
    assert running.stop() == 0


def test_another_head_is_another_proof(taught: Path) -> None:
    """A head that replaces another is tried again, though the network is the same."""
    from edge.model.attempt import identify

    before = identify(config(taught))
    heads.save(taught / "head.npz", bias=np.ones(3, np.float32))
    digest = heads.checksum(taught / "head.npz")
    heads.card(
        taught,
        {
            "name": '"colours"',
            "backbone": '"../features"',
            "labels": '["red", "green", "blue"]',
            "sha256": f'"{before.sha256}"',
            "head": f'{{file = "head.npz", sha256 = "{digest}"}}',
        },
    )
    after = identify(config(taught))
    assert after.sha256 == before.sha256
    assert after.proof != before.proof


@pytest.mark.parametrize(
    ("theirs", "own", "message"),
    [
        ("mean = 120.0\nstd = 130.0", "", ""),
        ("mean = 120.0\nstd = 130.0", "mean = [120.0, 120.0, 120.0]", ""),
        ("mean = 120.0\nstd = 130.0", 'resize = "crop"', ""),
        (
            "mean = 120.0\nstd = 130.0",
            "mean = 127.5",
            "mean: the card contradicts that of",
        ),
        (
            'resize = "crop"',
            'resize = "stretch"',
            r"resize: the card contr.*expected crop, got",
        ),
        ("", "mean = 120.0\nstd = 130.0", ""),
    ],
)
def test_the_preprocessing_is_the_backbones(
    theirs: str, own: str, message: str, tmp_path: Path
) -> None:
    """What the bundle states must agree with it; what only one of them states is in force."""
    heads.backbone(tmp_path / "features", f"{FEATURES}[preprocessing]\n{theirs}\n")
    folder = heads.bundle(tmp_path / "colours", more=f"[preprocessing]\n{own}\n")
    if message:
        with pytest.raises(ModelError, match=message):
            start(config(folder))
        return
    how = start(config(folder)).card.preprocessing
    if "120" in theirs + own:
        assert np.mean(how.mean) == 120.0
        assert how.std == 130.0
    assert how.resize == ("crop" if "crop" in theirs + own else "stretch")


def picture(folder: Path, color: str = "red") -> Path:
    """Return a golden picture of one colour."""
    cv2.imwrite(str(folder / "golden.png"), solid(color).pixels)
    return folder / "golden.png"


def test_the_golden_picture_goes_through_network_and_head(taught: Path) -> None:
    """It lies beside the bundle's card; a head that gives other scores is refused."""
    picture(taught)
    card = (taught / "model.toml").read_text()
    golden = '[golden]\npicture = "golden.png"\nscores = [0.99, 0.005, 0.005]\n'
    (taught / "model.toml").write_text(card + golden)
    assert describe(start(config(taught))).golden == "passed"
    (taught / "model.toml").write_text(card + golden.replace("[0.99, 0.005,", "[0.005, 0.99,"))
    with pytest.raises(ModelError, match=r"colours/model\.toml on .*not give its golden scores"):
        start(config(taught))


def test_a_backbone_gives_features(tmp_path: Path) -> None:
    """By its name or path, the caller's own array; the values are those of the network."""
    backbone = backbones.start(config(heads.backbone(tmp_path / "features")))
    assert backbone.size == heads.FEATURES
    features = backbone.features(solid("red"))
    other = backbone.features(solid("blue"))
    assert features.shape == (8,)
    assert features.dtype.name == "float32"
    red = 200 / 127.5 - 1
    assert features == pytest.approx([1 + red, 0, 0, 1 - red, 2, 2, 1, 1], abs=0.08)
    assert other == pytest.approx([0, 0, 1 + red, 2, 2, 1 - red, 1, 1], abs=0.08)


def test_features_of_a_quantised_output_are_real_values() -> None:
    """scale * (q - zero_point); one that is not finite is no feature."""
    from edge.model.card import TensorSpec
    from edge.model.features import Features

    out = np.full(3, 7, np.float32)
    quantised = Features(TensorSpec((1, 3), np.dtype(np.int8), 0.5, -10), "m")
    assert quantised.read(np.array([[-10, -8, 0]], np.int8), out)
    assert out.tolist() == [0, 1, 5]
    real = Features(TensorSpec((1, 3), np.dtype(np.float32), 0.0, 0), "m")
    assert not real.read(np.array([[0, np.nan, np.inf]], np.float32), out)
    assert out.tolist() == [0, 1, 5]
    assert real.fault() == "2 of 3 features not finite"


def test_a_backbone_is_no_classifier_and_a_classifier_no_backbone(
    daemon: Callable[..., Daemon], taught: Path, rgb: Path, tmp_path: Path
) -> None:
    """One line each, from the daemon too; a bundle gives scores only."""
    folder = tmp_path / "features"
    line = (
        f"{folder}/model.toml: features gives features, no scores: expected a classifier, or a card"
        " with [head]; see docs/models.md"
    )
    for call in (start, load):
        with pytest.raises(ModelError) as caught:
            call(config(folder))
        assert str(caught.value) == line
    failed = daemon(
        *("--source", "synthetic", "--broker", "localhost:1"),
        config=f'[model]\npath = "{folder}"\n',
    )
    assert failed.process.wait(50) == 78
    assert failed.log.read_text().endswith(f"{line}\n")
    for path in (rgb, taught):
        with pytest.raises(ModelError, match=r"gives scores, no features: expected a card with"):
            backbones.start(config(path))


@pytest.mark.parametrize(
    ("changes", "more", "message"),
    [
        ({"labels": '["a", "b"]'}, "", "labels: features have no labels: expected none, got 2"),
        ({"file": '"int8.tflite"'}, "", ""),
        (
            {},
            "features = [1.0, 2.0]",
            "too few features: expected at least 8, got 2",
        ),
        ({}, "scores = [1.0]", "golden.scores: scores of a model that gives features"),
        ({}, "features = [nan, 0, 0, 0, 0, 0, 0, 0]", "golden.features: wrong features"),
        ({}, "features = [0, 0, 0, 0, 0, 0, 0, 0]", "golden.features: wrong features"),
        ({}, "features = [1, 1, 1, 1, 1, 1, 1, 1, 1]", "more golden features than the model has"),
        (
            {},
            "features = [1, 1, 1, 1, 1, 1, 1, 1]",
            "not give its golden features: expected",
        ),
        ({}, "", "golden.features: too few features: expected at least 8, got 0"),
    ],
)
def test_a_wrong_backbone_is_one_line(
    changes: dict[str, str], more: str, message: str, tmp_path: Path
) -> None:
    """A network with another output is one too, if its card says so."""
    golden = f'[golden]\npicture = "golden.png"\n{more}\n' if not changes else ""
    folder = heads.backbone(tmp_path / "features", FEATURES + golden, **changes)
    shutil.copy(MODELS / "int8.tflite", folder)
    picture(folder)
    if not message:
        assert backbones.start(config(folder)).size == 3
        return
    with pytest.raises(ModelError, match=message):
        backbones.start(config(folder))


@pytest.mark.parametrize("total", [1, 7, 8, 64, 1000, 1280])
def test_a_sample_of_features_is_evenly_spaced(total: int) -> None:
    """Number i * (F // n); all of them where there are no more."""
    features = np.arange(1280, dtype=np.float32)
    assert sample(features, total).tolist() == [i * (1280 // total) for i in range(total)]
    assert sample(features[:5], total).tolist() == sample(features[:5], min(total, 5)).tolist()


def test_golden_features_notice_what_changes_them(tmp_path: Path) -> None:
    """Those of the picture pass; with colours exchanged, or another mean, they do not."""
    folder = heads.backbone(tmp_path / "features")
    picture(folder)
    features = backbones.start(config(folder)).features(solid("red"))
    golden = f'[golden]\npicture = "golden.png"\nfeatures = {sample(features).tolist()}\n'
    heads.backbone(folder, FEATURES + golden)
    assert backbones.start(config(folder)).engine.card.golden is not None
    for how in ('color = "bgr"', "mean = 60.0\nstd = 127.5"):
        heads.backbone(folder, f"{FEATURES}{golden}[preprocessing]\n{how}\n")
        with pytest.raises(ModelError, match=r"does not give its golden features.*of their length"):
            backbones.start(config(folder))


def test_a_card_may_leave_its_labels_to_the_file_beside_it(tmp_path: Path) -> None:
    """As the documents say; the golden scores are counted then too."""
    folder = model_folder(tmp_path / "m", labels="[]")
    with pytest.raises(ModelError, match="the model has no labels"):
        start(config(folder))
    (folder / "labels.txt").write_text("red\ngreen\nblue\n")
    assert start(config(folder)).card.labels == heads.LABELS
    model_folder(folder, labels="[]", background='["blue"]')
    assert start(config(folder)).card.background == ("blue",)
    model_folder(folder, labels="[]", background='["blu"]')
    with pytest.raises(ModelError, match="a background label that is no label"):
        start(config(folder))
    model_folder(folder, labels="[]")
    with (folder / "model.toml").open("a") as card:
        card.write('[golden]\npicture = "golden.png"\nscores = [1.0]\n')
    with pytest.raises(ModelError, match=r"wrong number of scores.*3, one per label, got 1"):
        start(config(folder))


def test_commands_take_a_bundle(taught: Path, tmp_path: Path) -> None:
    """`edge classify`, `check` and `bench`; each names head and backbone where it names a model."""
    red = picture(tmp_path)
    done = edge("classify", "--json", "--model", taught, red)
    assert json.loads(done.stdout)["label"] == "red", done.stderr
    (tmp_path / "c.toml").write_text(f'model.path = "{taught}"\n')
    checked = edge("check", "--config", tmp_path / "c.toml").stdout
    digest = heads.checksum(taught / "head.npz")
    assert f"head     {taught}/head.npz: sha256 {digest[:16]}\n" in checked
    measured = edge("bench", "--json", "--model", taught, "--frames", "20")
    assert json.loads(measured.stdout.splitlines()[-1])["model"] == "colours"


def test_the_card_of_a_bundle_is_read_as_it_is_written(taught: Path) -> None:
    """The backbone's name stays in it; the shipped model's card has neither key."""
    card = cardfile.read(taught / "model.toml")
    assert card.head is not None
    assert (card.backbone, card.file, card.head.file) == ("../features", "", "head.npz")
    shipped = locate.read(ROOT / "models" / "catdog" / "model.toml")
    assert (shipped.backbone, shipped.head) == ("", None)
