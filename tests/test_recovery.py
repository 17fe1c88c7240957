"""Recovery with scripted cameras and a clock of the test's own: lost, brought back, given up.

`test_machine` has the state machine alone.
"""

from __future__ import annotations

import gc
import threading
import time
import weakref
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

from edge.background import Call
from edge.camera import policy, reconnect
from edge.camera.reconnect import Change, Policy, Recovery
from edge.errors import CameraError, ConfigError
from edge.frames import Camera, CameraMode, ControlValue, EndOfSource, Frame

GONE = CameraError("has gone", reason="gone", where="cam")
ABSENT = CameraError("is not there", reason="absent", where="cam")
PIXELS = np.zeros((2, 2, 3), np.uint8)
WAIT_S = 10.0


class Clock:
    """Time that goes by only where the test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds


class Scripted:
    """A camera that follows a script: a frame, silence, an error."""

    def __init__(
        self,
        script: list[object],
        first: int,
        clock: Clock,
        driver: str = "v4l2",
        fps: float = 30.0,
    ) -> None:
        self.mode = CameraMode(driver, "cam", 2, 2, fps, "bgr")
        self.corrupt_total = 1
        self.script, self.clock, self.sequence = script, clock, first
        self.closed = 0

    def read(self, timeout_s: float) -> Frame | None:
        """Take one step of the script; at its end there is silence."""
        step = self.script.pop(0) if self.script else None
        if isinstance(step, Exception):
            raise step
        self.clock.now += timeout_s
        if step is None:
            return None
        self.sequence += 1
        return Frame(self.sequence - 1, 0, PIXELS, "bgr")

    def still(self) -> Frame | None:
        """Every frame is whole."""
        return None

    def control(self, values: Mapping[str, ControlValue]) -> None:
        """Take any."""

    def close(self) -> None:
        """Count."""
        self.closed += 1


class HeldCall(Call[Any]):
    """A call without a thread: it runs when the test lets it, at once by default."""

    def __init__(self, call: Callable[[], Any], bench: Bench) -> None:
        self._call, self._bench, self.ended = call, bench, False
        self._raised = None

    def wait(self, timeout_s: float) -> bool:
        """Run the call unless it is held; time passes otherwise."""
        if self.ended:
            return True
        if self._bench.held:
            self._bench.clock.now += timeout_s
            return False
        try:
            self._result = self._call()
        except Exception as exc:
            self._raised = exc
        self.ended = True
        return True


class Bench:
    """Cameras by script, one after the other, and the changes that are reported.

    Nothing here sleeps or starts a thread. held: openings and closings do not end.
    """

    def __init__(
        self, *scripts: list[object] | CameraError, driver: str = "scripted", **policy: object
    ) -> None:
        self.scripts, self.clock = list(scripts), Clock()
        self.changes: list[Change] = []
        self.cameras: list[Scripted] = []
        self.open_at: list[float] = []
        self.driver, self.held = driver, False
        self.kept = self.recovery(self.open, **policy)

    def recovery(self, open: Callable[[int], Camera], **policy: object) -> Recovery:
        """Return what keeps a camera open, on this clock."""
        return Recovery(
            open,
            Policy(**policy),  # type: ignore[arg-type]
            self.changes.append,
            self.clock,
            chance=lambda: 1.0,
            sleep=self.clock.sleep,
            run=lambda call: HeldCall(call, self),
        )

    def open(self, first: int) -> Scripted:
        """Open the next camera, when none is open."""
        assert all(camera.closed for camera in self.cameras), "two cameras at once"
        self.open_at.append(self.clock.now)
        script = self.scripts.pop(0) if self.scripts else ABSENT
        if isinstance(script, CameraError):
            raise script
        self.cameras.append(Scripted(script, first, self.clock, self.driver))
        return self.cameras[-1]

    def until(self, condition: Callable[[], bool], steps: int = 20_000) -> list[Frame]:
        """Read until ``condition``; return the frames that came."""
        frames: list[Frame] = []
        for _ in range(steps):
            if condition():
                return frames
            frame = self.kept.read(0.2)
            if frame is not None:
                frames.append(frame)
        raise AssertionError(self.changes)

    def until_open(self) -> None:
        """Read until the first camera is open."""
        self.until(lambda: self.kept.mode is not None)

    @property
    def states(self) -> list[tuple[str, str]]:
        """The changes that are news: state and reason."""
        return [(c.state, c.error.reason if c.error else "") for c in self.changes if c.news]


def test_a_scripted_camera_follows_its_script() -> None:
    """The fake itself: frames in order, then an error, then silence that takes its time."""
    clock = Clock()
    camera = Scripted([1, GONE], 5, clock)
    frame = camera.read(0.5)
    assert frame is not None
    assert (frame.sequence, clock.now) == (5, 1000.5)
    with pytest.raises(CameraError):
        camera.read(0.5)
    assert camera.read(0.5) is None
    assert clock.now == 1001.0


def test_a_camera_that_goes_is_brought_back_and_both_are_reported_once() -> None:
    """Frames go on from the next number; failed tries in between are not news."""
    bench = Bench([1, 1, GONE], ABSENT, ABSENT, [1, 1])
    frames = bench.until(lambda: len(bench.states) == 2)
    frames += bench.until(lambda: not bench.cameras[1].script)
    assert bench.states == [("recovering", "gone"), ("online", "")]
    assert [(c.error.reason if c.error else "") for c in bench.changes] == ["gone", "absent", ""]
    assert bench.kept.corrupt_total == 2
    assert [frame.sequence for frame in frames] == [0, 1, 2, 3]
    assert bench.changes[-1].reopens == bench.kept.reopens_total == 3
    assert bench.changes[-1].outage_s > 1.0
    assert bench.cameras[0].closed == 1


def test_a_camera_that_went_is_freed_at_once() -> None:
    """Without a garbage collection, though its error is still held, as by a camera's own thread."""
    error = CameraError("has gone", reason="gone", where="cam")
    bench = Bench([1, error], [1, 1])
    bench.until_open()
    first = weakref.ref(bench.cameras[0])
    gc.disable()
    try:
        bench.until(lambda: len(bench.states) == 2)
        bench.cameras.pop(0)
        bench.until(lambda: not bench.cameras[0].script)
        assert first() is None
        assert bench.changes[0].error is error
    finally:
        gc.enable()


