"""Models on the device: added, listed, used by request, taken back, removed; and the way back."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import jsonschema
import pytest

from deploy.broker import PrivateBroker
from edge.config import persisted
from edge.config.persisted import Choice
from edge.contract import schema
from edge.daemon import probation
from edge.daemon.run import Run
from edge.errors import ConfigError, ModelError
from edge.model import installed, store, workspace
from tests.conftest import ROOT, Daemon, Listener, edge, model_folder, tracked
from tests.test_control import Asker, newest, online
from tests.test_scores import BLACK, CASES, RED, pictures

Counts = tuple[int, int, int]
"""Frames, dropped, without scores."""

CONFIG = """
device.id = "wall"
publish.telemetry_interval_s = 0.5
"""


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty state directory of the service."""
    folder = tmp_path / "state"
    folder.mkdir()
    monkeypatch.setenv("STATE_DIRECTORY", str(folder))
    return folder


def bundle(folder: Path, name: str, version: str = "1", **changes: str) -> Path:
    """Return a folder with the colour model, its card of another name and version."""
    made = model_folder(folder)
    card = (made / "model.toml").read_text().replace('"uint8io"', f'"{name}"', 1)
    lines = "".join(f"{key} = {value}\n" for key, value in changes.items())
    kept = [line for line in card.splitlines() if line.partition(" =")[0] not in changes]
    (made / "model.toml").write_text(f'version = "{version}"\n{lines}' + "\n".join(kept) + "\n")
    return made


def test_an_added_model_has_a_name_with_its_version(state: Path, tmp_path: Path) -> None:
    """Its newest version is what the name means; ten comes after nine; removed, it is gone."""
    for version in ("1", "9", "10"):
        source = bundle(tmp_path / f"hues{version}", "hues", version)
        assert store.add(source, "hues", version).reference == f"hues@{version}"
    assert installed.folder("hues") == state / "models" / "hues@10"
    assert installed.folder("hues@9") == state / "models" / "hues@9"
    assert [one.reference for one in store.listing()] == ["hues@1", "hues@9", "hues@10"]
    store.remove("hues@10")
    assert installed.folder("hues") == state / "models" / "hues@9"
    assert sorted(path.name for path in (state / "models").iterdir()) == ["hues@1", "hues@9"]


