"""Thresholds: what the config leaves out comes from the model's card, and `info` says so."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.broker import PrivateBroker
from edge.config import Recommended, SmoothingConfig, thresholds
from edge.contract import schema
from edge.pipeline.smoothing import Smoother
from tests.conftest import Daemon, Listener, edge, model_folder
from tests.test_control import CONFIG, Asker, newest, online

Start = Callable[..., Daemon]
Listen = Callable[[], Listener]
CARD = {"smoothing": "{enter = 0.75, exit = 0.55}"}
FROM_CARD = {"enter": 0.75, "enter_from": "card", "exit": 0.55, "exit_from": "card"}
DEFAULTS = {"enter": 0.6, "enter_from": "default", "exit": 0.4, "exit_from": "default"}
SHARE = st.floats(0, 1)
PAIR = st.tuples(SHARE, SHARE).map(sorted)


@pytest.mark.parametrize(
    ("stated", "text"),
    [
        ({}, "enter 0.75 (card), exit 0.55 (card)"),
        ({"enter": 0.9}, "enter 0.9 (config), exit 0.55 (card)"),
        ({"enter": 0.55}, "enter 0.55 (config), exit 0.55 (card)"),
        ({"enter": 0.5}, "enter 0.5 (config), exit 0.5 (enter)"),
        ({"enter": 0.0}, "enter 0 (config), exit 0 (enter)"),
        ({"exit": 0.1}, "enter 0.75 (card), exit 0.1 (config)"),
        ({"exit": 0.8}, "enter 0.8 (exit), exit 0.8 (config)"),
        ({"enter": 0.6, "exit": 0.4}, "enter 0.6 (config), exit 0.4 (config)"),
    ],
)
def test_a_stated_value_is_kept_and_limits_the_other(stated: dict[str, float], text: str) -> None:
    """Also one that equals the default: whoever writes it means it."""
    advice = Recommended(0.75, 0.55)
    assert thresholds(SmoothingConfig(**stated), advice).text() == text  # type: ignore[arg-type]


def test_without_a_recommendation_the_defaults_are_in_force() -> None:
    """A value that is stated alone limits a default too."""
    assert thresholds(SmoothingConfig(), None).text() == "enter 0.6 (default), exit 0.4 (default)"
    low = thresholds(SmoothingConfig(enter=0.3), None)
    assert low.text() == "enter 0.3 (config), exit 0.3 (enter)"


@given(st.none() | SHARE, st.none() | SHARE, st.none() | PAIR)
def test_they_always_fit_each_other(
    enter: float | None, exit: float | None, card: list[float] | None
) -> None:
    """Whatever one config states and one card recommends; nothing stated is changed."""
    if enter is not None and exit is not None:
        enter, exit = max(enter, exit), min(enter, exit)
    made = thresholds(
        SmoothingConfig(enter=enter, exit=exit), Recommended(card[1], card[0]) if card else None
    )
    assert 0 <= made.exit <= made.enter <= 1
    assert enter is None or (made.enter, made.enter_from) == (enter, "config")
    assert exit is None or (made.exit, made.exit_from) == (exit, "config")
    assert (enter is None) == (made.enter_from != "config")
    assert (exit is None) == (made.exit_from != "config")
    assert card is None or "default" not in (made.enter_from, made.exit_from)


def test_a_label_comes_and_goes_at_the_recommended_scores() -> None:
    """And at others once the settings change."""
    smoothing = SmoothingConfig(window=1, hold_frames=1)
    smoother = Smoother(("cat", "dog"), smoothing, Recommended(0.75, 0.55))

    def label(score: float) -> str | None:
        row = np.asarray((score, 0.0), np.float32)
        return smoother.update(row, 0, 1)[0].label

    assert [label(score) for score in (0.7, 0.76, 0.56, 0.5)] == [None, "cat", "cat", None]
    smoother.configure(SmoothingConfig(window=1, hold_frames=1, enter=0.5))
    assert [label(score) for score in (0.49, 0.51, 0.49)] == [None, "cat", None]
    smoother.configure(smoothing)
    assert [label(score) for score in (0.7, 0.76)] == [None, "cat"]


@pytest.fixture
def carded(broker: PrivateBroker, daemon: Start, tmp_path: Path) -> Daemon:
    """The daemon with a model whose card recommends thresholds, and a state directory."""
    (tmp_path / "state").mkdir()
    return start(daemon, broker, model_folder(tmp_path / "rgb", **CARD), CONFIG)


@pytest.fixture
def asker(broker: PrivateBroker, carded: Daemon) -> Iterator[Asker]:
    """Somebody who asks this daemon."""
    made = Asker(broker)
    yield made
    made.close()


def start(daemon: Start, broker: PrivateBroker, model: Path, config: str) -> Daemon:
    """Start a daemon; return it once it is online."""
    running = daemon(
        *("--source", "synthetic", "--broker", broker.address),
        config=f'model.path = "{model}"\n{config}',
        STATE_DIRECTORY=str(model.parent / "state"),
    )
    online(broker)
    return running


def in_force(listener: Listener) -> Any:
    """Return the thresholds of the newest `info`, which its config has too."""
    info = newest(listener, "info")
    if info is None:
        return None
    jsonschema.validate(info, schema()["info"])
    stated = info["config"]["smoothing"]
    assert (stated["enter"], stated["exit"]) == (
        info["thresholds"]["enter"],
        info["thresholds"]["exit"],
    )
    return info["thresholds"]


@pytest.mark.parametrize(
    ("model", "smoothing", "expected"),
    [
        ("uint8io", "", FROM_CARD),
        ("sigmoid", "", FROM_CARD),
        ("sigmoid", "exit = 0.8", {**FROM_CARD, "enter": 0.8, "enter_from": "exit", "exit": 0.8,
                                   "exit_from": "config"}),
        ("uint8io", "enter = 0.3", {**FROM_CARD, "enter": 0.3, "enter_from": "config", "exit": 0.3,
                                    "exit_from": "enter"}),
    ],
)  # fmt: skip
def test_a_start_takes_what_the_config_leaves_out_from_the_card(
    model: str, smoothing: str, expected: Any, broker: PrivateBroker, daemon: Start,
    listen: Listen, tmp_path: Path,
) -> None:  # fmt: skip
    """Of softmax and sigmoid models; labels change, and no value is an error nobody made."""
    folder = model_folder(tmp_path / "m", model, **CARD)
    start(daemon, broker, folder, f"{CONFIG}[smoothing]\nwindow = 2\nhold_frames = 1\n{smoothing}")
    listener = listen()
    listener.wait_for(lambda: in_force(listener) == expected)
    listener.wait_for(lambda: "label_changed" in map(kind, listener.payloads("event")))


def kind(event: Any) -> str:
    """Return the type of an event."""
    return str(event["type"])


def test_a_model_without_a_card_has_the_defaults(
    broker: PrivateBroker, daemon: Start, listen: Listen, tmp_path: Path
) -> None:
    """A file, and its labels beside it."""
    folder = model_folder(tmp_path / "m")
    (folder / "model.toml").unlink()
    (folder / "labels.txt").write_text("red\ngreen\nblue\n")
    start(daemon, broker, folder / "uint8io.tflite", CONFIG)
    listener = listen()
    listener.wait_for(lambda: in_force(listener) == DEFAULTS)
    assert "background" not in newest(listener, "info")["model"]


def test_a_request_sets_one_value_and_null_gives_it_back(
    asker: Asker, carded: Daemon, listen: Listen, daemon: Start, broker: PrivateBroker,
    tmp_path: Path,
) -> None:  # fmt: skip
    """The answer and `info` have what is in force; what is persisted outlives the process."""
    listener = listen()
    answer = asker.ask("set", {"smoothing": {"enter": 0.5}, "persist": True})
    smoothing = answer["data"]["smoothing"]
    assert (smoothing["enter"], smoothing["exit"], smoothing["window"]) == (0.5, 0.5, 10)
    low = {"enter": 0.5, "enter_from": "config", "exit": 0.5, "exit_from": "enter"}
    listener.wait_for(lambda: in_force(listener) == low)
    assert "smoothing.exit" in asker.ask("set", {"smoothing": {"exit": 0.6}})["error"]
    assert "smoothing.enter" in asker.ask("set", {"smoothing": {"enter": "low"}})["error"]
    assert "smoothing.window" in asker.ask("set", {"smoothing": {"window": None}})["error"]
    carded.stop()
    start(daemon, broker, tmp_path / "rgb", f"{CONFIG}[smoothing]\nenter = 0.9\n")
    again = listen()
    again.wait_for(lambda: in_force(again) == low)
    answer = asker.ask("set", {"smoothing": {"enter": None}, "persist": True})
    assert answer["data"]["smoothing"]["enter"] == 0.75
    again.wait_for(lambda: in_force(again) == FROM_CARD)
    again.wait_for(lambda: "changed" in map(kind, again.payloads("event")))
    (event,) = [event for event in again.payloads("event") if event["type"] == "changed"]
    jsonschema.validate(event, schema()["event"])
    assert event["evidence"] == {"smoothing.enter": "unset"}
    settings = json.loads((tmp_path / "state" / "settings.json").read_text())
    assert settings == {"smoothing": {"enter": None}}


def test_a_reload_and_another_model_bring_their_thresholds(
    asker: Asker, carded: Daemon, listen: Listen, tmp_path: Path
) -> None:
    """The new card counts, for the config as the reload reads it."""
    listener = listen()
    listener.wait_for(lambda: in_force(listener) == FROM_CARD)
    listener.wait_for(lambda: (newest(listener, "state") or {}).get("label") is not None)
    config = tmp_path / "edge.toml"
    never = model_folder(tmp_path / "never", "sigmoid", smoothing="{enter = 1.0, exit = 1.0}")
    config.write_text(f'model.path = "{never}"\n{CONFIG}')
    assert asker.ask("reload")["status"] == "ok"
    card = {"enter": 1.0, "enter_from": "card", "exit": 1.0, "exit_from": "card"}
    listener.wait_for(lambda: in_force(listener) == card)
    before = len(listener.payloads("state"))
    asker.ask("set", {"publish": {"state_interval_s": 0.1}})
    listener.wait_for(lambda: len(listener.payloads("state")) > before + 20)
    assert {state["label"] for state in listener.payloads("state")[before + 1 :]} == {None}
    assert asker.ask("set", {"smoothing": {"exit": 0.2}})["data"]["smoothing"]["enter"] == 1.0
    plain = model_folder(tmp_path / "plain", "sigmoid")
    config.write_text(f'model.path = "{plain}"\n{CONFIG}[smoothing]\nenter = 0.7\n')
    carded.process.send_signal(signal.SIGHUP)
    mixed = {"enter": 0.7, "enter_from": "config", "exit": 0.4, "exit_from": "default"}
    listener.wait_for(lambda: in_force(listener) == mixed)
    listener.wait_for(lambda: newest(listener, "state")["label"] in ("red", "blue"))


def test_a_card_with_bad_thresholds_is_refused_and_the_old_ones_stay(
    asker: Asker, listen: Listen, tmp_path: Path
) -> None:
    """At a reload; at a start the same line ends the daemon with status 78."""
    listener = listen()
    bad = model_folder(tmp_path / "rgb", smoothing="{enter = 0.4, exit = 0.6}")
    line = f"{bad / 'model.toml'}: smoothing.exit: `exit` is above `enter`: expected at most 0.4"
    assert line in asker.ask("reload")["error"]
    listener.wait_for(lambda: in_force(listener) == FROM_CARD)
    ended = edge("run", "--source", "synthetic", "--model", bad)
    assert (ended.returncode, ended.stdout) == (78, "")
    assert line in ended.stderr


def test_check_and_doctor_say_what_is_in_force(tmp_path: Path) -> None:
    """Of what the config leaves out, `check` prints null, and the value in its last line."""
    model = model_folder(tmp_path / "m", background='["green"]', **CARD)
    config = tmp_path / "edge.toml"
    config.write_text(f'model.path = "{model}"\nsmoothing.enter = 0.5\n')
    checked = edge("check", "--config", config)
    assert checked.stdout.splitlines()[-1] == (
        "label    enter 0.5 (config), exit 0.5 (enter); background: green"
    )
    printed = json.loads(checked.stdout.partition("\nconfig ")[0])["smoothing"]
    assert (printed["enter"], printed["exit"]) == (0.5, None)
    checks = json.loads(edge("doctor", "--json", "--config", config).stdout)["checks"]
    (model_check,) = [check for check in checks if check["name"] == "model"]
    assert "label: enter 0.5 (config), exit 0.5 (enter)" in model_check["line"]
    assert "background: green" in model_check["line"]
    assert model_check["facts"]["background"] == ["green"]
    assert model_check["facts"]["thresholds"]["exit_from"] == "enter"