def test_a_camera_that_falls_silent_is_closed_and_opened() -> None:
    """After stall_timeout_s without a frame, not before."""
    bench = Bench([1], [1], stall_timeout_s=10.0)
    before = bench.clock.now
    bench.until(lambda: len(bench.changes) == 1)
    assert bench.states == [("recovering", "stalled")]
    assert 10.0 <= bench.clock.now - before <= 11.0
    bench.until(lambda: len(bench.changes) == 2)


def test_a_loop_that_was_busy_elsewhere_is_no_silence() -> None:
    """Only time spent waiting for a frame counts."""
    bench = Bench([1, 1, None, 1], stall_timeout_s=1.0)
    assert bench.until(lambda: bool(bench.cameras) and len(bench.cameras[0].script) == 3)
    bench.clock.now += 60.0
    assert len(bench.until(lambda: not bench.cameras[0].script)) == 2
    assert bench.kept.state == "online"


def test_tries_come_later_and_later() -> None:
    """Half a second, twice as long each time, a quarter of a minute at most."""
    bench = Bench([1, GONE], *[ABSENT] * 9, [1], max_reopens=100)
    bench.until(lambda: len(bench.states) == 2)
    waits = np.diff(bench.open_at[1:])
    assert waits == pytest.approx([1, 2, 4, 8, 15, 15, 15, 15, 15], abs=0.5)


def test_a_camera_that_keeps_failing_is_given_up() -> None:
    """One line names the last fault; `failed` is reported before it."""
    bench = Bench([1, GONE], max_reopens=3)
    with pytest.raises(CameraError, match="given up after 3 tries: got is not there"):
        bench.until(lambda: False)
    assert bench.states == [("recovering", "gone"), ("failed", "absent")]


def test_a_camera_that_comes_and_goes_is_given_up_too() -> None:
    """It is open each time, gives a frame, and goes."""
    bench = Bench(*[[1, GONE] for _ in range(20)], max_reopens=5)
    with pytest.raises(CameraError, match="given up after 5 tries"):
        bench.until(lambda: False)
    assert len(bench.cameras) == 6


def test_tries_of_long_ago_do_not_count() -> None:
    """One loss an hour for ever is no reason to end."""
    hour: list[object] = [1] * 30
    bench = Bench(*[[*hour, GONE] for _ in range(20)], [1], max_reopens=3, reopen_window_s=4.0)
    bench.until(lambda: len(bench.cameras) == 21)
    assert ("failed", "gone") not in bench.states


