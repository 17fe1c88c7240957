"""A second model that is asked where the first is unsure."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from msgspec.structs import replace
from numpy.typing import NDArray

from deploy.broker import PrivateBroker
from edge.cli.replay import Player
from edge.config import Config, ModelConfig, ShadowConfig
from edge.daemon.candidate import Loading
from edge.errors import EdgeError, ModelError
from edge.frames import Frame
from edge.local import LocalClient
from edge.model import engine as engines
from edge.model.cascade import margin
from edge.pipeline.pipeline import Pipeline
from tests.conftest import Daemon, Listener, edge, model_folder, wait_until

SURE, UNSURE = (10, 10, 240), (120, 120, 128)
"""BGR."""


def picture(colour: tuple[int, int, int]) -> NDArray[np.uint8]:
    """Return a picture of one colour, (48, 64, 3)."""
    return np.full((48, 64, 3), colour, np.uint8)


@pytest.fixture
def swapped(tmp_path: Path) -> Path:
    """The colour model with red and blue swapped: one can see whose answer it is."""
    return model_folder(tmp_path / "swapped", preprocessing='{ color = "bgr" }')


def both(first: Path, second: Path, below: float = 0.4) -> engines.Engine:
    """Return the first model with the second."""
    return engines.start(ModelConfig(path=str(first), second=str(second), second_below=below))


def test_the_second_answers_where_the_first_is_unsure(rgb: Path, swapped: Path) -> None:
    """And nowhere else; its own preprocessing is used."""
    alone, other = (engines.start(ModelConfig(path=str(path))) for path in (rgb, swapped))
    engine, (a, b, c) = both(rgb, swapped), np.empty((3, 3), np.float32)
    for colour, expected in ((SURE, a), (UNSURE, b), (SURE, a)):
        frame = Frame(0, 0, picture(colour), "bgr")
        assert alone.classify(frame, a)
        assert other.classify(frame, b)
        assert engine.classify(frame, c)
        assert not np.array_equal(a, b)
        np.testing.assert_array_equal(c, expected)
    assert engine.cascade
    assert engine.cascade.asked_total == 1


@pytest.mark.parametrize(("below", "asked"), [(0.0, 0), (1.0, 2)])
def test_the_margin_decides(rgb: Path, swapped: Path, below: float, asked: int) -> None:
    """Never asked below a margin of 0; always below 1, as no score is 1."""
    engine, out = both(rgb, swapped, below), np.empty(3, np.float32)
    for colour in (SURE, UNSURE):
        engine.classify(Frame(0, 0, picture(colour), "bgr"), out)
    assert engine.cascade
    assert engine.cascade.asked_total == asked


def test_a_second_without_scores_changes_nothing(rgb: Path, swapped: Path) -> None:
    """The first one's stand, and are valid."""
    engine, out, alone = both(rgb, swapped), np.empty(3, np.float32), np.empty(3, np.float32)
    assert engine.cascade
    engine.cascade._second = lambda frame, out: bool(out.fill(np.nan))  # type: ignore[func-returns-value]
    frame = Frame(0, 0, picture(UNSURE), "bgr")
    assert engines.start(ModelConfig(path=str(rgb))).classify(frame, alone)
    assert engine.classify(frame, out)
    np.testing.assert_array_equal(out, alone)


def test_a_pipeline_has_it_as_its_stages(rgb: Path, swapped: Path) -> None:
    """Its scores reach the window; without a second nothing is between."""
    alone = engines.start(ModelConfig(path=str(rgb)))
    assert alone.stages == (alone.preprocess, alone.classifier)
    engine = both(rgb, swapped)
    got: list[list[float]] = []

    class Window:
        def update(self, scores: NDArray[np.float32], *_: int) -> tuple[object, None]:
            got.append(scores.tolist())
            return object(), None

    pipeline = Pipeline(*engine.stages, Window())  # type: ignore[arg-type]
    pipeline.process(Frame(0, 0, picture(UNSURE), "bgr"))
    expected = np.empty(3, np.float32)
    engines.start(ModelConfig(path=str(swapped))).classify(
        Frame(0, 0, picture(UNSURE), "bgr"), expected
    )
    assert got == [expected.tolist()]


@pytest.mark.parametrize(
    ("scores", "expected"),
    [((0.2, 0.5, 0.3), 0.2), ((0.5, 0.5), 0.0), ((1.0,), 1.0), ((0.0, 1.0, 0.0), 1.0)],
)
def test_the_margin_of_scores(scores: tuple[float, ...], expected: float) -> None:
    """Best less second best; the scores stay as they are."""
    given = np.array(scores, np.float32)
    assert margin(given) == pytest.approx(expected)
    np.testing.assert_array_equal(given, np.array(scores, np.float32))


def test_other_labels_are_warned_of(rgb: Path, tmp_path: Path) -> None:
    """The first model works alone: it may have been taught since."""
    other = model_folder(tmp_path / "other", labels='["cyan", "green", "blue"]')
    engine = both(rgb, other)
    assert engine.cascade is None
    assert "other labels" in engine.warnings[-1]


