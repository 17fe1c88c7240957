"""Gates and observers: where they run, what they cost, and what becomes of one that raises."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import jsonschema
import numpy as np
import pytest

from deploy.broker import PrivateBroker
from edge.config import CHANGEABLE
from edge.contract import REQUESTS, PlugFigures, StageTimes, schema
from edge.contract.telemetry import PARTS
from edge.frames import Classified, Frame, FrameTimes, Prediction
from edge.gates.pause import PauseGate
from edge.pipeline.plugs import Gate, Observer, Plugs
from edge.telemetry import Stages
from tests.conftest import Daemon, Listener, edge
from tests.plugged import Count, Counted, Counter, Odd
from tests.test_control import Asker, newest, online

FRAME = Frame(4, 9, np.zeros((4, 4, 3), np.uint8), "bgr")
PREDICTION = Prediction(4, 9, "dog", 0.9, (0.1, 0.9), 9, False)
SEEN = Classified(
    FRAME, np.zeros(2, np.float32), PREDICTION, None, None, FrameTimes(1, 1, 1), done_ns=9
)


class Recorder:
    """An observer that keeps the numbers of its frames, and may raise at one of its calls."""

    def __init__(self, name: str = "recorder", raises_at: int = 0) -> None:
        self.name, self.taken, self._raises_at = name, 0, raises_at

    def classified(self, seen: Classified) -> None:
        """Keep the number."""
        self.taken += 1
        if self.taken == self._raises_at:
            raise ValueError("so")

    def figures(self) -> None:
        """Return none."""

    def close(self) -> None:
        """Release nothing."""


class Sulking:
    """A gate that raises."""

    name = "sulking"

    def skip(self, frame: Frame) -> str:
        """Raise."""
        raise ValueError("so")


def plugs(
    *given: Gate | Observer, first: Observer | None = None
) -> tuple[Plugs, Stages, list[str]]:
    """Return plugs, their stages, and the names of those that were switched off."""
    stages, failed = Stages(), list[str]()
    made = Plugs(first or Recorder("publish"), stages.ring, lambda name, _: failed.append(name))
    gates = [plug for plug in given if isinstance(plug, Odd | Sulking)]
    made.replace(gates, [plug for plug in given if isinstance(plug, Recorder | Counter)])
    return made, stages, failed


def test_without_plugs_a_frame_passes_and_no_stage_appears() -> None:
    """Absent, not merely idle."""
    first = Recorder()
    made, stages, _ = plugs(first=first)
    assert made.skip(FRAME) == ""
    assert made.classified(SEEN) > 0
    assert first.taken == 1
    assert not made.configured
    assert stages.percentiles_ms() == {}


def test_the_first_gate_with_a_reason_decides() -> None:
    """The switch comes before all others, and is no stage."""
    made, stages, _ = plugs(Odd(), Recorder())
    odd = Frame(5, 9, FRAME.pixels, "bgr")
    assert (made.skip(FRAME), made.skip(odd)) == ("", "odd")
    made.switch(PauseGate())
    assert (made.skip(FRAME), made.skip(odd)) == ("paused", "paused")
    made.switch(None)
    assert made.skip(FRAME) == ""
    made.classified(SEEN)
    assert stages.percentiles_ms().keys() == {"odd", "recorder"}


@pytest.mark.parametrize("number", range(1, 6))
def test_an_observer_that_raises_is_switched_off_and_the_frame_goes_on(number: int) -> None:
    """At whichever call: the others get every frame; it is reported once."""
    before, bad, after = Recorder("a"), Recorder("bad", number), Recorder("c")
    made, _, failed = plugs(before, bad, after)
    for _ in range(6):
        made.classified(SEEN)
    assert (before.taken, bad.taken, after.taken) == (6, number, 6)
    assert failed == list(made.failed) == ["bad"]
    assert made.configured


def test_a_gate_that_raises_lets_frames_pass() -> None:
    """Reported once; the gate behind it decides."""
    made, _, failed = plugs(Sulking(), Odd())
    assert [made.skip(FRAME), made.skip(Frame(5, 9, FRAME.pixels, "bgr"))] == ["", "odd"]
    assert failed == ["sulking"]


def test_publishing_is_not_switched_off() -> None:
    """Without it a daemon would run on and nobody would hear of it: the process ends instead."""
    made, _, failed = plugs(first=Recorder("publish", raises_at=1))
    with pytest.raises(ValueError, match="so"):
        made.classified(SEEN)
    assert failed == []


def test_figures_that_cannot_be_had_are_a_failure_too() -> None:
    """Parts of the others are kept."""

    class Shy(Recorder):
        def figures(self) -> None:
            raise ValueError("so")

    made, _, failed = plugs(Shy("shy"), Counter())
    assert made.parts() == {"counter": Counted(0, 0)}
    assert failed == ["shy"]


def test_a_plug_has_a_name_of_its_own() -> None:
    """Not that of a stage of the pipeline."""
    with pytest.raises(ValueError, match="invoke is a stage of the pipeline"):
        plugs(Recorder("invoke"))


def test_a_pause_is_over_when_its_time_is() -> None:
    """Without a time it is not."""
    assert not PauseGate(5.0).over(4.9)
    assert PauseGate(5.0).over(5.0)
    assert not PauseGate().over(1e12)


CONFIG = """
[device]
id = "wall"
[publish]
state_interval_s = 0.3
telemetry_interval_s = 0.3
[log]
level = "debug"
"""


def frames(listener: Listener) -> int:
    """Return how many frames the counter has counted, as its part of telemetry says."""
    counted = (newest(listener, "telemetry") or {}).get("counter", {})
    return int(counted.get("frames", 0))


def test_rooms_plug_into_the_daemon_by_a_row_each(
    broker: PrivateBroker, listen: Callable[[], Listener], daemon: Callable[..., Daemon], rgb: Path
) -> None:
    """A gate, an observer with a request, one that raises: the real loop, command and telemetry."""
    listener = listen()
    command = ("--source", "synthetic", "--model", rgb, "--broker", broker.address)
    running = daemon(*command, config=CONFIG, module="tests.plugged")
    online(broker)
    listener.wait_for(lambda: frames(listener) > 20)
    telemetry = newest(listener, "telemetry")
    assert telemetry["plugs"]["failed"] == ["broken"]
    assert telemetry["plugs"]["skipped_total"]["odd"] > 10
    assert telemetry["stages_ms"].keys() == {*Stages.NAMES, "odd", "counter"}
    parts = {"plugs": PlugFigures, "counter": Counted}
    promised = schema(parts, {"count": Count})
    jsonschema.validate(telemetry, promised["telemetry"])
    wrong = telemetry | {"counter": {"frames": "many", "changes": 0}}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(wrong, promised["telemetry"])
    assert promised["request/count"]["$defs"]["Count"]["properties"].keys() == {
        *("transaction", "least")
    }
    log = running.log.read_text()
    assert log.count("broken is switched off") == 1
    assert "RuntimeError: the third frame" in log
    asker = Asker(broker)
    assert asker.ask("count", {"least": 9})["data"] == {"enough": True}
    assert "least" in asker.ask("count", {"least": "x"})["error"]
    refused = asker.ask("count", {"least": -1})
    assert refused["error"] == "log: the request failed: ValueError: less than nothing"
    asker.ask("set", {"log": {"level": "info"}})
    assert "log is off; see [log]" in asker.ask("count")["error"]
    running.wait_for_log("the counter is closed")
    count = len(listener.payloads("telemetry"))
    listener.wait_for(lambda: len(listener.payloads("telemetry")) > count + 1)
    plain = newest(listener, "telemetry")
    assert not plain.keys() & {"plugs", "counter"}
    assert plain["stages_ms"].keys() == set(Stages.NAMES)
    asker.close()
    assert running.stop() == 0
    assert running.log.read_text().count("the counter is closed") == 1


def test_a_daemon_without_rooms_counts_skips_and_publishes_what_it_did(
    broker: PrivateBroker, listen: Callable[[], Listener], daemon: Callable[..., Daemon], rgb: Path
) -> None:
    """Pause is a gate, of which telemetry has neither part nor stage; every command is promised."""
    listener = listen()
    command = ("--source", "synthetic", "--model", rgb, "--broker", broker.address)
    daemon(*command, config=CONFIG)
    online(broker)
    asker = Asker(broker)
    assert asker.ask("nothing")["error"].endswith(f"expected one of {', '.join(REQUESTS)}")
    assert asker.ask("pause")["status"] == "ok"
    count = len(listener.payloads("telemetry"))
    listener.wait_for(lambda: len(listener.payloads("telemetry")) > count + 1)
    telemetry = newest(listener, "telemetry")
    assert telemetry["stages_ms"] == {}
    assert telemetry["fps"] > 0
    promised = schema()["telemetry"]["$defs"]["Telemetry"]["properties"].keys()
    assert telemetry.keys() == promised - PARTS.keys()
    before = len(listener.payloads("state"))
    listener.wait_for(lambda: len(listener.payloads("state")) > before + 2)  # the heartbeat
    assert newest(listener, "state")["paused"]
    asker.close()


def test_a_table_says_itself_that_a_request_can_change_it() -> None:
    """The payload of `set` has a key for each such table."""
    assert REQUESTS["set"].__struct_fields__ == ("transaction", "camera", *CHANGEABLE, "persist")


def test_bench_measures_every_plug(rgb: Path, tmp_path: Path) -> None:
    """A figure each, beside the daemon's whole path; the others are as without them."""
    (tmp_path / "edge.toml").write_text('[log]\nlevel = "debug"\n')
    arguments = ("bench", "--config", tmp_path / "edge.toml", "--source", "synthetic")
    done = edge(*arguments, "--model", rgb, "--frames", "50", "--json", module="tests.plugged")
    figures = json.loads(done.stdout.splitlines()[-1])
    own = {f"{name}_ms" for name in ("odd", "counter", "publish", "plugged_pipeline")}
    assert own <= figures.keys()
    assert figures["odd_ms"]["p50"] < figures["plugged_pipeline_ms"]["max"]


def test_stage_times_of_a_plug_are_those_of_a_stage() -> None:
    """The same record."""
    stages = Stages()
    stages.ring("probe").add(2_000_000)
    assert stages.percentiles_ms() == {"probe": StageTimes(2.0, 2.0, 2.0, 2.0)}