def test_what_cannot_be_added_is_one_line_and_changes_nothing(
    state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A shipped name, an odd one, the same version again, a link, a full store."""
    source = bundle(tmp_path / "hues", "hues")
    store.add(source, "hues", "1")

    def refused(match: str, name: str = "other", version: str = "1") -> None:
        with pytest.raises(ModelError, match=match) as raised:
            store.add(source, name, version)
        assert "\n" not in str(raised.value)
        assert [path.name for path in (state / "models").iterdir()] == ["hues@1"]

    refused("comes with this program", "catdog")
    refused("cannot be a folder's", "a/b")
    refused("cannot be a folder's", "..")
    refused("cannot be a folder's", "a@b")
    refused("cannot be a folder's", version="1/../2")
    refused("is there already.*edge models remove hues@1", "hues")
    (source / "link").symlink_to("/etc/hostname")
    refused("link: not a regular file")
    (source / "link").unlink()
    monkeypatch.setattr(store, "MODELS_MAX", 1)
    refused("no room for another model")
    with pytest.raises(ModelError, match="expected hues@1"):
        store.remove("catdog")


KILLED = """
import os, sys
from pathlib import Path
from edge.model import store
calls, stop = [0], int(sys.argv[2])
def counted(real):
    def call(*args, **kwargs):
        calls[0] += 1
        if calls[0] > stop:
            os.kill(os.getpid(), 9)
        return real(*args, **kwargs)
    return call
for name in ("fsync", "rename", "chmod", "mkdir", "chown"):
    setattr(os, name, counted(getattr(os, name)))
store.add(Path(sys.argv[1]), "hues", "1")
"""


def test_killed_at_any_write_a_model_is_there_whole_or_not_at_all(
    state: Path, tmp_path: Path
) -> None:
    """SIGKILL before each call that writes; the next `add` works, and tidies up."""
    source = bundle(tmp_path / "hues", "hues")
    whole = sorted(path.name for path in source.iterdir())
    deaths = 0
    for stop in range(40):
        command = [sys.executable, "-c", KILLED, str(source), str(stop)]
        done = subprocess.run(command, cwd=ROOT, env={**os.environ}, check=False)
        if done.returncode == 0:
            break
        assert done.returncode == -signal.SIGKILL
        deaths += 1
        if (found := installed.folder("hues@1")) is not None:
            assert sorted(path.name for path in found.iterdir()) == whole
            break
    assert deaths >= 5
    workspace.tidy()
    assert [path.name for path in (state / "models").iterdir()] == ["hues@1"]


def test_the_command_adds_only_what_proves_itself(state: Path, tmp_path: Path) -> None:
    """A card that lies is refused; a whole one is listed, used by name, and removed."""
    source = bundle(tmp_path / "hues", "hues")
    added = edge("models", "add", source)
    assert added.returncode == 0, added.stderr
    assert added.stdout.startswith("hues@1 added")
    listed = json.loads(edge("models", "--json").stdout)["models"]
    assert {key: value for key, value in listed[-1].items() if key != "bytes"} == {
        "name": "hues@1",
        "serial": None,
        "chosen": False,
    }
    liar = bundle(tmp_path / "liar", "liar", labels='["a", "b"]')
    refused = edge("models", "add", liar)
    assert refused.returncode == 78
    assert len(refused.stderr.splitlines()) == 1
    persisted.choose(Choice("hues@1"))
    kept = edge("models", "remove", "hues@1")
    assert (kept.returncode, "in use" in kept.stderr) == (78, True)
    persisted.choose(None)
    lines = edge("models").stdout.splitlines()
    assert [line for line in lines if not line.startswith(("catdog", "features"))] == [
        f"hues@1, {sum(path.stat().st_size for path in source.iterdir()):,} bytes"
    ]
    config = tmp_path / "edge.toml"
    for key in ("model.path", "model.second", "shadow.model"):
        config.write_text(f'{key} = "hues"\n')
        kept = edge("models", "remove", "hues@1", "--config", config)
        assert (kept.returncode, f"{key} in the config" in kept.stderr) == (78, True)
    config.write_text("")
    before = persisted.add({"model": {"second": "hues"}})
    kept = edge("models", "remove", "hues@1", "--config", config)
    assert (kept.returncode, "model.second in the config" in kept.stderr) == (78, True)
    persisted.take_back({"model": {"second": "hues"}}, before)
    assert edge("models", "remove", "hues@1").stdout == "hues@1 removed\n"
    assert edge("models", "add").returncode == 2


@pytest.fixture
def wall(
    state: Path, broker: PrivateBroker, daemon: Callable[..., Daemon], tmp_path: Path
) -> Daemon:
    """The daemon with the model `rgb@1` by config, and `hues@1` added."""
    for name, labels in (("rgb", '["red", "green", "blue"]'), ("hues", '["warm", "leaf", "sky"]')):
        store.add(bundle(tmp_path / name, name, labels=labels), name, "1")
    running = daemon(
        *("--source", "synthetic", "--broker", broker.address),
        config=CONFIG + 'model.path = "rgb"\n',
        STATE_DIRECTORY=str(state),
    )
    online(broker)
    return running


@pytest.fixture
def asker(broker: PrivateBroker, wall: Daemon) -> Iterator[Asker]:
    """Somebody who asks the daemon."""
    made = Asker(broker)
    yield made
    made.close()


def test_a_request_changes_the_model_and_everything_follows(
    asker: Asker, broker: PrivateBroker, state: Path, wall: Daemon
) -> None:
    """Info, state, discovery with the old labels withdrawn; persisted; and one step back."""
    listener = Listener(broker, "#")
    listener.wait_for(lambda: bool(listener.bodies("info") and listener.bodies("config")))
    assert asker.ask("model")["data"]["in_use"] == "rgb@1"
    answer = asker.ask("model", {"action": "use", "name": "hues"})
    assert (answer["status"], answer["error"]) == ("ok", "")
    listener.wait_for(lambda: newest(listener, "info")["model"]["name"] == "hues")
    listener.wait_for(lambda: newest(listener, "state")["label"] in ("warm", "leaf", "sky", None))
    listener.wait_for(lambda: b"leaf" in listener.bodies("config")[-1])
    names = {
        component["name"]
        for component in json.loads(listener.bodies("config")[-1])["components"].values()
        if component["platform"] == "binary_sensor" and "name" in component
    }
    assert {"warm", "leaf", "sky"} <= names
    assert not {"red", "green", "blue"} & names
    listener.catch_up()
    changed = [event for event in listener.payloads("event") if event["type"] == "model_changed"]
    assert changed[-1]["evidence"] == {"model": "hues 1", "instead_of": "rgb 1"}
    chosen = persisted.choice()
    assert chosen is not None
    assert (chosen.path, chosen.before, chosen.chosen) == ("hues@1", "rgb@1", False)
    assert chosen.until_s > time.time() + 3000
    for kept in ("hues@1", "rgb@1"):  # in use, and the one before
        assert asker.ask("model", {"action": "remove", "name": kept})["status"] == "error"
    assert asker.ask("model", {"action": "use", "name": "hues"})["data"]["changed"] is False
    assert asker.ask("model", {"action": "rollback"})["status"] == "ok"
    listener.wait_for(lambda: newest(listener, "info")["model"]["name"] == "rgb")
    assert persisted.choice() is None
    assert "no model before" in asker.ask("model", {"action": "rollback"})["error"]
    assert asker.ask("model", {"action": "remove", "name": "hues@1"})["data"] == {
        "removed": "hues@1"
    }
    listener.close()


def test_a_label_that_is_gone_is_withdrawn_from_home_assistant(
    asker: Asker, broker: PrivateBroker, wall: Daemon, tmp_path: Path
) -> None:
    """From three labels to two: the third sensor is announced as nothing but its platform."""
    listener = Listener(broker, "#")
    listener.wait_for(lambda: bool(listener.bodies("info") and listener.bodies("config")))
    two = model_folder(tmp_path / "two", "sigmoid")
    store.add(two, "two", "1")
    answer = asker.ask("model", {"action": "use", "name": "two"})
    assert answer["status"] == "ok", answer
    listener.wait_for(lambda: newest(listener, "info")["model"]["name"] == "sigmoid")

    def component(key: str) -> Any:
        return json.loads(listener.bodies("config")[-1])["components"][key]

    listener.wait_for(lambda: component("class_2") == {"platform": "binary_sensor"})
    assert component("class_1")["name"] == "blue"
    listener.close()


def test_the_state_of_the_old_labels_is_gone_before_there_is_a_frame(
    asker: Asker, broker: PrivateBroker, state: Path, wall: Daemon
) -> None:
    """Who subscribes while it is paused is not told a label that the model does not have."""
    listener = Listener(broker)
    listener.wait_for(lambda: bool((newest(listener, "state") or {}).get("scores")))
    asker.ask("pause", {"paused": True})
    assert asker.ask("model", {"action": "use", "name": "hues"})["status"] == "ok"
    listener.wait_for(lambda: newest(listener, "state")["label"] is None)
    listener.catch_up()
    late = Listener(broker)
    late.wait_for(lambda: newest(late, "state") is not None)
    [seen] = late.payloads("state")
    assert (seen["scores"], seen["partial"], seen["paused"]) == ({}, True, True)
    jsonschema.validate(seen, schema()["state"])
    asker.ask("resume")
    late.wait_for(lambda: set(newest(late, "state")["scores"]) == {"warm", "leaf", "sky"})
    late.close()
    listener.close()


@pytest.mark.parametrize(
    "name",
    ["", "nothing", "../rgb@1", "/etc", "./hues", "hues@7", "hues.tflite", "a\nb", "x" * 200],
)
def test_a_request_cannot_name_what_is_not_installed(asker: Asker, name: str) -> None:
    """No path, no other version, no odd text; the model at work stays."""
    answer = asker.ask("model", {"action": "use", "name": name})
    assert answer["status"] == "error"
    assert "\n" not in answer["error"]
    assert asker.ask("model")["data"]["in_use"] == "rgb@1"


def test_a_model_that_is_refused_is_not_chosen(asker: Asker, state: Path, wall: Daemon) -> None:
    """Its file has changed since it was added: the old model goes on, also after a restart."""
    file = next((state / "models" / "hues@1").glob("*.tflite"))
    file.write_bytes(file.read_bytes()[:1000])
    answer = asker.ask("model", {"action": "use", "name": "hues"})
    assert answer["status"] == "error"
    assert persisted.choice() is None
    assert asker.ask("model")["data"]["in_use"] == "rgb@1"


def test_a_model_of_the_command_line_stays(
    broker: PrivateBroker, daemon: Callable[..., Daemon], state: Path, rgb: Path, tmp_path: Path
) -> None:
    """It comes before what a request chooses, which is therefore refused."""
    store.add(bundle(tmp_path / "hues", "hues"), "hues", "1")
    daemon(
        *("--source", "synthetic", "--broker", broker.address, "--model", rgb),
        config=CONFIG,
        STATE_DIRECTORY=str(state),
    )
    online(broker)
    asker = Asker(broker)
    answer = asker.ask("model", {"action": "use", "name": "hues"})
    assert answer["status"] == "error"
    assert "set on the command line" in answer["error"]
    assert persisted.choice() is None
    asker.close()


def test_a_chosen_model_that_does_not_start_is_taken_back(
    broker: PrivateBroker, daemon: Callable[..., Daemon], state: Path, tmp_path: Path
) -> None:
    """The daemon starts with the one before, and says so in an event."""
    store.add(bundle(tmp_path / "rgb", "rgb"), "rgb", "1")
    persisted.choose(Choice("lost@3", "rgb@1", until_s=time.time() + 1000))
    listener = Listener(broker)
    daemon(
        *("--source", "synthetic", "--broker", broker.address),
        config=CONFIG + 'model.path = "rgb"\n',
        STATE_DIRECTORY=str(state),
    )
    listener.wait_for(
        lambda: any(one["type"] == "model_rolled_back" for one in listener.payloads("event"))
    )
    event = next(e for e in listener.payloads("event") if e["type"] == "model_rolled_back")
    assert event["evidence"]["model"] == "rgb 1"
    assert "lost@3" in event["evidence"]["reason"]
    assert persisted.choice() is None
    listener.close()


def test_a_model_that_ends_the_daemon_is_taken_back(
    broker: PrivateBroker, daemon: Callable[..., Daemon], state: Path, tmp_path: Path
) -> None:
    """Killed three times within its probation, the fourth start has the one before."""
    for name in ("rgb", "hues"):
        store.add(bundle(tmp_path / name, name), name, "1")
    persisted.choose(Choice("hues@1", "rgb@1", chosen=True, until_s=time.time() + 1000))
    listener = Listener(broker)
    for start in range(4):
        running = daemon(
            *("--source", "synthetic", "--broker", broker.address),
            config=CONFIG,
            STATE_DIRECTORY=str(state),
        )
        running.wait_for_log("ready after")
        name = "hues" if start < 3 else "rgb"
        assert f": {name} on" in running.log.read_text()
        running.stop(signal.SIGKILL)
    chosen = persisted.choice()
    assert chosen == Choice("rgb@1")
    listener.close()


def test_a_clock_that_is_set_back_is_no_longer_probation(
    broker: PrivateBroker, daemon: Callable[..., Daemon], state: Path, tmp_path: Path
) -> None:
    """Chosen in 2100 by a wrong clock: it has proven itself after its time, not after years."""
    for name in ("rgb", "hues"):
        store.add(bundle(tmp_path / name, name), name, "1")
    persisted.choose(Choice("hues@1", "rgb@1", chosen=True, until_s=4.1e9))
    running = daemon(
        *("--source", "synthetic", "--broker", broker.address),
        config=CONFIG + "model.probation_s = 0.5\n",
        STATE_DIRECTORY=str(state),
    )
    listener = Listener(broker)
    proven = Choice("hues@1", "rgb@1", chosen=True, starts=1)
    listener.wait_for(lambda: persisted.choice() == proven)
    running.stop()
    listener.close()


def test_a_choice_that_cannot_be_read_is_ignored(state: Path) -> None:
    """Half a file, another type, a folder in its place: the config decides."""
    for content in (b"", b"{", b"[]", b'{"path": 3}', b'{"path": "a", "until_s": "x"}', b"\xff"):
        (state / persisted.CHOICE).write_bytes(content)
        assert persisted.choice() is None
        assert persisted.read() == {}
    (state / persisted.CHOICE).unlink()
    (state / persisted.CHOICE).mkdir()
    assert persisted.choice() is None
    with pytest.raises(ConfigError):
        persisted.choose(Choice("rgb"))


def test_no_model_of_this_program_has_a_version_in_its_folder() -> None:
    """So that `@` always means an added one."""
    assert not [path for path in tracked() if path.startswith("models/") and "@" in path]


def test_a_model_without_scores_is_taken_back_by_itself(
    broker: PrivateBroker, daemon: Callable[..., Daemon], state: Path, tmp_path: Path
) -> None:
    """Chosen by request, it gives no number for half of the pictures: the one before returns."""
    store.add(bundle(tmp_path / "rgb", "rgb"), "rgb", "1")
    nan = tmp_path / "nan"
    shutil.copytree(CASES / "nan", nan)
    card = 'name = "nan"\nversion = "1"\nfile = "m.tflite"\nlabels = ["red", "green", "blue"]\n'
    (nan / "model.toml").write_text(card)
    store.add(nan, "nan", "1")
    folder = pictures(tmp_path / "seen", RED, BLACK)
    daemon(
        *("--source", folder, "--broker", broker.address),
        config=CONFIG + 'camera.fps = 50\nmodel.path = "rgb"\n',
        module="tests.hasty",
        STATE_DIRECTORY=str(state),
    )
    online(broker)
    asker, listener = Asker(broker), Listener(broker)
    assert asker.ask("model", {"action": "use", "name": "nan"})["status"] == "ok"
    listener.wait_for(
        lambda: any(one["type"] == "model_rolled_back" for one in listener.payloads("event"))
    )
    event = next(e for e in listener.payloads("event") if e["type"] == "model_rolled_back")
    assert event["evidence"]["model"] == "rgb 1"
    assert "frames have no scores" in event["evidence"]["reason"]
    assert persisted.choice() is None
    asker.close()
    listener.close()


@pytest.mark.parametrize(
    ("before", "intervals", "fault"),
    [
        ((900, 100, 0), [(50, 50, 0), (20, 80, 0)], ""),
        ((900, 100, 0), [(20, 80, 0), (20, 80, 0)], "too slow: 20 of 100 frames"),
        ((900, 100, 0), [(20, 80, 0), (90, 10, 0), (20, 80, 0)], ""),
        ((300, 700, 0), [(20, 80, 0), (20, 80, 0)], ""),
        ((900, 100, 0), [(100, 0, 21), (100, 0, 30)], "30 of 100 frames have no scores"),
        ((900, 100, 0), [(100, 0, 19), (100, 0, 19)], ""),
        ((900, 100, 0), [(3, 9, 3), (3, 9, 3)], ""),
    ],
)
def test_a_model_is_judged_by_what_it_leaves_out(
    before: Counts, intervals: list[Counts], fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twice in a row, worse than it was before, and with enough frames to say so."""
    now = [0.0]
    monkeypatch.setattr("edge.daemon.probation.time.monotonic", lambda: now[0])
    run = SimpleNamespace(
        frames_total=before[0],
        dropped_total=before[1],
        invalid_scores_total=before[2],
        drifting="",
    )
    judged = probation.Probation(cast("Run", run), 0.0)
    said = ""
    for frames, dropped, invalid in intervals:
        run.frames_total += frames
        run.dropped_total += dropped
        run.invalid_scores_total += invalid
        assert judged.fault() == said == ""
        now[0] += probation.CHECK_S
        said = judged.fault()
    assert said.startswith(fault)
    assert bool(said) == bool(fault)