def test_one_that_is_not_there_is_refused(rgb: Path) -> None:
    """In one line, with the name, status 78."""
    with pytest.raises(ModelError, match="nothing-like-this"):
        both(rgb, Path("nothing-like-this"))
    done = edge("check", "--config", _config(rgb, Path("nothing-like-this")))
    assert done.returncode == 78
    assert "model.second" in done.stderr.splitlines()[-1]
    assert "nothing-like-this" in done.stderr.splitlines()[-1]


def _config(first: Path, second: Path) -> Path:
    path = first / "edge.toml"
    path.write_text(f'[model]\npath = "{first}"\nsecond = "{second}"\n')
    return path


def test_classify_and_check_know_it(rgb: Path, swapped: Path, tmp_path: Path) -> None:
    """`check` has a line for it."""
    shown = edge("check", "--config", _config(rgb, swapped))
    assert shown.returncode == 0, shown.stderr
    assert f"second   {swapped / 'uint8io.tflite'}: sha256 " in shown.stdout


def test_the_daemon_says_how_often_it_asked(
    rgb: Path,
    swapped: Path,
    tmp_path: Path,
    broker: PrivateBroker,
    listen: Callable[[], Listener],
    daemon: Callable[..., Daemon],
) -> None:
    """In telemetry; `info` names it; after a reload without it the count stays."""
    listener, pictures = listen(), tmp_path / "pictures"
    pictures.mkdir()
    cv2.imwrite(str(pictures / "0.png"), picture(UNSURE))
    text = (
        f'camera.source = "{pictures}"\ncamera.fps = 50\nmqtt.port = {broker.port}\n'
        f'publish.telemetry_interval_s = 0.3\nmodel.path = "{rgb}"\n'
    )
    running = daemon(config=f'{text}model.second = "{swapped}"\n')

    def totals() -> list[int]:
        return [t["second_model_total"] for t in listener.payloads("telemetry")]

    listener.wait_for(lambda: max(totals(), default=0) > 20)
    info = listener.payloads("info")[-1]["model"]
    assert info["second"] == "uint8io"
    assert len(info["second_sha256"]) == 64
    (tmp_path / "edge.toml").write_text(text)
    running.process.send_signal(signal.SIGHUP)
    listener.wait_for(lambda: "second" not in listener.payloads("info")[-1]["model"])
    seen = len(totals())
    listener.wait_for(lambda: len(totals()) > seen + 2)
    assert totals()[-2] == totals()[-1] > 20


def test_no_request_removes_it(
    rgb: Path,
    tmp_path: Path,
    broker: PrivateBroker,
    daemon: Callable[..., Daemon],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The next start would need it."""
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path / "state"))
    second = model_folder(tmp_path / "big", version='"1"')
    assert edge("models", "add", second).returncode == 0
    (name,) = (path.name for path in (tmp_path / "state" / "models").iterdir())
    config = f'local.path = "{tmp_path}/edge.sock"\nmodel.path = "{rgb}"\nmodel.second = "{name}"\n'
    daemon("--source", "synthetic", "--broker", broker.address, config=config)
    wait_until(lambda: (tmp_path / "edge.sock").exists())
    with (
        LocalClient(tmp_path / "edge.sock") as client,
        pytest.raises(EdgeError, match=r"model\.second in the config"),
    ):
        client.request("model", action="remove", name=name)
    assert (tmp_path / "state" / "models" / name).is_dir()


def test_a_candidate_is_tried_alone(
    rgb: Path, swapped: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second model belongs to the one at work: else the trial would be of both."""
    model = ModelConfig(path=str(rgb), second=str(swapped), second_below=1.0)
    shadow = ShadowConfig(model=str(model_folder(rgb.parent / "new")))
    asked: list[ModelConfig] = []

    def load(config: ModelConfig, sha256: str) -> engines.Engine:
        asked.append(config)
        return load_it(config, sha256)

    load_it = engines.load
    monkeypatch.setattr(engines, "load", load)
    loading = Loading(replace(Config(), model=model, shadow=shadow))
    wait_until(lambda: loading.poll() is not None)
    assert [(config.path, config.second) for config in asked] == [(shadow.model, "")]


def test_a_model_that_replay_is_given_is_played_alone(
    rgb: Path, swapped: Path, tmp_path: Path
) -> None:
    """Of two that are compared neither asks the second; the config's own model does."""
    film = tmp_path / "few.edgerec"
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    cv2.imwrite(str(pictures / "0.png"), picture(UNSURE))
    done = edge("record", "--seconds", "1", "--source", pictures, "--model", rgb, film)
    assert done.returncode == 0, done.stderr
    config = replace(Config(), model=ModelConfig(path=str(rgb), second=str(swapped)))
    player = Player(film, config, [str(rgb), str(swapped)], recorded=True)
    engines_of = [judge.run.engine for judge in player.judges.values()]
    player.close()
    assert [bool(engine.cascade) for engine in engines_of] == [True, False]
