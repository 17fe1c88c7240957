"""A shadow in the daemon: agreement, requests, promotion, and candidates that are refused."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from deploy.broker import PrivateBroker
from edge.config import persisted
from edge.contract import schema
from edge.model import store
from tests import odd_models
from tests.conftest import Daemon, Listener, edge, model_folder, wait_until
from tests.test_control import Asker, newest, online
from tests.test_models import bundle
from tests.test_scores import BLACK, CASES, RED, pictures
from tests.test_trial import BAD, BIG, LITTLE, children

Start = Callable[..., Daemon]
CONFIG = """
[device]
id = "wall"
[publish]
telemetry_interval_s = 0.3
"""
PERMUTED = '["green", "blue", "red"]'


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state directory with the models `hues@1`, permuted, and `same@1`, equal to `rgb`."""
    folder = tmp_path / "state"
    folder.mkdir()
    monkeypatch.setenv("STATE_DIRECTORY", str(folder))
    store.add(bundle(tmp_path / "hues", "hues", labels=PERMUTED), "hues", "1")
    store.add(bundle(tmp_path / "same", "same"), "same", "1")
    return folder


class Wall:
    """A daemon, what it says, and somebody who asks it."""

    def __init__(
        self, broker: PrivateBroker, start: Start, folder: Path, source: Path | str = "synthetic"
    ) -> None:
        self._broker, self._start, self._source = broker, start, source
        self.file = folder / "edge.toml"
        self.rgb = model_folder(folder / "rgb")
        self.listener = Listener(broker)

    def run(self, table: str = "", *, model: str = "") -> Daemon:
        """Start the daemon with this table [shadow]."""
        self.daemon = self._start(
            *("--source", self._source, "--broker", self._broker.address),
            config=self.config(table, model),
        )
        online(self._broker)
        self.asker = Asker(self._broker)
        return self.daemon

    def config(self, table: str, model: str = "") -> str:
        """Return a config."""
        shadow = f"[shadow]\n{table}\n" if table else ""
        return f'{CONFIG}{shadow}[model]\npath = "{model or self.rgb}"\n'

    def reload(self, text: str) -> None:
        """Write a config, and have it read."""
        self.file.write_text(text)
        self.daemon.process.send_signal(signal.SIGHUP)

    def shadow(self) -> Any:
        """Return the shadow's part of the newest telemetry; empty without one."""
        return (newest(self.listener, "telemetry") or {}).get("shadow", {})

    def report(self) -> Any:
        """Return the answer to `shadow`."""
        return self.asker.ask("shadow")["data"]

    def events(self, kind: str) -> list[Any]:
        """Return the evidence of the events of one type."""
        events = self.listener.payloads("event")
        return [event["evidence"] for event in events if event["type"] == kind]

    def frames(self, least: int) -> None:
        """Wait until the shadow has classified so many frames."""
        self.listener.wait_for(lambda: self.shadow().get("frames_total", 0) >= least)

    def failures(self, count: int) -> None:
        """Wait until shadows have failed so often."""
        self.listener.wait_for(lambda: len(self.events("shadow_failed")) == count)

    def close(self) -> None:
        """Disconnect."""
        self.listener.close()
        if hasattr(self, "asker"):
            self.asker.close()


@pytest.fixture
def wall(broker: PrivateBroker, daemon: Start, state: Path, tmp_path: Path) -> Iterator[Wall]:
    """A daemon that is not started yet."""
    made = Wall(broker, daemon, tmp_path)
    yield made
    made.close()


def test_off_it_is_absent(wall: Wall) -> None:
    """No part of telemetry, no stage, no entity; settings of it start nothing."""
    wall.run()
    answer = wall.asker.ask("set", {"shadow": {"every": 2}})
    assert answer["data"]["shadow"]["every"] == 2
    assert wall.report() == {"state": "off"}
    assert wall.asker.ask("shadow", {"action": "stop"})["data"] == {"state": "off"}
    count = len(wall.listener.payloads("telemetry"))
    wall.listener.wait_for(lambda: len(wall.listener.payloads("telemetry")) > count + 1)
    telemetry = newest(wall.listener, "telemetry")
    assert not telemetry.keys() & {"shadow", "plugs"}
    assert "shadow" not in telemetry["stages_ms"]
    assert not wall.events("shadow_began")


