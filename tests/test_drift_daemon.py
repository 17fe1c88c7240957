"""Drift in the daemon: a light that changes, other models, what is learnt, and the way back."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from jinja2.sandbox import SandboxedEnvironment

from deploy.broker import PrivateBroker
from edge import baseline
from edge.baseline import Baseline
from edge.baseline.figures import BRIGHTER, DARKER, UNSURE
from edge.config import Config, DriftConfig, ModelConfig, persisted
from edge.contract.encode import Wire
from edge.daemon import drifting
from edge.daemon.events import Events
from edge.frames import Classified, Frame, FrameTimes, Prediction
from edge.messages import Message
from edge.model import engine as engines
from edge.model import store
from edge.model.survey import Survey, survey
from edge.observers.drift_learning import ROWS, SAVES
from edge.observers.drift_watch import LONGER
from edge.observers.drift_window import SAMPLES
from tests.conftest import Daemon, Listener, model_folder, wait_until
from tests.test_baseline import add, scene
from tests.test_control import Asker, newest, online
from tests.test_models import bundle

FRAMES = 12
CONFIG = """
device.id = "wall"
camera.fps = 200
publish.telemetry_interval_s = 0.2
[drift]
enabled = true
window_s = 1
"""


def pixels(number: int, light: float) -> Any:
    """Return a frame of the scene: an object walks through it."""
    picture = scene(7, light)
    x = 64 * number // FRAMES
    cv2.circle(picture, (x, 40), 6, (0, 60, int(min(255, 230 * light))), -1)
    return picture


def shine(folder: Path, light: float) -> None:
    """Show the scene in another light; each picture is replaced in one step."""
    folder.mkdir(exist_ok=True)
    for number in range(FRAMES):
        part = folder.parent / "part.png"
        cv2.imwrite(str(part), pixels(number, light))
        part.replace(folder / f"{number:02}.png")


def lights() -> Iterator[Frame]:
    """Yield what the models are taught: the scene by day."""
    for light in (0.85, 0.9, 1.0, 1.1):
        for number in range(FRAMES):
            yield Frame(number, 0, pixels(number, light), "bgr")


def taught(folder: Path) -> Path:
    """Return ``folder`` with the colour model and the baseline of the scene by day."""
    model_folder(folder)
    return add(folder, survey(engines.start(ModelConfig(path=str(folder))), lights()))


def drift(listener: Listener) -> Any:
    """Return the newest part of telemetry."""
    telemetry = newest(listener, "telemetry")
    return telemetry["drift"] if telemetry else None


def told(listener: Listener) -> list[tuple[str, str]]:
    """Return type and reason of every event of drift."""
    events = [event for event in listener.payloads("event") if event["type"].startswith("drift_")]
    return [(event["type"], event["evidence"]["reason"]) for event in events]


def psi_known(listener: Listener) -> bool:
    """Return whether a window has enough frames."""
    return bool((drift(listener) or {}).get("psi"))


def shown(listener: Listener, key: str) -> str:
    """Return what Home Assistant makes of the newest telemetry."""
    announced = json.loads(listener.bodies("config")[-1])["components"][key]
    template = SandboxedEnvironment().from_string(announced["value_template"])
    return template.render(value_json=newest(listener, "telemetry"))


def measured_more(listener: Listener, samples: int) -> None:
    """Wait until so many more frames were measured."""
    listener.wait_for(lambda: drift(listener) is not None)
    before = drift(listener)["samples"]
    listener.wait_for(lambda: drift(listener)["samples"] >= before + samples)


def test_a_light_that_changes_is_told_once_and_its_end(
    broker: PrivateBroker, daemon: Callable[..., Daemon], tmp_path: Path
) -> None:
    """A moving object is no drift; night is; toggled again within the hour it is no event."""
    folder = tmp_path / "seen"
    shine(folder, 1.0)
    every = Listener(broker, "#")
    model = taught(tmp_path / "m")
    running = daemon(
        *("--source", folder, "--model", model, "--broker", broker.address), config=CONFIG
    )
    every.wait_for(lambda: psi_known(every))
    measured_more(every, 600)
    assert told(every) == []
    assert drift(every)["origin"] == "bundle"
    assert shown(every, "drift") == "OFF"
    assert shown(every, "drift_reason") == "None"
    began, ended = ("drift_began", DARKER), ("drift_ended", DARKER)
    shine(folder, 0.2)
    every.wait_for(lambda: told(every) == [began])
    every.wait_for(lambda: drift(every)["reason"] == DARKER)
    assert shown(every, "drift") == "ON"
    assert shown(every, "drift_reason") == DARKER
    evidence = next(e for e in every.payloads("event") if e["type"] == "drift_began")["evidence"]
    assert evidence["figure"] == "brightness"
    assert evidence["psi"] >= 0.25
    assert evidence["taught_low"] > 0.05
    shine(folder, 1.0)
    every.wait_for(lambda: told(every) == [began, ended])
    shine(folder, 0.2)
    every.wait_for(lambda: drift(every)["unsaid_total"] == 1)
    shine(folder, 1.0)
    every.wait_for(lambda: drift(every)["reason"] == "")
    shine(folder, 3.0)
    every.wait_for(lambda: told(every) == [began, ended, ("drift_began", BRIGHTER)])
    assert running.stop() == 0
    assert f"drift began: {DARKER} (brightness" in running.log.read_text()
    every.close()


def test_a_reload_watches_the_other_model_by_its_own_baseline(
    broker: PrivateBroker, daemon: Callable[..., Daemon], tmp_path: Path
) -> None:
    """What had begun has its end; a broken baseline is refused, and the old one goes on."""
    folder = tmp_path / "seen"
    shine(folder, 0.2)
    listener = Listener(broker, "#")
    taught(tmp_path / "m")
    other = model_folder(tmp_path / "other", "int8")
    night = [Frame(n, 0, pixels(n, light), "bgr") for n in range(FRAMES) for light in (0.2, 0.25)]
    add(other, survey(engines.start(ModelConfig(path=str(other))), night))
    config = CONFIG.replace("[drift]", 'model.path = "{}"\n[drift]')
    running = daemon(
        *("--source", folder, "--broker", broker.address), config=config.format(tmp_path / "m")
    )
    listener.wait_for(lambda: told(listener) == [("drift_began", DARKER)])
    asker = Asker(broker)
    good = (other / "baseline.npz").read_bytes()
    (other / "baseline.npz").write_bytes(good[:-1] + b"x")
    (tmp_path / "edge.toml").write_text(config.format(other))
    answer = asker.ask("reload")
    assert answer["status"] == "error"
    assert "the baseline's file is not the one that its card describes" in answer["error"]
    assert "\n" not in answer["error"]
    (other / "baseline.npz").write_bytes(good)
    assert asker.ask("reload")["status"] == "ok"
    listener.wait_for(lambda: told(listener)[1:] == [("drift_ended", DARKER)])
    count = len(listener.payloads("telemetry"))
    listener.wait_for(lambda: len(listener.payloads("telemetry")) > count + 1)
    listener.wait_for(lambda: psi_known(listener))
    measured_more(listener, 300)
    assert drift(listener)["reason"] == ""
    (tmp_path / "edge.toml").write_text(config.format(other).replace("true", "false"))
    assert asker.ask("reload")["status"] == "ok"
    listener.wait_for(lambda: drift_is_gone(listener))
    assert running.stop() == 0
    asker.close()
    listener.close()


def drift_is_gone(listener: Listener) -> bool:
    """Return whether neither telemetry nor Home Assistant has it any more."""
    components = json.loads(listener.bodies("config")[-1])["components"]
    gone = components["drift"] == {"platform": "binary_sensor"}
    return gone and "drift" not in newest(listener, "telemetry")


LEARNING = CONFIG + "learn_s = 5\n"


def test_a_model_without_a_baseline_learns_one_that_outlives_the_process(
    broker: PrivateBroker, daemon: Callable[..., Daemon], tmp_path: Path
) -> None:
    """Killed while it learns, it goes on; learnt, it knows; what is no such file is ignored."""
    folder, state = tmp_path / "seen", tmp_path / "state"
    state.mkdir()
    shine(folder, 1.0)
    model = model_folder(tmp_path / "m")
    listener = Listener(broker, "#")
    command = ("--source", folder, "--model", model, "--broker", broker.address)

    def start() -> Daemon:
        listener.messages.clear()
        return daemon(*command, config=LEARNING, STATE_DIRECTORY=str(state))

    running = start()
    listener.wait_for(lambda: (drift(listener) or {}).get("learnt_share", 0) > 0.2)
    assert drift(listener)["origin"] == "learning"
    assert shown(listener, "drift") == "None"
    running.process.kill()
    running.process.wait()
    (file,) = (state / "learnt").glob("*.npz")
    assert len(np.load(file)["figures"]) >= ROWS // SAVES
    running = start()
    listener.wait_for(lambda: drift(listener) is not None)
    assert drift(listener)["learnt_share"] > 0.1
    listener.wait_for(lambda: drift(listener)["origin"] == "device")
    wait_until(lambda: len(np.load(file)["figures"]) == ROWS)
    assert running.stop() == 0
    running = start()
    listener.wait_for(lambda: psi_known(listener))
    assert drift(listener)["origin"] == "device"
    shine(folder, 0.2)
    listener.wait_for(lambda: told(listener)[:1] == [("drift_began", DARKER)])
    assert running.stop() == 0
    file.write_bytes(b"PK\x05\x06" + bytes(18))
    running = start()
    listener.wait_for(lambda: drift(listener) is not None)
    assert drift(listener)["origin"] == "learning"
    assert running.stop() == 0
    assert "is ignored, and learnt again: expected figures" in running.log.read_text()
    listener.close()


@pytest.mark.parametrize(
    "content",
    [
        {"figures": np.zeros((5, 7), np.float32)},
        {"figures": np.full((5, 8), np.nan, np.float32)},
        {"figures": np.full((5, 8), 1e30, np.float32)},
        {"figures": np.zeros((5, 8))},
        {"figures": np.zeros((5000, 8), np.float32)},
        {"more": np.zeros((5, 8), np.float32)},
        {},
    ],
    ids=["shape", "nan", "huge", "type", "long", "name", "empty"],
)
def test_a_file_that_was_not_learnt_is_ignored_in_one_line(
    content: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Whatever is in it, the device learns again."""
    from edge.model.learnt import Learnt

    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))
    engine = engines.start(ModelConfig(path=str(model_folder(tmp_path / "m"))))
    assert len(Learnt(engine).read()) == 0
    assert not caplog.records
    (tmp_path / "learnt").mkdir()
    np.savez(tmp_path / "learnt" / f"{engine.sha256}.npz", **content)
    assert len(Learnt(engine).read()) == 0
    (record,) = caplog.records
    assert "is ignored, and learnt again" in record.getMessage()
    assert "\n" not in record.getMessage()


