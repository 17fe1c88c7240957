"""A camera is lost, brought back, and given up in the end; with a clock of the test's own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping

import numpy as np
import pytest

from edge.camera import policy, reconnect
from edge.camera.reconnect import Change, Policy, Recovery
from edge.errors import CameraError, ConfigError
from edge.frames import CameraMode, ControlValue, EndOfSource, Frame

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


class Scripted:
    """A camera that gives what it is told to: a number of frames, silence, an error."""

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
        self.hang: Callable[[], None] = self._at_once

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

    def control(self, wanted: Mapping[str, ControlValue]) -> None:
        """Take any."""

    def close(self) -> None:
        """Count."""
        self.hang()
        self.closed += 1

    def _at_once(self) -> None:
        pass


class Bench:
    """Cameras by script, one after the other, and what is told of them."""

    def __init__(self, *scripts: list[object] | CameraError, **policy: object) -> None:
        self.scripts, self.clock = list(scripts), Clock()
        self.changes: list[Change] = []
        self.cameras: list[Scripted] = []
        self.open_at: list[float] = []
        self.driver = "scripted"
        self.kept = Recovery(
            self.open,
            Policy(**policy),  # type: ignore[arg-type]
            self.changes.append,
            self.clock,
            lambda: 1.0,
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

    def step(self, timeout_s: float = 0.2) -> Frame | None:
        """Read once; time goes by while there is no camera too."""
        frame = self.kept.read(0.0 if self.kept._camera is None else timeout_s)
        if self.kept._camera is None:
            self.clock.now += 0.1
            time.sleep(0.001)  # lets the thread that opens go on
        return frame

    def until(self, condition: Callable[[], bool], steps: int = 20_000) -> list[Frame]:
        """Read until ``condition``; return the frames that came."""
        frames: list[Frame] = []
        for _ in range(steps):
            if condition():
                return frames
            frame = self.step()
            if frame is not None:
                frames.append(frame)
        raise AssertionError(self.changes)

    @property
    def states(self) -> list[tuple[str, str]]:
        """What was told as news: state and reason."""
        return [(c.state, c.error.reason if c.error else "") for c in self.changes if c.news]


def test_a_scripted_camera_does_what_it_is_told() -> None:
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


def test_a_camera_that_goes_is_brought_back_and_both_are_told_once() -> None:
    """Frames go on from the next number; nothing is said of tries that failed meanwhile."""
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
    """One line names the last fault; before it, `failed` is told."""
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
    """At the start somebody is looking."""
    bench = Bench(ABSENT)
    with pytest.raises(CameraError, match="is not there"):
        bench.until(lambda: bench.kept.settled)
    assert not bench.changes


def test_a_camera_that_is_not_required_may_come_late() -> None:
    """The start is over with the first failure; it is tried for ever, and told as failed."""
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
        bench = Bench()
        film = Scripted([1, fault], 0, bench.clock, "file")
        kept = Recovery(lambda _, film=film: film, Policy(), bench.changes.append, bench.clock)  # type: ignore[misc]
        while not kept.settled:
            kept.read(0.01)
        assert kept.read(0.1)
        with pytest.raises(type(fault)):
            kept.read(0.1)
        assert not bench.changes


def test_a_folder_that_is_not_required_is_tried_again() -> None:
    """It may be renamed for a moment, or hold nothing but broken pictures for a while."""
    fault = CameraError("the folder cannot be read any more", reason="gone")
    bench = Bench([1, fault], [1], required=False)
    bench.driver = "images"
    bench.until(lambda: bench.states == [("recovering", "gone"), ("online", "")])


def test_chance_takes_up_to_half_of_a_wait() -> None:
    """A fleet does not come back all at once."""
    assert (policy.wait_s(3, 0.0), policy.wait_s(3, 1.0)) == (2.0, 4.0)
    assert policy.wait_s(500, 1.0) == policy.LONGEST_WAIT_S
    assert 0.0 <= Recovery(lambda _: Scripted([], 0, Clock()), Policy(), print)._chance() <= 1.0


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
    bench.until(lambda: bench.kept._camera is not None)
    real = bench.open

    def slow(first: int) -> Scripted:
        bench.clock.now += 20.0
        return real(first)

    bench.kept._open = slow
    with pytest.raises(CameraError, match="given up after 5 tries"):
        bench.until(lambda: False)


def test_a_slow_camera_is_not_silent_between_its_frames() -> None:
    """One frame in ten seconds, and a time-out of two."""
    bench = Bench(CameraError("later"), required=False)
    slow = Scripted([1, *[None] * 40, 1], 0, bench.clock, fps=0.1)
    policy = Policy(stall_timeout_s=2.0)
    bench.kept = Recovery(lambda _: slow, policy, bench.changes.append, bench.clock)
    assert len(bench.until(lambda: not slow.script)) == 2
    assert not bench.changes


def test_another_size_of_the_picture_is_told() -> None:
    """The camera goes on by itself; what it gives is known anew."""
    bench = Bench([1, 1, 1])
    bench.until(lambda: bool(bench.cameras) and len(bench.cameras[0].script) == 2)
    bench.cameras[0].mode = CameraMode("v4l2", "cam", 4, 4, 30.0, "bgr")
    bench.until(lambda: not bench.cameras[0].script)
    assert bench.states == [("online", "changed")]
    assert bench.kept.mode is bench.cameras[0].mode


def test_what_is_wanted_otherwise_is_opened_anew_at_once() -> None:
    """No loss, no try that counts; the numbers go on."""
    bench = Bench([1, 1], [1], max_reopens=0)
    frames = bench.until(lambda: bool(bench.cameras) and not bench.cameras[0].script)
    bench.kept.reopen()
    frames += bench.until(lambda: len(bench.cameras) == 2 and not bench.cameras[1].script)
    assert [frame.sequence for frame in frames] == [0, 1, 2]
    assert bench.cameras[0].closed == 1
    assert (bench.kept.reopens_total, bench.changes) == (0, [])


class Wishes:
    """Openings that come back when the test lets them, and what each was asked for."""

    def __init__(self, bench: Bench) -> None:
        self.bench, self.free = bench, threading.Event()
        self.asked: list[str] = []

    def __call__(self, wish: str) -> Callable[[int], Scripted]:
        """Return what opens a camera as ``wish`` says, once it may."""

        def open(first: int) -> Scripted:
            self.asked.append(wish)
            assert self.free.wait(WAIT_S)
            return self.bench.open(first)

        return open


def test_an_opening_that_is_asked_for_something_else_meanwhile_is_stale() -> None:
    """It is closed and opened again as it is wanted by then; no frame comes of the old wish."""
    bench = Bench([1, GONE], [9], [1, 1], max_reopens=1)
    wishes = Wishes(bench)
    bench.until(lambda: bench.kept._camera is not None)
    bench.kept.want(wishes("old"))
    frames = bench.until(lambda: bool(wishes.asked))
    bench.kept.want(wishes("new"))
    wishes.free.set()
    frames += bench.until(lambda: len(bench.cameras) == 3 and not bench.cameras[2].script)
    assert wishes.asked == ["old", "new"]
    assert bench.cameras[1].script == [9]  # nothing was read of it
    assert bench.cameras[1].closed == 1
    assert [frame.sequence for frame in frames] == [0, 1, 2]
    assert bench.states == [("recovering", "gone"), ("online", "")]


def test_the_newest_of_many_wishes_is_opened() -> None:
    """Not each of them in turn; and a stale opening is no try that failed."""
    bench = Bench([1, GONE], [9], [1], max_reopens=1)
    wishes = Wishes(bench)
    bench.until(lambda: bench.kept._camera is not None)
    bench.kept.want(wishes("0"))
    bench.until(lambda: bool(wishes.asked))
    for number in range(1, 20):
        bench.kept.want(wishes(str(number)))
        bench.step()
    wishes.free.set()
    bench.until(lambda: bench.kept.state == "online")
    assert wishes.asked == ["0", "19"]


def test_a_stale_opening_that_fails_is_tried_again_as_it_is_wanted_by_then() -> None:
    """After the usual wait."""
    bench = Bench([1, GONE], ABSENT, [1])
    wishes = Wishes(bench)
    bench.until(lambda: bench.kept._camera is not None)
    bench.kept.want(wishes("old"))
    bench.until(lambda: bool(wishes.asked))
    bench.kept.want(wishes("new"))
    wishes.free.set()
    bench.until(lambda: bench.kept.state == "online")
    assert wishes.asked == ["old", "new"]


def test_what_is_wanted_while_the_old_camera_is_closed_is_what_is_opened() -> None:
    """Closing may take long too."""
    bench, free = Bench([1, 1, GONE], [1]), threading.Event()
    wishes = Wishes(bench)
    wishes.free.set()
    bench.until(lambda: bench.kept._camera is not None)

    def hang() -> None:
        free.wait(WAIT_S)

    bench.cameras[0].hang = hang
    bench.until(lambda: bench.kept._closing is not None)
    bench.kept.want(wishes("new"))
    free.set()
    bench.until(lambda: bench.kept.state == "online")
    assert wishes.asked == ["new"]


def test_an_open_camera_stays_open_until_it_is_opened_again() -> None:
    """A wish alone closes nothing."""
    bench = Bench([1, 1, 1], [1])
    bench.until(lambda: bench.kept._camera is not None)
    wishes = Wishes(bench)
    wishes.free.set()
    bench.kept.want(wishes("new"))
    bench.until(lambda: not bench.cameras[0].script)
    assert (wishes.asked, bench.cameras[0].closed) == ([], 0)
    bench.kept.reopen()
    bench.until(lambda: len(bench.cameras) == 2 and not bench.cameras[1].script)
    assert wishes.asked == ["new"]


def test_a_fault_of_another_kind_at_a_reopening_is_a_failed_try() -> None:
    """A password file that is gone now must not end a daemon that works."""
    bench = Bench([1, GONE], required=False)
    bench.until(lambda: len(bench.states) == 1)

    def broken(first: int) -> Scripted:
        raise ConfigError("password file cannot be read")

    bench.kept._open = broken
    bench.until(lambda: bench.kept.reopens_total >= 2)
    assert bench.kept.state == "recovering"
    assert "password file" in str(bench.kept.error)


def test_an_opening_that_hangs_does_not_end_a_daemon_that_needs_no_camera() -> None:
    """It waits for as long as that takes, says so once, and goes on when it is over."""
    bench, free = Bench([1, GONE], [1], required=False), threading.Event()
    bench.until(lambda: len(bench.states) == 1)
    real = bench.open

    def hang(first: int) -> Scripted:
        free.wait(WAIT_S)
        return real(first)

    bench.kept._open = hang
    bench.until(lambda: bench.kept.state == "failed")
    before = len(bench.open_at)
    bench.clock.now += 1000.0
    bench.step()
    assert len(bench.open_at) == before
    free.set()
    bench.until(lambda: bench.kept.state == "online")
    assert [state for state, _ in bench.states] == ["recovering", "failed", "online"]


def test_a_start_need_not_wait_for_a_camera_that_is_not_required() -> None:
    """It is told as recovering, and comes when it comes."""
    bench, free = Bench(required=False), threading.Event()

    def late(first: int) -> Scripted:
        free.wait(WAIT_S)
        return Scripted([1, 1], first, bench.clock)

    bench.kept = Recovery(late, Policy(required=False), bench.changes.append, bench.clock)
    assert not bench.kept.settled
    bench.kept.go_on_without()
    assert bench.states == [("recovering", "absent")]
    free.set()
    bench.until(lambda: bench.kept.state == "online")


@pytest.mark.parametrize("stuck", ["open", "close"])
def test_a_driver_that_does_not_come_back_ends_the_process(stuck: str) -> None:
    """No second camera is opened beside the one that hangs; the loop is never held up."""
    bench, free = Bench([1, GONE]), threading.Event()
    bench.until(lambda: bool(bench.cameras))

    def hang(*_: object) -> None:
        free.wait(WAIT_S)

    bench.cameras[0].hang = hang if stuck == "close" else bench.cameras[0].hang
    bench.kept._open = hang if stuck == "open" else bench.kept._open  # type: ignore[assignment]
    opened = len(bench.open_at)
    try:
        with pytest.raises(CameraError, match="its driver has not answered for"):
            bench.until(lambda: False)
    finally:
        free.set()
    assert len(bench.open_at) == opened


def test_an_error_of_another_kind_is_not_hidden() -> None:
    """A fault in this program is not taken for one of the camera."""
    bench = Bench()
    nothing: dict[int, Scripted] = {}
    bench.kept = Recovery(
        lambda first: nothing[first], Policy(required=False), bench.changes.append, bench.clock
    )
    with pytest.raises(KeyError):
        bench.until(lambda: False)


def test_what_is_asked_of_a_camera_that_is_away_is_refused() -> None:
    """In one line that says what it is at."""
    bench = Bench(ABSENT, required=False)
    bench.until(lambda: bench.kept.settled)
    with pytest.raises(CameraError, match="not there now"):
        bench.kept.control({"gain": 2.0})
    with pytest.raises(CameraError, match="not there now"):
        bench.kept.still()


def test_the_end_closes_what_is_open_or_just_being_opened() -> None:
    """Nothing is left open, and nothing that hangs holds up the end for long."""
    bench = Bench([1])
    bench.kept.close()
    assert [camera.closed for camera in bench.cameras] == [1]
    bench.kept.close()
    assert reconnect.CLOSE_S < 5
