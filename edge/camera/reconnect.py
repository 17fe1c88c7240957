"""Keeps a camera open: notices that it has gone, brings it back, and knows when to give up.

Rule 1: never two cameras; the old one is closed before another is opened.
Rule 2: opening and closing may take long, so a thread of its own does either; the caller goes on.
Rule 3: every wait has an end. A driver that does not come back from a call is an error where frames
        are required: only a new process can help then.
Rule 4: what an opening was asked for travels with it. Where something else is wanted by the time it
        comes back, it is closed and opened again.

Knows cameras by their Protocol alone. Runs on the caller's thread, but for Rule 2.
"""

from __future__ import annotations

import contextlib
import logging
import random
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Final

from edge.background import Call
from edge.camera.policy import STEADY_S, Change, Policy, State, given_up, wait_s
from edge.errors import CameraError
from edge.frames import Camera, CameraMode, ControlValue, Frame, Seconds

__all__ = ["Call", "Change", "Policy", "Recovery", "State"]

log = logging.getLogger(__name__)
STUCK_S: Final = 60.0
"""A call that takes so much longer than it may will not come back."""
CLOSE_S: Final = 1.0
"""Longest wait at the end of the process."""
RECORDED: Final = ("file", "images")
"""Drivers of what is recorded: it is never silent, and does not come back."""