def test_a_model_agrees_with_itself(wall: Wall) -> None:
    """On every frame, under another name; telemetry is as promised."""
    wall.run('model = "same"\nevery = 1\ncpu_share = 1.0')
    wall.frames(30)
    telemetry = newest(wall.listener, "telemetry")
    jsonschema.validate(telemetry, schema()["telemetry"])
    shadow = telemetry["shadow"]
    assert shadow["model"] == "same 1"
    assert shadow["state"] == "working"
    assert shadow["total"]["agreement"] == shadow["hour"]["agreement"] == 1.0
    assert shadow["total"] == shadow["day"]
    assert shadow["total"]["smoothed_frames"] > 0
    assert all(list(row) == [label] for label, row in shadow["confusion"].items())
    assert shadow["time_ms"]["p50"] > 0
    assert shadow["memory_bytes"] > 0
    assert telemetry["stages_ms"]["shadow"]["p50"] < telemetry["stages_ms"]["latency"]["max"]
    began = wall.events("shadow_began")[0]
    assert (began["model"], began["labels"], began["labels_shared"]) == ("same 1", 3, 3)


def test_permuted_labels_are_a_known_confusion(wall: Wall) -> None:
    """A model whose labels are turned by one never agrees, single or smoothed."""
    wall.run('model = "hues"\nevery = 1\ncpu_share = 1.0')
    wall.listener.wait_for(lambda: len(wall.shadow().get("confusion", {})) == 3)
    wall.listener.wait_for(lambda: wall.shadow()["total"]["smoothed_frames"] > 0)
    shadow = wall.shadow()
    turned = {"red": "green", "green": "blue", "blue": "red"}
    assert {label: list(row) for label, row in shadow["confusion"].items()} == {
        label: [other] for label, other in turned.items()
    }
    assert shadow["total"]["agreement"] == 0.0
    frames = sum(sum(row.values()) for row in shadow["confusion"].values())
    assert frames == shadow["frames_total"] == shadow["total"]["frames"]
    report = wall.report()
    assert report["frames_total"] >= frames
    assert report["confusion"].keys() == turned.keys()


def test_requests_start_and_stop_a_shadow_and_promotion_ends_it(wall: Wall) -> None:
    """Started by name, through a reload; `model use` of the shadow ends it with its figures."""
    wall.run()
    answer = wall.asker.ask("shadow", {"action": "start", "name": "hues"})
    assert answer["data"] == {"model": "hues@1", "seconds": None}
    wall.frames(3)
    wall.reload(wall.config("every = 2"))
    wall.listener.wait_for(lambda: bool(wall.listener.payloads("info")))
    wall.daemon.wait_for_log(" reloaded")
    seen = wall.shadow()["frames_total"]
    wall.frames(seen + 3)
    assert len(wall.events("shadow_began")) == 1
    info = newest(wall.listener, "info")["config"]["shadow"]
    assert (info["model"], info["every"]) == ("hues@1", 2)
    refused = wall.asker.ask("shadow", {"action": "start", "name": "nothing"})
    assert "model not found" in refused["error"]
    assert wall.asker.ask("model", {"action": "use", "name": "hues"})["status"] == "ok"
    wall.listener.wait_for(lambda: bool(wall.events("shadow_ended")))
    ended = wall.events("shadow_ended")[0]
    assert (ended["model"], ended["agreement"]) == ("hues 1", 0.0)
    assert ended["reason"] == "promoted: it is the model at work"
    assert ended["frames"] > 0
    wall.listener.wait_for(lambda: not wall.shadow())
    same = wall.asker.ask("shadow", {"action": "start", "name": "hues@1"})
    assert same["error"] == "hues@1: is the model at work; name another"
    assert wall.asker.ask("model", {"action": "rollback"})["status"] == "ok"
    assert wall.report() == {"state": "off"}
    assert wall.asker.ask("shadow", {"action": "start", "name": "same"})["status"] == "ok"
    wall.listener.wait_for(lambda: len(wall.events("shadow_began")) == 2)
    assert wall.asker.ask("shadow", {"action": "stop"})["data"] == {"state": "off"}
    wall.listener.wait_for(lambda: len(wall.events("shadow_ended")) == 2)
    assert wall.events("shadow_ended")[1]["reason"] == "by request"


@pytest.mark.parametrize(
    "name", ["", "../rgb", "/etc", "./hues", "hues@7", "hues.tflite", "a\nb", "x" * 200, "a\0b"]
)
def test_a_request_cannot_name_what_is_not_installed(wall: Wall, name: str) -> None:
    """No path, no other version, no odd text; neither by `shadow` nor by `set`."""
    wall.run()
    answer = wall.asker.ask("shadow", {"action": "start", "name": name})
    assert answer["status"] == "error"
    assert "\n" not in answer["error"]
    refused = wall.asker.ask("set", {"shadow": {"model": name or str(wall.rgb)}})
    assert refused["error"] == "shadow.model: cannot be set; use the request `shadow`"
    assert wall.report() == {"state": "off"}


