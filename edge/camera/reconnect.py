"""Keeps a camera open: `machine` decides, this file calls the clock, the camera and the threads.

Rule 1: never two cameras; the old one is closed before another is opened.
Rule 2: opening and closing may take long, so a thread of its own does either; the caller goes on.
Rule 3: every wait has an end. A driver's call that does not return is an error where frames are
        required: only a new process can help then.
Rule 4: an opening carries its settings with it. If others apply by the time it ends, the camera is
        closed and opened again.

Knows cameras by their Protocol alone. Runs on the caller's thread, except where marked:
[1] the thread that opens gets ``open``, whose settings are frozen, and a number. The camera is its
    own until the call has ended, the caller's from then on.
[2] the thread that closes gets the camera, which no other thread holds any more.
"""

from __future__ import annotations

import contextlib
import logging
import random
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from edge.background import Call
from edge.camera import states as on
from edge.camera.machine import Machine
from edge.camera.policy import Change, Policy, State
from edge.errors import CameraError
from edge.frames import Camera, CameraMode, ControlValue, Frame, Seconds

__all__ = ["Change", "Policy", "Recovery", "State"]

log = logging.getLogger(__name__)
CLOSE_S: Final = 1.0
"""Longest wait at the end of the process."""


class Recovery:
    """A camera that comes back.

    open    [1] returns a camera; gets the number of its first frame. Raises CameraError
    report  called on every change
    run     starts a call on a thread of its own
    """

    def __init__(
        self,
        open: Callable[[int], Camera],
        policy: Policy,
        report: Callable[[Change], None],
        clock: Callable[[], Seconds] = time.monotonic,
        *,
        chance: Callable[[], float] = random.random,
        sleep: Callable[[Seconds], None] = time.sleep,
        run: Callable[[Callable[[], Any]], Call[Any]] = Call,
    ) -> None:
        self._clock, self._sleep, self._run, self._report = clock, sleep, run, report
        self._machine = Machine(policy, clock(), chance)
        self._corrupt_before = 0  # of cameras that are closed
        self._sequence = 0  # of the next frame
        self._camera: Camera | None = None  # while open
        self._opening: Call[Camera] | None = None  # while opening
        self._closing: Call[None] | None = None  # while closing
        self._open = self._opened_by = open  # as configured now, and as the last opening began
        self._follow()

    @property
    def state(self) -> State:
        """As published; online until the first try has failed."""
        return self._machine.health.state

    @property
    def error(self) -> CameraError | None:
        """Why no frames come; None while they do."""
        health = self._machine.health
        return health.error if isinstance(health, on.Outage) else None

    @property
    def mode(self) -> CameraMode | None:
        """What was negotiated last."""
        return self._machine.mode

    @property
    def reopens_total(self) -> int:
        """Tries to open a camera again."""
        return self._machine.reopens_total

    @property
    def settled(self) -> bool:
        """Whether the first try is over."""
        return self._machine.begun or self.error is not None

    @property
    def corrupt_total(self) -> int:
        """Frames that came and could not be decoded, of all cameras so far."""
        return self._corrupt_before + (self._camera.corrupt_total if self._camera else 0)

    def read(self, timeout_s: Seconds) -> Frame | None:
        """Return the newest frame, or None after ``timeout_s``, whatever the phase.

        Raises EndOfSource, and CameraError where the camera has failed and is required.
        """
        if self._camera is not None:
            return self._frame(self._camera, timeout_s)
        if self._opening is not None:
            self._finish_opening(self._opening, timeout_s)
        elif self._closing is not None:
            over = self._closing.wait(timeout_s)
            self._closing = None if over else self._closing
            self._handle((on.Closed if over else on.Waited)(self._clock()))
        elif isinstance(phase := self._machine.phase, on.Waiting):
            self._sleep(max(0.0, min(phase.retry_s - self._clock(), timeout_s)))
            self._handle(on.Waited(self._clock()))
        return None

    def still(self) -> Frame | None:
        """Return the next picture in full size, where frames are smaller. Raises CameraError."""
        return self._present().still()

    def control(self, values: Mapping[str, ControlValue]) -> None:
        """Set controls of the open camera. Raises CameraError."""
        self._present().control(values)

    def go_on_without(self) -> None:
        """Wait no longer for the first try."""
        self._handle(on.Unattended(self._clock()))

    def want(self, open: Callable[[int], Camera]) -> None:
        """Open cameras by ``open`` from now on; an opening that has begun is stale."""
        self._open = open

    def reopen(self) -> None:
        """Close the camera if it is open, and open it again at once, as configured now."""
        if self._camera is not None:
            self._handle(on.Reopen(self._clock()))

    def close(self) -> None:
        """Close the camera; a driver's call that does not return is left behind."""
        camera, self._camera = self._camera, None
        opening, self._opening = self._opening, None
        if opening is not None and opening.wait(CLOSE_S):
            with contextlib.suppress(Exception):  # there is no camera, for whatever reason
                camera = opening.result()
        if camera is not None:
            self._closing = self._run(camera.close)  # [2]
        if self._closing is not None:
            self._closing.wait(CLOSE_S)

    def _present(self) -> Camera:
        if self._camera is None:
            raise CameraError("the camera is not there now", reason="absent", got=self.state)
        return self._camera

    def _frame(self, camera: Camera, timeout_s: Seconds) -> Frame | None:
        begin_s = self._clock()
        try:
            frame = camera.read(timeout_s)
        except CameraError as exc:
            # Its frames would keep the camera, and its pictures, until a garbage collection.
            self._handle(on.Lost(self._clock(), exc.with_traceback(None)))
            return None
        now_s = self._clock()
        if frame is None:
            self._handle(on.Silent(now_s, now_s - begin_s))
            return None
        self._sequence = frame.sequence + 1
        self._handle(on.Received(now_s, camera.mode))
        return frame

    def _finish_opening(self, opening: Call[Camera], timeout_s: Seconds) -> None:
        if not opening.wait(timeout_s):
            self._handle(on.Waited(self._clock()))
            return
        self._opening = None
        try:
            camera = opening.result()  # [1]
        except Exception as exc:
            log.debug("not yet: %s", exc, exc_info=not isinstance(exc, CameraError))
            self._handle(on.Refused(self._clock(), exc.with_traceback(None)))
            return
        self._camera = camera
        if self._opened_by is self._open:
            self._handle(on.Opened(self._clock(), camera.mode))
        else:
            self._handle(on.Stale(self._clock()))

    def _handle(self, event: on.Event) -> None:
        """Handle an event, do what its phase needs, report the changes, raise what is fatal."""
        outcome = self._machine.handle(event)
        self._follow()
        for change in outcome.changes:
            self._report(change)
        if outcome.fatal is not None:
            raise outcome.fatal

    def _follow(self) -> None:
        """Start the call that the phase requires, if it does not run yet."""
        phase = self._machine.phase
        if isinstance(phase, on.Opening) and self._opening is None:
            open, first = self._open, self._sequence
            self._opened_by = open
            self._opening = self._run(lambda: open(first))  # [1]
        elif isinstance(phase, on.Closing) and self._camera is not None:
            camera, self._camera = self._camera, None
            self._corrupt_before += camera.corrupt_total
            self._closing = self._run(camera.close)  # [2]
