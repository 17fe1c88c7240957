"""Background labels: published like any other, known as such, and no entity of Home Assistant."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import jsonschema
import pytest

from deploy.broker import PrivateBroker
from edge.contract import schema
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
    return {part["name"] for key, part in components if key.startswith("class_")}


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