def test_a_shadow_for_a_time_gives_way_to_the_config(wall: Wall) -> None:
    """After its seconds the one that the config names is there again."""
    wall.run('model = "hues"\nevery = 1')
    wall.frames(1)
    request = {"action": "start", "name": "same", "seconds": 0.5}
    assert wall.asker.ask("shadow", request)["status"] == "ok"

    def began() -> list[str]:
        return [event["model"] for event in wall.events("shadow_began")]

    wall.listener.wait_for(lambda: began().count("hues 1") == 2)
    assert wall.events("shadow_ended")[0]["reason"] == "by request"
    assert wall.asker.ask("shadow", {"action": "stop"})["data"] == {"state": "off"}
    wall.reload(wall.config('model = "hues"'))
    wall.daemon.wait_for_log(" reloaded")
    assert wall.report() == {"state": "off"}


def test_what_is_set_keeps_the_counts_and_is_persisted(wall: Wall) -> None:
    """The same candidate goes on with another share; another number of threads is another one."""
    wall.run('model = "same"\nevery = 1')
    wall.frames(5)
    request = {"shadow": {"cpu_share": 1.0, "keep_frames": 0}, "persist": True}
    assert wall.asker.ask("set", request)["data"]["shadow"]["cpu_share"] == 1.0
    assert wall.report()["frames_total"] >= 5
    assert persisted.read() == {"shadow": {"cpu_share": 1.0, "keep_frames": 0}}
    assert "cpu_share" in wall.asker.ask("set", {"shadow": {"cpu_share": 1.5}})["error"]
    assert len(wall.events("shadow_began")) == 1
    assert wall.asker.ask("set", {"shadow": {"threads": 2}})["status"] == "ok"
    wall.listener.wait_for(lambda: len(wall.events("shadow_began")) == 2)
    assert wall.events("shadow_ended")[0]["reason"] == "another shadow"


def test_another_model_at_work_or_other_files_are_another_shadow(
    wall: Wall, tmp_path: Path
) -> None:
    """Counts of one comparison are not added to another's."""
    path = bundle(tmp_path / "mine", "mine")
    wall.run(f'model = "{path}"\nevery = 1')
    wall.frames(1)
    bundle(path, "mine", "2", labels=PERMUTED)
    wall.reload(wall.config(f'model = "{path}"\nevery = 1'))
    wall.listener.wait_for(lambda: len(wall.events("shadow_began")) == 2)
    assert wall.events("shadow_ended")[0]["reason"] == "its files have changed"
    wall.listener.wait_for(lambda: wall.shadow().get("model") == "mine 2")
    wall.frames(1)
    wall.reload(wall.config(f'model = "{path}"\nevery = 1', model="hues"))
    wall.listener.wait_for(lambda: len(wall.events("shadow_began")) == 3)
    assert wall.events("shadow_ended")[1]["reason"] == "another model is at work"
    wait_until(lambda: wall.report().get("frames_total", 0) >= 5)
    assert wall.report()["total"]["agreement"] == 1.0
    wall.reload(wall.config(f'model = "{path}"', model=str(path)))
    wall.listener.wait_for(lambda: wall.shadow().get("state") == "at_work")
    assert wall.events("shadow_ended")[2]["reason"] == "promoted: it is the model at work"


def test_a_deleted_candidate_goes_on_and_is_not_found_again(
    wall: Wall, state: Path, tmp_path: Path
) -> None:
    """It is in memory; applied again it is refused, in one event; there again, it is started."""
    wall.run('model = "same@1"\nevery = 1')
    wall.frames(1)
    shutil.rmtree(state / "models" / "same@1")
    seen = wall.shadow()["frames_total"]
    wall.frames(seen + 3)
    wall.reload(wall.config('model = "same@1"\nevery = 1'))
    wall.listener.wait_for(lambda: bool(wall.events("shadow_failed")))
    assert "model not found" in wall.events("shadow_failed")[0]["error"]
    wall.listener.wait_for(lambda: wall.shadow().get("state") == "failed")
    assert "model not found" in wall.shadow()["reason"]
    store.add(tmp_path / "same", "same", "1")
    assert wall.asker.ask("shadow", {"action": "start", "name": "same"})["status"] == "ok"
    wall.listener.wait_for(lambda: len(wall.events("shadow_began")) == 2)
    assert "Traceback" not in wall.daemon.log.read_text()


