"""The motion gate: the label changes as without it, and what stands still is not classified."""

from __future__ import annotations

import contextlib
import json
import time
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import cv2
import msgspec
import numpy as np
import pytest

from deploy.broker import PrivateBroker
from deploy.demo import make_clip
from edge import config as configs
from edge.camera.spec import CameraSpec
from edge.config import AdaptiveConfig, CameraConfig, Config, SmoothingConfig
from edge.contract import MotionFigures, encode
from edge.daemon.compose import plug
from edge.daemon.framepath import FramePath
from edge.daemon.run import Run
from edge.frames import (
    Classified,
    EndOfSource,
    Frame,
    FrameTimes,
    InvalidScores,
    PixelFormat,
    Prediction,
    View,
)
from edge.gates.luma import Sampler, blocks
from edge.gates.motion import MotionGate
from edge.messages import Message
from edge.model import engine as engines
from edge.model.engine import Engine
from edge.telemetry import Stages
from tests import quiet_scenes
from tests.conftest import Daemon, Listener, edge
from tests.quiet_scenes import FPS, SCENES
from tests.test_control import Asker, newest, online

LATE_FRAMES = 4
"""0.3 s of 15 frames a second."""

Events = list[tuple[str | None, str | None, int]]
"""Label before, label after, number of the frame."""


@cache
def catdog() -> Engine:
    """Return the shipped model."""
    return engines.start(Config().model)


@dataclass(frozen=True)
class Played:
    """What became of some frames on the daemon's own path."""

    events: Events
    skipped: Counter[str]
    frames: int
    motion: MotionFigures | None

    @property
    def share(self) -> float:
        """Of the frames, those that were skipped."""
        return self.skipped.total() / self.frames


def play(frames: Iterable[Frame], motion: bool, smoothing: SmoothingConfig | None = None) -> Played:
    """Put frames through the daemon's path, with their own times: no clock decides."""
    config = msgspec.structs.replace(
        Config(),
        adaptive=AdaptiveConfig(motion=motion),
        smoothing=smoothing or SmoothingConfig(),
    )
    events: Events = []

    def publish(message: Message) -> None:
        if message.topic.endswith("/event"):
            event = json.loads(message.payload)
            events.append((event["before"], event["after"], event["evidence"]["frame"]))

    wire = encode.Wire("edge/t", catdog().card.labels, "t", time.time)
    stages = Stages()
    with contextlib.ExitStack() as closing:
        run = Run(config, catdog())
        plugged = plug(run, wire, publish, lambda _: None, stages, closing)
        path = FramePath(run, plugged.plugs, stages, plugged.publishing)
        for frame in frames:
            path.process(frame, 0)
        assert plugged.plugs.failed == ()
        part = plugged.plugs.parts().get("motion")
    return Played(events, run.skipped_total, run.frames_total, cast("MotionFigures | None", part))


def delays(without: Played, gated: Played) -> list[int]:
    """Return by how many frames each event came later; the events are the same."""
    assert [event[:2] for event in gated.events] == [event[:2] for event in without.events]
    return [late[2] - own[2] for own, late in zip(without.events, gated.events, strict=True)]


CHANGES = {"still": 1, "dark": 5, "small": 8, "exposure": 3, "dusk": 3, "fade": 2}
"""Events of a scene; of the others three: the first label, an animal comes, it goes."""
SKIPPED = {
    "still": 0.85, "slow entry": 0.15, "small": 0.5, "dark": 0.45, "flicker": 0.65,
    "slow flicker": 0.4, "exposure": 0.65, "lamp": 0.6, "dusk": 0.8, "fade": 0.4,
}  # fmt: skip
"""Scene -> share of its frames that is skipped at least."""


@pytest.mark.parametrize("name", SCENES)
def test_the_label_changes_as_without_the_gate(name: str) -> None:
    """At most 0.3 s later, whatever moves, however slowly, and whatever the light does."""
    scene, noise = SCENES[name]
    without = play(quiet_scenes.frames(scene(), noise=noise), motion=False)
    gated = play(quiet_scenes.frames(scene(), noise=noise), motion=True)
    assert len(without.events) == CHANGES.get(name, 3)
    assert all(0 <= late <= LATE_FRAMES for late in delays(without, gated))
    assert without.share == 0
    assert gated.share >= SKIPPED[name]