def test_what_is_learnt_of_many_models_is_bounded_and_a_full_disk_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The oldest file goes; a folder that cannot be written to is one line."""
    from edge.model.learnt import FILES_MAX, Learnt

    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))
    engine = engines.start(ModelConfig(path=str(model_folder(tmp_path / "m"))))
    figures = np.zeros((40, 8), np.float32)
    learnt = Learnt(engine)
    (tmp_path / "learnt").mkdir()
    for number in range(FILES_MAX):
        old = tmp_path / "learnt" / f"{number}.npz"
        old.write_bytes(b"")
        os.utime(old, (number, number))
    learnt.save(figures)
    wait_until(lambda: len(learnt.read()) == 40)
    wait_until(lambda: len(list((tmp_path / "learnt").iterdir())) == FILES_MAX)
    assert not (tmp_path / "learnt" / "0.npz").exists()
    shutil.rmtree(tmp_path / "learnt")
    (tmp_path / "learnt").write_bytes(b"")
    caplog.clear()
    Learnt(engine).save(figures)
    wait_until(lambda: bool(caplog.records))
    assert "what was learnt cannot be saved" in caplog.records[0].getMessage()


def surer(folder: Path) -> Baseline:
    """Return a baseline of the scene for which the model had surer scores than it has."""
    engine = engines.start(ModelConfig(path=str(folder)))
    measure, scores = Survey(engine), np.empty(3, np.float32)
    rows = []
    for frame in lights():
        row = np.empty(8, np.float32)
        engine.classify(frame, scores)
        measure.figures(scores, row)
        rows.append([*row[:6], 0.99, 0.01])
    return baseline.build(np.array(rows, np.float32))


def test_a_model_that_drifts_is_taken_back_by_itself(
    broker: PrivateBroker,
    daemon: Callable[..., Daemon],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Chosen by request, its scores are less sure than when taught: the one before returns."""
    folder, state = tmp_path / "seen", tmp_path / "state"
    state.mkdir()
    monkeypatch.setenv("STATE_DIRECTORY", str(state))
    shine(folder, 1.0)
    source = bundle(tmp_path / "hues", "hues")
    store.add(add(source, surer(source)), "hues", "1")
    daemon(
        *("--source", folder, "--broker", broker.address),
        config=CONFIG.replace("[drift]", f'model.path = "{taught(tmp_path / "m")}"\n[drift]'),
        STATE_DIRECTORY=str(state),
    )
    online(broker)
    asker, listener = Asker(broker), Listener(broker)
    assert asker.ask("model", {"action": "use", "name": "hues"})["status"] == "ok"
    listener.wait_for(
        lambda: any(one["type"] == "model_rolled_back" for one in listener.payloads("event"))
    )
    event = next(e for e in listener.payloads("event") if e["type"] == "model_rolled_back")
    assert event["evidence"]["reason"] == f"hues 1: drifts: {UNSURE}"
    assert persisted.choice() is None
    asker.close()
    listener.close()