def test_a_first_try_that_fails_is_an_error_where_the_camera_is_required() -> None:
    """At the start somebody is watching."""
    bench = Bench(ABSENT)
    with pytest.raises(CameraError, match="is not there"):
        bench.until(lambda: bench.kept.settled)
    assert not bench.changes


def test_a_camera_that_is_not_required_may_come_late() -> None:
    """The start ends with the first failure; tries go on for ever, and `failed` is reported."""
    bench = Bench(*[ABSENT] * 30, [1], required=False, max_reopens=5)
    bench.until(lambda: bench.kept.settled)
    assert bench.kept.state == "recovering"
    bench.until(lambda: bench.kept.state == "online")
    assert bench.states == [("recovering", "absent"), ("failed", "absent"), ("online", "")]
    assert bench.kept.mode is not None
    assert bench.kept.error is None


def test_what_is_recorded_does_not_come_back() -> None:
    """The end of a film is its end, and a fault in it stays."""
    for fault in (EndOfSource(), CameraError("broken")):
        bench = Bench([1, fault], driver="file")
        bench.until_open()
        assert bench.kept.read(0.1)
        with pytest.raises(type(fault)):
            bench.kept.read(0.1)
        assert not bench.changes


def test_a_folder_that_is_not_required_is_tried_again() -> None:
    """It may be renamed for a moment, or hold nothing but broken pictures for a while."""
    fault = CameraError("the folder cannot be read any more", reason="gone")
    bench = Bench([1, fault], [1], driver="images", required=False)
    bench.until(lambda: bench.states == [("recovering", "gone"), ("online", "")])


def test_chance_takes_up_to_half_of_a_wait() -> None:
    """A fleet does not come back all at once."""
    assert (policy.wait_s(3, 0.0), policy.wait_s(3, 1.0)) == (2.0, 4.0)
    assert policy.wait_s(500, 1.0) == policy.LONGEST_WAIT_S


def test_after_a_minute_of_frames_a_loss_counts_as_the_first() -> None:
    """The next try comes as soon as after the first loss."""
    steady: list[object] = [1] * 400
    bench = Bench([1, GONE], ABSENT, ABSENT, [*steady, GONE], [1], max_reopens=100)
    bench.until(lambda: len(bench.states) == 4)
    lost_s = bench.open_at[3] + 400 * 0.2
    assert bench.open_at[4] - lost_s == pytest.approx(0.5, abs=0.3)


def test_tries_without_success_count_however_long_they_take() -> None:
    """Each opening lasts longer than the window is wide for ten of them."""
    bench = Bench([1, GONE], max_reopens=5, reopen_window_s=10.0)
    bench.until_open()

    def slow(first: int) -> Scripted:
        bench.clock.now += 20.0
        return bench.open(first)

    bench.kept.want(slow)
    with pytest.raises(CameraError, match="given up after 5 tries"):
        bench.until(lambda: False)


def test_a_slow_camera_is_not_silent_between_its_frames() -> None:
    """One frame in ten seconds, and a time-out of two."""
    bench = Bench()
    slow = Scripted([1, *[None] * 40, 1], 0, bench.clock, fps=0.1)
    bench.kept = bench.recovery(lambda _: slow, stall_timeout_s=2.0)
    assert len(bench.until(lambda: not slow.script)) == 2
    assert not bench.changes


def test_another_size_of_the_picture_is_reported() -> None:
    """The camera goes on by itself; `mode` is the new one."""
    bench = Bench([1, 1, 1])
    bench.until(lambda: bool(bench.cameras) and len(bench.cameras[0].script) == 2)
    bench.cameras[0].mode = CameraMode("v4l2", "cam", 4, 4, 30.0, "bgr")
    bench.until(lambda: not bench.cameras[0].script)
    assert bench.states == [("online", "changed")]
    assert bench.kept.mode is bench.cameras[0].mode


def test_a_camera_with_other_settings_is_opened_again_at_once() -> None:
    """No loss, no try that counts; the numbers go on."""
    bench = Bench([1, 1], [1], max_reopens=0)
    frames = bench.until(lambda: bool(bench.cameras) and not bench.cameras[0].script)
    bench.kept.reopen()
    frames += bench.until(lambda: len(bench.cameras) == 2 and not bench.cameras[1].script)
    assert [frame.sequence for frame in frames] == [0, 1, 2]
    assert bench.cameras[0].closed == 1
    assert (bench.kept.reopens_total, bench.changes) == (0, [])