class Recovery:
    """A camera that comes back.

    open    called with the number of the first frame, on a thread of its own; raises CameraError.
            What is asked of the camera is in it, and does not change
    tell    called on every change
    """

    def __init__(
        self,
        open: Callable[[int], Camera],
        policy: Policy,
        tell: Callable[[Change], None],
        clock: Callable[[], Seconds] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._policy, self._tell = policy, tell
        self._clock, self._chance = clock, chance
        self.state: State = "online"
        """So until it is found to be otherwise."""
        self.error: CameraError | None = None
        self.mode: CameraMode | None = None
        """What was negotiated last."""
        self.reopens_total = 0
        self._camera: Camera | None = None
        self._begun = False  # it has been open
        self._corrupt_before = 0  # of cameras that are closed
        self._sequence = 0  # of the next frame
        self._silent_s = 0.0
        self._tries: deque[Seconds] = deque()  # when
        self._losses = 0  # in a row: how long to wait
        self._online_s = self._last_frame_s = clock()
        self._reopens = 0  # since it was online
        self._next_try_s = 0.0
        self._closing: Call[None] | None = None
        self._open = self._opened_by = open  # as it is wanted now, and as it was begun
        self._opening: Call[Camera] | None = self._begin()

    @property
    def settled(self) -> bool:
        """Whether the first try is over."""
        return self._begun or self.error is not None

    @property
    def corrupt_total(self) -> int:
        """Frames that came and could not be decoded, of all cameras so far."""
        return self._corrupt_before + (self._camera.corrupt_total if self._camera else 0)

    def read(self, timeout_s: Seconds) -> Frame | None:
        """Return the newest frame, or None after ``timeout_s``, whatever the camera is at.

        Raises EndOfSource, and CameraError where it has failed and is required.
        """
        if self._camera is None:
            self._bring_back(timeout_s)
            return None
        begin_s = self._clock()
        try:
            frame = self._camera.read(timeout_s)
        except CameraError as exc:
            self._lose(exc)
            return None
        now, mode = self._clock(), self._camera.mode
        if frame is None:
            self._silent_s += now - begin_s
            if self._silent_s > self._policy.silence_s(mode.fps) and mode.driver not in RECORDED:
                what = f"no frame for {self._silent_s:.0f} s"
                see = "see the camera"
                self._lose(CameraError(what, reason="stalled", where=mode.source, hint=see))
            return None
        self._silent_s, self._sequence = 0.0, frame.sequence + 1
        if self.state != "online":
            self._come_back(now)
        elif self._losses and now - self._online_s > STEADY_S:
            self._losses = 0
        self._last_frame_s = now
        if mode is not self.mode:
            self._differ(mode)
        return frame

    def still(self) -> Frame | None:
        """Return the next picture in full size, where frames are smaller. Raises CameraError."""
        return self._there().still()

    def control(self, wanted: Mapping[str, ControlValue]) -> None:
        """Set controls of the camera that is there. Raises CameraError."""
        self._there().control(wanted)

    def go_on_without(self) -> None:
        """Wait no longer for the first try."""
        self.error = CameraError("is still being opened", reason="absent")
        self._become("recovering")

    def want(self, open: Callable[[int], Camera]) -> None:
        """Open cameras by ``open`` from now on; one that is being opened is stale."""
        self._open = open

    def reopen(self) -> None:
        """Close the camera that is open and open it again at once, as it is wanted now."""
        camera, self._camera = self._camera, None
        if camera is not None:
            self._corrupt_before += camera.corrupt_total
            self._closing = Call(camera.close, self._clock)
            self._next_try_s = self._clock()

    def close(self) -> None:
        """Close the camera; one that does not come back from a call is left behind."""
        camera, self._camera = self._camera, None
        if self._opening is not None and self._opening.wait(CLOSE_S):
            with contextlib.suppress(Exception):  # there is none, for whatever reason
                camera = self._opening.result()
        if camera is not None:
            Call(camera.close, self._clock).wait(CLOSE_S)

    def _there(self) -> Camera:
        if self._camera is None:
            raise CameraError("the camera is not there now", reason="absent", got=self.state)
        return self._camera

    def _lose(self, error: CameraError) -> None:
        """Close the camera, which has failed with ``error``, or could not be opened."""
        camera, self._camera = self._camera, None
        now, before = self._clock(), self.error
        if camera is not None:
            self._corrupt_before += camera.corrupt_total
            if camera.mode.driver in RECORDED and self._policy.required:
                camera.close()
                raise error
            self._closing = Call(camera.close, self._clock)
            while self._tries and now - self._tries[0] > self._policy.reopen_window_s:
                self._tries.popleft()
        self.error = error
        if len(self._tries) >= self._policy.max_reopens:
            self._fail(error)
        elif self.state == "online":
            self._become("recovering")
        elif before is None or before.reason != error.reason:
            self._become(self.state, news=False)
        self._next_try_s = now + wait_s(self._losses, self._chance())
        self._losses += 1

    def _bring_back(self, timeout_s: Seconds) -> None:
        """Go one step towards an open camera; take no longer than ``timeout_s``."""
        if self._closing is not None:
            if self._closing.wait(timeout_s):
                self._closing = None
            elif self._closing.lasts_s() > STUCK_S:
                raise self._closing.stuck()
            return
        opening = self._opening
        if opening is None:
            left_s = self._next_try_s - self._clock()
            if left_s > 0:
                time.sleep(min(left_s, timeout_s))
                return
            if self.error is not None:  # else it is wanted otherwise, and has not failed
                self._tries.append(self._clock())
                self.reopens_total += 1
                self._reopens += 1
            opening = self._begin()
        if not opening.wait(timeout_s):
            if opening.lasts_s() > STUCK_S + self._policy.stall_timeout_s:
                self._wait_on(opening.stuck())
            return
        self._opening = None
        try:
            camera = opening.result()
        except Exception as exc:
            if not self._begun and (self._policy.required or not isinstance(exc, CameraError)):
                raise
            if not isinstance(exc, CameraError):
                log.debug("cannot be opened", exc_info=True)
                exc = CameraError(f"cannot be opened: {exc}")
            log.debug("not yet: %s", exc)
            self._lose(exc)
            return
        self._camera = camera
        if self._opened_by is not self._open:
            self.reopen()
            if self.error is not None and self._tries:
                self._tries.pop()  # which the next try counts again
            return
        self.mode, self._silent_s, self._begun = camera.mode, 0.0, True

    def _begin(self) -> Call[Camera]:
        open, first = self._open, self._sequence
        self._opened_by = open
        self._opening = Call(lambda: open(first), self._clock)
        return self._opening

    def _wait_on(self, error: CameraError) -> None:
        """An opening hangs; no other may be begun beside it."""
        if self._policy.required:
            raise error
        self.error = error
        if self.state != "failed":
            self._become("failed")

    def _come_back(self, now: Seconds) -> None:
        self._online_s = now
        self.error = None
        self._become("online")
        self._reopens = 0

    def _differ(self, mode: CameraMode) -> None:
        """The picture has another size or format; the camera goes on by itself."""
        self.mode = mode
        what = f"the picture is {mode.width}x{mode.height} now"
        error = CameraError(what, reason="changed", where=mode.source)
        self._tell(Change("online", error, 0.0, 0))

    def _fail(self, error: CameraError) -> None:
        if self.state != "failed":
            self._become("failed")
        if self._policy.required:
            raise given_up(error, len(self._tries))

    def _become(self, state: State, news: bool = True) -> None:
        self.state = state
        outage_s = round(self._clock() - self._last_frame_s, 1)
        self._tell(Change(state, self.error, outage_s, self._reopens, news))
