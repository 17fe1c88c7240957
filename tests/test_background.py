"""Background labels: published like any other, known as such, and no entity of Home Assistant."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import jsonschema
import pytest

from deploy.broker import PrivateBroker
from edge.config import ModelConfig, Recommended
from edge.contract import schema
from edge.errors import ModelError
from edge.model import backbone as backbones
from edge.model.engine import describe, start
from tests import heads
from tests.conftest import Daemon, Listener, model_folder
from tests.test_control import CONFIG, Asker, newest, online

Start = Callable[..., Daemon]
Listen = Callable[[], Listener]
FAST = CONFIG + "[smoothing]\nwindow = 2\nhold_frames = 1\n"
ODD = 'nothing "here" {{ 1 }} \\\\ Ünïcode 🐈'
"""A label with quotes, a template, backslashes, as TOML and JSON write it."""


def sensors(home: Listener) -> set[str]:
    """Return the names of the binary sensors of the newest announcement, its device's left out."""
    components = newest(home, "config")["components"].items()
    named = {key: part["name"] for key, part in components if "name" in part}
    return {name for key, name in named.items() if key.startswith("class_")}


@pytest.mark.parametrize("name", ["neither", ODD])
def test_that_something_has_gone_is_an_event(
    name: str, broker: PrivateBroker, daemon: Start, listen: Listen, tmp_path: Path
) -> None:
    """A label with state, scores and events; `info` says what it means; it has no sensor."""
    text = json.dumps(name, ensure_ascii=False)
    model = model_folder(tmp_path / "m", labels=f'["red", {text}, "blue"]', background=f"[{text}]")
    listener, home = listen(), Listener(broker, "homeassistant/#")
    daemon(*("--source", "synthetic", "--model", model, "--broker", broker.address), config=FAST)

    def gone() -> bool:
        changes = [event for event in listener.payloads("event") if event["before"] == "red"]
        return name in [event["after"] for event in changes]

    listener.wait_for(gone)
    listener.wait_for(lambda: name in [state["label"] for state in listener.payloads("state")])
    assert name in newest(listener, "state")["scores"]
    info = newest(listener, "info")
    jsonschema.validate(info, schema()["info"])
    assert info["model"]["labels"] == ["red", name, "blue"]
    assert info["model"]["background"] == [name]
    home.wait_for(lambda: bool(home.bodies("config")))
    assert sensors(home) == {"red", "blue"}
    label = newest(home, "config")["components"]["label"]
    assert label["options"] == ["red", name, "blue"]
    home.close()


def test_another_model_brings_its_own_background(
    broker: PrivateBroker, daemon: Start, listen: Listen, tmp_path: Path
) -> None:
    """At a reload; one that cannot be is refused, and nothing changes."""
    model = model_folder(tmp_path / "m")
    listener, home = listen(), Listener(broker, "homeassistant/#")
    daemon(*("--source", "synthetic", "--model", model, "--broker", broker.address), config=FAST)
    online(broker)
    asker = Asker(broker)
    home.wait_for(lambda: bool(home.bodies("config")))
    assert sensors(home) == {"red", "green", "blue"}
    assert "background" not in newest(listener, "info")["model"]
    model_folder(model, background='["grey"]')
    assert "a background label that is no label" in asker.ask("reload")["error"]
    model_folder(model, background='["green", "blue"]')
    assert asker.ask("reload")["status"] == "ok"
    listener.wait_for(
        lambda: newest(listener, "info")["model"].get("background") == ["green", "blue"]
    )
    home.wait_for(lambda: sensors(home) == {"red"})
    model_folder(model, "sigmoid", background='["blue"]')
    assert asker.ask("reload")["status"] == "ok"
    listener.wait_for(lambda: newest(listener, "info")["model"]["labels"] == ["red", "blue"])
    home.wait_for(lambda: sensors(home) == {"red"})
    asker.close()
    home.close()


def test_a_card_may_leave_its_labels_to_a_list(tmp_path: Path) -> None:
    """The background is compared with the labels that count, wherever they come from."""
    folder = model_folder(tmp_path / "m")
    (folder / "labels.txt").write_text("red\ngreen\nnothing\n")
    card = 'name = "m"\nfile = "uint8io.tflite"\nsmoothing = {enter = 0.4, exit = 0.3}\n'
    (folder / "model.toml").write_text(f'{card}background = ["nothing"]\n')
    engine = start(ModelConfig(path=str(folder)))
    assert (engine.card.background, engine.card.smoothing) == (("nothing",), Recommended(0.4, 0.3))
    for line, message in (
        ('background = ["blue"]', r"model\.toml: background: .*one of `red`, .*got `blue`"),
        ('background = ["red", "green", "nothing"]', "every label is a background label"),
    ):
        (folder / "model.toml").write_text(f"{card}{line}\n")
        with pytest.raises(ModelError, match=message):
            start(ModelConfig(path=str(folder)))
    (folder / "model.toml").write_text(card.replace("0.3", "0.5"))
    with pytest.raises(ModelError, match=r"smoothing\.exit: `exit` is above `enter`"):
        start(ModelConfig(path=str(folder)))


def test_a_head_has_its_own_background_and_a_backbone_none(tmp_path: Path) -> None:
    """Both are of the labels; a network that gives features has no label."""
    heads.backbone(tmp_path / "features")
    advice = "{enter = 0.8, exit = 0.5}"
    taught = heads.bundle(tmp_path / "taught", background='["blue"]', smoothing=advice)
    engine = start(ModelConfig(path=str(taught), threads=1))
    assert describe(engine).background == ("blue",)
    assert engine.card.smoothing == Recommended(0.8, 0.5)
    bare = heads.backbone(tmp_path / "bare", background='["blue"]')
    with pytest.raises(ModelError, match=r"background: .*expected none: the model gives features"):
        backbones.start(ModelConfig(path=str(bare), threads=1))