def test_no_bad_candidate_ends_the_daemon(wall: Wall, tmp_path: Path) -> None:
    """Each is one event with its line: in a start too; the model at work goes on."""
    bad: dict[str, tuple[Path, str, str]] = {
        kind: (make(tmp_path / f"bad{number}"), words, LITTLE if kind == BIG else "")
        for number, (kind, (make, words)) in enumerate(BAD.items())
    }
    changed = model_folder(tmp_path / "changed", sha256=f'"{"ab" * 32}"')
    bad["checksum"] = (changed, "expected sha256 abab", "")
    bad["features"] = (Path("features"), "features gives features, no scores", "")
    bad["nowhere"] = (tmp_path / "nowhere", "model not found", "")
    first = bad.pop("checksum")
    wall.run(f'model = "{first[0]}"')
    wall.daemon.wait_for_log("shadow")
    wall.listener.wait_for(lambda: bool(wall.events("shadow_failed")))
    assert first[1] in wall.events("shadow_failed")[0]["error"]
    for number, (model, words, limit) in enumerate(bad.values(), 2):
        text = wall.config(f'model = "{model}"')
        wall.reload(f"{text}{limit}\n")
        wall.failures(number)
        error = wall.events("shadow_failed")[-1]["error"]
        assert words in error
        assert "\n" not in error
    log = wall.daemon.log.read_text()
    assert "Traceback" not in log
    assert log.count("not reloaded") == 0
    assert wall.asker.ask("ping")["status"] == "ok"
    assert wall.daemon.stop() == 0


def test_a_candidate_that_hangs_in_its_trial_holds_up_nothing(wall: Wall, tmp_path: Path) -> None:
    """Frames go on, a reload and another model too; the end of the daemon ends the trial."""
    endless = odd_models.endless(tmp_path)
    table = f'model = "{endless}"'
    text = wall.config(table) + "require_xnnpack = false\n"
    wall.run()
    wall.reload(text)
    wall.listener.wait_for(lambda: wall.shadow().get("state") == "loading")
    count = len(wall.listener.payloads("telemetry"))
    wall.listener.wait_for(lambda: len(wall.listener.payloads("telemetry")) > count + 2)
    assert newest(wall.listener, "telemetry")["fps"] > 0
    assert children(wall.daemon.process.pid)
    assert wall.asker.ask("model", {"action": "use", "name": "hues"})["status"] == "ok"
    wall.listener.wait_for(lambda: newest(wall.listener, "info")["model"]["name"] == "hues")
    wall.listener.wait_for(lambda: wall.shadow().get("state") == "loading")
    wait_until(lambda: bool(children(wall.daemon.process.pid)))
    trials = children(wall.daemon.process.pid)
    assert len(trials) == 1
    assert wall.daemon.stop() == 0
    assert not [pid for pid in trials if Path(f"/proc/{pid}/cmdline").exists()]
    assert not wall.events("shadow_failed")


def test_frames_without_scores_are_counted(
    broker: PrivateBroker, daemon: Start, state: Path, tmp_path: Path
) -> None:
    """The candidate gives NaN for every second picture; the others are compared."""
    nan = tmp_path / "nan"
    shutil.copytree(CASES / "nan", nan)
    card = 'name = "nan"\nversion = "1"\nfile = "m.tflite"\nlabels = ["red", "green", "blue"]\n'
    (nan / "model.toml").write_text(card)
    wall = Wall(broker, daemon, tmp_path, pictures(tmp_path / "seen", RED, BLACK))
    wall.run(f'model = "{nan}"\nevery = 1\ncpu_share = 1.0\n[camera]\nfps = 30')
    wall.listener.wait_for(lambda: wall.shadow().get("invalid_total", 0) > 3)
    shadow = wall.shadow()
    assert shadow["state"] == "working"
    assert shadow["total"]["frames"] > 0
    assert shadow["frames_total"] == shadow["total"]["frames"] + shadow["invalid_total"]
    wall.close()


def test_the_daemon_ends_without_waiting_for_the_shadow(wall: Wall) -> None:
    """Its figures are a line of the log."""
    wall.run('model = "same"\nevery = 1')
    wall.frames(1)
    assert wall.daemon.stop() == 0
    assert "shadow same 1 ended: the daemon ends; 100.0% of" in wall.daemon.log.read_text()
    assert not wall.events("shadow_ended")


def test_bench_says_what_a_shadow_costs_the_loop(rgb: Path, tmp_path: Path) -> None:
    """A stage of its own, once the candidate is loaded; absent without one."""
    other = model_folder(tmp_path / "other", labels=PERMUTED)
    config = tmp_path / "edge.toml"
    command: list[str | Path] = [
        "bench",
        "--config",
        config,
        "--model",
        rgb,
        "--source",
        "synthetic",
    ]
    command += ["--frames", "50", "--json"]
    config.write_text("")
    plain = json.loads(edge(*command).stdout)
    assert "shadow_ms" not in plain
    config.write_text(f'[shadow]\nmodel = "{other}"\nevery = 1\ncpu_share = 1.0\n')
    done = edge(*command)
    assert json.loads(done.stdout)["shadow_ms"]["max"] > 0
    assert "shadow uint8io began" in done.stderr