@pytest.mark.parametrize("rollback", [True, False])
def test_whether_a_drift_takes_a_model_back_is_configured(rollback: bool, tmp_path: Path) -> None:
    """The event comes either way."""
    folder = model_folder(tmp_path / "m")
    add(folder, surer(folder))
    engine = engines.start(ModelConfig(path=str(folder)))
    told, sent = list[str](), list[Message]()
    config = Config(drift=DriftConfig(enabled=True, rollback=rollback))
    events = Events(Wire("edge/wall", ("a",), "cafe", lambda: 1.0), sent.append)
    watching = drifting.observer(config, engine, events, told.append)
    assert watching is not None
    scores, frame, before = np.empty(3, np.float32), next(lights()), None
    assert engine.classify(frame, scores)
    prediction = Prediction(0, 0, "red", 0.9, (0.9, 0.1, 0.0), 0, False)
    for number in range(1, LONGER * SAMPLES):
        times = FrameTimes(1, 1, 1)
        done_ns = number * 2 * 10**9
        watching.classified(Classified(frame, scores, prediction, before, None, times, done_ns))
    assert told == ([UNSURE] if rollback else [])
    assert [json.loads(one.payload)["type"] for one in sent] == ["drift_began"]
    assert drifting.observer(Config(), engine, events, told.append) is None