@pytest.mark.parametrize(
    "smoothing",
    [
        SmoothingConfig(window=1, hold_frames=1),
        SmoothingConfig(window=30, hold_frames=10),
        SmoothingConfig(method="exponential"),
        SmoothingConfig(enter=0.95, exit=0.9),
    ],
    ids=["none", "long", "exponential", "strict"],
)
def test_it_waits_for_whatever_the_smoothing_needs(smoothing: SmoothingConfig) -> None:
    """The gate stays open until the window is at rest, however long that is."""
    without = play(quiet_scenes.frames(quiet_scenes.small()), False, smoothing)
    gated = play(quiet_scenes.frames(quiet_scenes.small()), True, smoothing)
    assert len(without.events) > 2
    assert all(0 <= late <= LATE_FRAMES for late in delays(without, gated))


def demo_clip() -> Iterator[Frame]:
    """Yield the frames of the demo clip, with the times of the film."""
    config = CameraConfig(source=str(make_clip.HERE / "clip.mp4"), pace="fast", loop=False)
    camera = CameraSpec(config).open()
    try:
        for number in range(10**6):
            frame = camera.read(10.0)
            assert frame is not None
            yield replace(frame, captured_ns=10**9 + number * 10**9 // FPS)
    except EndOfSource:
        pass
    finally:
        camera.close()


def test_on_the_demo_clip_every_event_is_at_its_frame() -> None:
    """It moves all the time: nothing may be lost, and nothing is gained."""
    without, gated = play(demo_clip(), motion=False), play(demo_clip(), motion=True)
    assert len(without.events) > 10
    assert all(0 <= late <= LATE_FRAMES for late in delays(without, gated))


WINDOW = SmoothingConfig(window=3, hold_frames=2)
REST = 5
"""Frames that agree, until the gate may close with that window."""


class Bench:
    """A gate alone, on pictures that the test draws and scores that it makes up."""

    def __init__(self, max_skip_s: float = 5.0) -> None:
        self.window = SimpleNamespace(
            settings=WINDOW, full=True, thresholds=configs.Thresholds(0.6, "config", 0.4, "config")
        )
        adaptive = AdaptiveConfig(motion=True, max_skip_s=max_skip_s)
        self.gate = MotionGate(adaptive, ("cat", "dog"), lambda: cast(Any, self.window))
        self.pixels = np.full((48, 64, 3), 90, np.uint8)
        self.number, self.ns = 0, 10**9

    def frame(
        self,
        own: float = 0.9,
        label: str | None = "cat",
        smoothed: float = 0.9,
        partial: bool = False,
        invalid: bool = False,
    ) -> str:
        """Give it a frame; classify it unless it is skipped. Return "" or why not."""
        self.number += 1
        self.ns += -(-(10**9) // FPS)
        frame = Frame(self.number, self.ns, self.pixels, "bgr")
        reason = self.gate.skip(frame)
        if not reason:
            scores = np.array([own, 1 - own], np.float32)
            said: Prediction | InvalidScores = Prediction(
                self.number, self.ns, label, smoothed, (smoothed, 1 - smoothed), 1, partial
            )
            said = InvalidScores("so") if invalid else said
            times = FrameTimes(1, 1, 1)
            self.gate.classified(Classified(frame, scores, said, None, None, times, self.ns))
        return reason

    def frames(self, number: int, **how: Any) -> list[str]:
        """Give it so many, all alike; return why each was let pass, or "still"."""
        return [self.frame(**how) or self.gate._why for _ in range(number)]


def test_it_closes_once_the_window_is_at_rest() -> None:
    """After as many frames as window and hold have, and no earlier."""
    bench = Bench()
    assert bench.frames(REST + 2) == ["first", *["settling"] * (REST - 1), "still", "still"]


@pytest.mark.parametrize(
    "how",
    [
        {"own": 0.3},
        {"smoothed": 0.3},
        {"label": None, "own": 0.7, "smoothed": 0.5},
        {"label": None, "own": 0.5, "smoothed": 0.7},
        {"label": None, "own": 0.3, "smoothed": 0.5},
        {"partial": True},
        {"invalid": True},
    ],
)
def test_it_does_not_close_while_the_label_may_change(how: dict[str, Any]) -> None:
    """A frame that by itself says something else, a window that is not full, no scores."""
    bench = Bench()
    assert "still" not in bench.frames(20, **how)
    assert bench.frames(REST)[-1] != "still"
    assert bench.frame() == "still"


def test_without_a_label_it_closes_where_no_frame_would_begin_one() -> None:
    """Uncertain is a result as well."""
    assert Bench().frames(REST + 1, label=None, own=0.5, smoothed=0.5)[-1] == "still"


def test_a_frame_is_classified_every_max_skip_s_and_can_open_the_gate() -> None:
    """Whatever the picture looks like: what the model says of it counts."""
    bench = Bench(max_skip_s=1.0)
    bench.frames(REST)
    assert bench.frames(2 * FPS) == [*["still"] * (FPS - 1), "time"] * 2
    assert bench.frames(FPS, own=0.3) == [*["still"] * (FPS - 1), "time"]
    assert bench.frames(REST + 1) == [*["settling"] * REST, "still"]


def test_a_source_whose_time_jumps_is_classified() -> None:
    """Backwards, or far ahead: the next frame is compared as ever."""
    bench = Bench()
    bench.frames(REST)
    bench.ns -= 10**12
    assert bench.frames(2) == ["time", "still"]
    bench.ns += 10**12
    assert bench.frames(2) == ["time", "still"]


def test_motion_opens_it_until_the_window_is_uniform_again() -> None:
    """A twentieth of the picture, four levels brighter."""
    bench = Bench()
    bench.frames(REST + 1)
    bench.pixels[:12, :16] += 4
    assert bench.frames(REST + 1) == ["motion", *["settling"] * (REST - 1), "still"]


def test_what_comes_in_slowly_is_compared_with_the_last_classified_frame() -> None:
    """One level every ten frames: none differs from the one before."""
    bench = Bench()
    bench.frames(REST + 1)
    passed = []
    for level in range(8):
        bench.pixels[12:24, 16:20] = 90 + level
        passed += bench.frames(10)
    assert passed.count("motion") == 3
    assert passed.index("motion") == 20


def test_light_is_looked_at_once_and_no_longer_than_it_takes_to_confirm() -> None:
    """Eight per cent brighter: the label is confirmed by ``hold_frames``; less the next time."""
    bench = Bench()
    bench.frames(REST + 1)
    bench.pixels[:] = 97
    assert bench.frames(3) == ["light", "settling", "still"]
    bench.pixels[:] = 104
    assert bench.frames(1) == ["still"], "eight per cent were harmless"
    bench.pixels[:] = 120
    assert bench.frames(3, own=0.3) == ["light", "settling", "settling"]
    bench.frames(REST + 3)
    bench.pixels[:] = 130
    assert bench.frames(1) == ["light"], "eight per cent are something again"


def test_a_new_smoothing_and_an_empty_window_open_it() -> None:
    """By a request, and by a camera that was away."""
    bench = Bench()
    bench.frames(REST + 1)
    bench.window.settings = SmoothingConfig(window=4, hold_frames=2)
    assert bench.frames(REST + 2) == [*["settling"] * (REST + 1), "still"]
    bench.window.full = False
    assert bench.frame() == ""
    bench.window.full = True
    assert bench.frame() == "still"


LAYOUTS: dict[PixelFormat, tuple[int, ...]] = {
    "bgr": (48, 64, 3), "rgb": (48, 64, 3), "gray": (48, 64), "yuyv": (48, 64, 2),
    "i420": (72, 64), "nv12": (72, 64),
}  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
def test_in_every_layout_it_looks_at_the_brightness_of_the_part_in_use(layout: PixelFormat) -> None:
    """Not at chroma, nor at what ``roi`` leaves out, however the camera is turned."""
    pixels = np.full(LAYOUTS[layout], 90, np.uint8)
    pixels[24:48, 32:64] = 200
    lower_right = View(rotation=180, roi=(0.0, 0.0, 0.5, 0.5))
    assert (Sampler()(Frame(1, 1, pixels, layout, lower_right)) == 200).all()
    assert Sampler()(Frame(1, 1, pixels, layout)).mean() == pytest.approx(117.5)


@pytest.mark.parametrize(
    "shape", [(480, 640), (1080, 1920), (191, 255), (10, 3), (1, 1), (16, 5000)]
)
def test_any_size_is_sampled_evenly_and_nearly_whole(shape: tuple[int, int]) -> None:
    """No more than a tenth of a side is left out, in equal parts at its ends."""
    picture = np.arange(shape[0] * shape[1], dtype=np.float64).reshape(shape)
    marked = np.zeros((*shape, 3))
    marked[..., 1] = picture
    picked = Sampler()(Frame(1, 1, cast(Any, marked), "bgr"))
    rows, columns = np.unique(picked // shape[1]), np.unique(picked % shape[1])
    high, wide = blocks(len(rows), len(columns))
    assert (len(rows) % high, len(columns) % wide) == (0, 0)
    assert min(high, wide) >= min(8, *shape)
    for found, length in ((rows, shape[0]), (columns, shape[1])):
        step = (found[1] - found[0]) if len(found) > 1 else 1
        assert (np.diff(found) == step).all()
        assert len(found) * step >= 0.89 * length
        assert abs(found[0] - (length - 1 - found[-1])) <= step
    gate = Bench().gate
    frame = Frame(1, 10**9, np.zeros((*shape, 3), np.uint8), "bgr")
    assert [gate.skip(frame), gate.skip(frame)] == ["", ""]


def test_a_camera_that_changes_its_size_begins_again() -> None:
    """Nothing is compared with a picture of another size."""
    bench = Bench()
    bench.frames(REST + 1)
    bench.pixels = np.full((96, 128, 3), 90, np.uint8)
    assert bench.frames(2) == ["first", "settling"]


def test_a_frame_allocates_nothing_of_its_size() -> None:
    """Of six megabytes it takes numpy's buffer for a conversion of types, 32 KB."""
    gate = Bench(max_skip_s=5.0).gate
    pictures = [np.random.default_rng(seed).integers(0, 255, (1080, 1920, 3), np.uint8)
                for seed in (1, 2)]  # fmt: skip
    for number in range(4):
        gate.skip(Frame(number, 10**9 + number, pictures[number % 2], "bgr"))
        gate._change.keep()
    tracemalloc.start()
    try:
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        for number in range(20):
            gate.skip(Frame(number, 10**9 + number, pictures[number % 2], "bgr"))
            gate._change.keep()
        assert tracemalloc.get_traced_memory()[1] - before < 40_000
    finally:
        tracemalloc.stop()


CONFIG = """
[device]
id = "wall"
[camera]
fps = 20
[adaptive]
motion = true
[publish]
telemetry_interval_s = 0.5
state_interval_s = 0.3
[snapshot]
enabled = true
[homeassistant]
discovery = true
"""


def test_a_daemon_before_a_still_scene(
    broker: PrivateBroker,
    listen: Callable[[], Listener],
    daemon: Callable[..., Daemon],
    tmp_path: Path,
    rgb: Path,
) -> None:
    """It skips, says how much, repeats its state, answers; a request switches the gate off."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    cv2.imwrite(str(folder / "red.png"), np.full((48, 64, 3), (0, 0, 200), np.uint8))
    listener = listen()
    command = ("--source", folder, "--model", rgb, "--broker", broker.address)
    running = daemon(*command, config=CONFIG)
    online(broker)

    def part() -> dict[str, Any]:
        telemetry: dict[str, Any] = newest(listener, "telemetry") or {}
        return dict(telemetry.get("motion", {}))

    listener.wait_for(lambda: "time" in part().get("classified_total", {}))
    telemetry = newest(listener, "telemetry")
    assert telemetry["plugs"] == {"skipped_total": {"still": part()["skipped_total"]}, "failed": []}
    assert not telemetry["camera_problem"]
    assert telemetry["stages_ms"]["motion"]["p50"] > 0
    assert 0 < part()["skipped_share"] < 1
    assert (
        {"first", "settling", "time"}
        <= part()["classified_total"].keys()
        <= {*("first", "settling", "time", "motion")}
    )
    states = len(listener.payloads("state"))
    listener.wait_for(lambda: len(listener.payloads("state")) > states + 2)
    assert newest(listener, "state")["label"] == "red"
    asker = Asker(broker)
    assert asker.ask("snapshot")["data"]["bytes"] > 0
    assert "adaptive.max_skip_s" in asker.ask("set", {"adaptive": {"max_skip_s": 60}})["error"]
    assert asker.ask("set", {"adaptive": {"motion": False}})["status"] == "ok"
    count = len(listener.payloads("telemetry"))
    listener.wait_for(lambda: len(listener.payloads("telemetry")) > count + 1)
    assert "motion" not in newest(listener, "telemetry")
    asker.close()
    assert running.stop() == 0


def test_bench_counts_what_the_gate_skips(tmp_path: Path, rgb: Path) -> None:
    """One picture: the gate has its own figure, and most frames are skipped."""
    cv2.imwrite(str(tmp_path / "red.png"), np.full((48, 64, 3), (0, 0, 200), np.uint8))
    (tmp_path / "edge.toml").write_text("[adaptive]\nmotion = true\n")
    arguments = ("bench", "--config", tmp_path / "edge.toml", "--source", tmp_path / "red.png")
    done = edge(*arguments, "--model", rgb, "--frames", "50", "--json")
    figures = json.loads(done.stdout.splitlines()[-1])
    assert figures["motion_ms"]["p50"] > 0
    assert figures["plugged_skipped"].keys() == {"still"}
    assert figures["plugged_skipped"]["still"] >= 40