class Settings:
    """What opens a camera with settings of a name, and which of them were opened."""

    def __init__(self, bench: Bench) -> None:
        self.bench, self.opened = bench, list[str]()

    def __call__(self, name: str) -> Callable[[int], Scripted]:
        """Return what opens a camera with the settings ``name``."""

        def open(first: int) -> Scripted:
            self.opened.append(name)
            return self.bench.open(first)

        return open


def until_reopening(bench: Bench, settings: Settings, name: str) -> list[Frame]:
    """Read until the camera is lost and another opening, with these settings, is held."""
    bench.until_open()
    bench.kept.want(settings(name))
    frames = bench.until(lambda: bench.kept.state == "recovering")
    bench.until(lambda: bench.cameras[0].closed == 1)
    bench.held = True
    frames += bench.until(lambda: bench.kept.reopens_total == 1)
    return frames


def test_an_opening_is_stale_when_the_settings_have_changed() -> None:
    """The camera is closed and opened again with the new ones; no frame comes of the old ones."""
    bench = Bench([1, GONE], [9], [1, 1], max_reopens=1)
    settings = Settings(bench)
    frames = until_reopening(bench, settings, "old")
    bench.kept.want(settings("new"))
    bench.held = False
    frames += bench.until(lambda: len(bench.cameras) == 3 and not bench.cameras[2].script)
    assert settings.opened == ["old", "new"]
    assert bench.cameras[1].script == [9]  # no frame was read
    assert bench.cameras[1].closed == 1
    assert [frame.sequence for frame in frames] == [0, 1, 2]
    assert bench.states == [("recovering", "gone"), ("online", "")]
    assert bench.kept.reopens_total == 1, "a stale opening is not a try more"


def test_the_newest_of_many_settings_is_opened() -> None:
    """Not each of them in turn; and a stale opening is no failed try."""
    bench = Bench([1, GONE], [9], [1], max_reopens=1)
    settings = Settings(bench)
    until_reopening(bench, settings, "0")
    for number in range(1, 20):
        bench.kept.want(settings(str(number)))
        bench.kept.read(0.2)
    bench.held = False
    bench.until(lambda: bench.kept.state == "online")
    assert settings.opened == ["0", "19"]


def test_a_stale_opening_that_fails_is_tried_again_with_the_new_settings() -> None:
    """After the usual wait."""
    bench = Bench([1, GONE], ABSENT, [1])
    settings = Settings(bench)
    until_reopening(bench, settings, "old")
    bench.kept.want(settings("new"))
    bench.held = False
    bench.until(lambda: bench.kept.state == "online")
    assert settings.opened == ["old", "new"]


def test_settings_that_change_while_the_old_camera_is_closed_are_opened() -> None:
    """Closing may take long, too."""
    bench = Bench([1, 1, GONE], [1])
    settings = Settings(bench)
    bench.until_open()
    bench.held = True
    bench.until(lambda: bench.kept.state == "recovering")
    bench.kept.read(0.2)
    assert bench.cameras[0].closed == 0
    bench.kept.want(settings("new"))
    bench.held = False
    bench.until(lambda: bench.kept.state == "online")
    assert settings.opened == ["new"]


def test_an_open_camera_stays_open_until_it_is_opened_again() -> None:
    """New settings alone close nothing."""
    bench = Bench([1, 1, 1], [1])
    settings = Settings(bench)
    bench.until_open()
    bench.kept.want(settings("new"))
    bench.until(lambda: not bench.cameras[0].script)
    assert (settings.opened, bench.cameras[0].closed) == ([], 0)
    bench.kept.reopen()
    bench.until(lambda: len(bench.cameras) == 2 and not bench.cameras[1].script)
    assert settings.opened == ["new"]


def test_a_fault_of_another_kind_at_a_reopening_is_a_failed_try() -> None:
    """A password file that is gone now must not end a daemon that works."""
    bench = Bench([1, GONE], required=False)
    bench.until(lambda: len(bench.states) == 1)

    def broken(first: int) -> Scripted:
        raise ConfigError("password file cannot be read")

    bench.kept.want(broken)
    bench.until(lambda: bench.kept.reopens_total >= 2)
    assert bench.kept.state == "recovering"
    assert "password file" in str(bench.kept.error)


def test_an_opening_that_hangs_does_not_end_a_daemon_that_needs_no_camera() -> None:
    """It waits for as long as that takes, reports it once, and goes on when it has ended."""
    bench = Bench([1, GONE], [1], required=False)
    until_reopening(bench, Settings(bench), "any")
    bench.until(lambda: bench.kept.state == "failed")
    before = len(bench.open_at)
    bench.clock.now += 1000.0
    bench.kept.read(0.2)
    assert len(bench.open_at) == before
    bench.held = False
    bench.until(lambda: bench.kept.state == "online")
    assert [state for state, _ in bench.states] == ["recovering", "failed", "online"]


def test_a_start_need_not_wait_for_a_camera_that_is_not_required() -> None:
    """`recovering` is reported, and the camera comes when it comes."""
    bench = Bench([1, 1], required=False)
    bench.held = True
    bench.kept.read(0.2)
    assert not bench.kept.settled
    bench.kept.go_on_without()
    assert bench.kept.settled
    assert bench.states == [("recovering", "absent")]
    bench.held = False
    bench.until(lambda: bench.kept.state == "online")


def test_an_opening_that_hangs_ends_a_daemon_that_needs_the_camera() -> None:
    """No second camera is opened beside the one that hangs."""
    bench = Bench([1, GONE])
    until_reopening(bench, Settings(bench), "any")
    before = bench.clock.now
    with pytest.raises(CameraError, match="its driver has not answered for"):
        bench.until(lambda: False)
    assert bench.clock.now - before == pytest.approx(policy.STUCK_S + 10.0, abs=1.0)
    assert len(bench.open_at) == 1


@pytest.mark.parametrize("required", [True, False])
def test_a_closing_that_hangs_ends_the_process(required: bool) -> None:
    """Whether the camera is required or not: no other can be opened."""
    bench = Bench([1, GONE], required=required)
    bench.until_open()
    bench.held = True
    with pytest.raises(CameraError, match="its driver has not answered for"):
        bench.until(lambda: False)
    assert len(bench.open_at) == 1


def test_an_error_of_another_kind_is_not_hidden() -> None:
    """A fault in this program is not taken for one of the camera."""
    bench = Bench()
    nothing: dict[int, Scripted] = {}
    bench.kept = bench.recovery(lambda first: nothing[first], required=False)
    with pytest.raises(KeyError):
        bench.until(lambda: False)


def test_a_request_to_a_camera_that_is_away_is_refused() -> None:
    """In one line that names the state."""
    bench = Bench(ABSENT, required=False)
    bench.until(lambda: bench.kept.settled)
    with pytest.raises(CameraError, match="not there now"):
        bench.kept.control({"gain": 2.0})
    with pytest.raises(CameraError, match="not there now"):
        bench.kept.still()


def test_the_end_closes_what_is_open_or_just_being_opened() -> None:
    """Nothing is left open."""
    bench = Bench([1])
    bench.kept.close()
    assert [camera.closed for camera in bench.cameras] == [1]
    bench.kept.close()
    assert [camera.closed for camera in bench.cameras] == [1]


def test_the_end_waits_for_a_hanging_driver_no_longer_than_a_second() -> None:
    """For the opening; and for the closing, if one has begun."""
    bench = Bench([1])
    bench.held = True
    before = bench.clock.now
    bench.kept.close()
    assert bench.clock.now - before == reconnect.CLOSE_S
    bench = Bench([1, GONE])
    bench.until_open()
    bench.held = True
    bench.until(lambda: bench.kept.state == "recovering")
    before = bench.clock.now
    bench.kept.close()
    assert bench.clock.now - before == reconnect.CLOSE_S


def test_openings_and_closings_run_on_threads_of_their_own() -> None:
    """With real threads and the real clock: neither holds up the caller."""
    bench, free = Bench(), threading.Event()
    threads: list[str] = []

    class Slow(Scripted):
        def close(self) -> None:
            threads.append(threading.current_thread().name)
            super().close()

    def late(first: int) -> Slow:
        threads.append(threading.current_thread().name)
        assert free.wait(WAIT_S)
        return Slow([1, GONE], first, bench.clock)

    kept = Recovery(late, Policy(), bench.changes.append)
    assert kept.read(0.0) is None
    assert not kept.settled
    free.set()
    deadline_s = time.monotonic() + WAIT_S
    while not bench.changes and time.monotonic() < deadline_s:
        kept.read(0.2)
    kept.close()
    assert bench.states == [("recovering", "gone")]
    assert threads == ["camera", "camera"]
