"""Decides when a camera is opened, closed and given up: a state machine without clock or threads.

    phase     event        next          health       event           next
    opening   Opened       open          online       Received        online
              Stale        closing                    Lost, Refused   recovering
              Refused      waiting                    Unattended      recovering
              Waited       opening                    Spent, Hung     failed
              Hung         opening       recovering   Received        online
    open      Received     open                       Lost, Refused   recovering
              Silent       open                       Spent, Hung     failed
              Lost         closing       failed       Received        online
              Reopen       closing                    Lost, Refused   failed
    closing   Closed       waiting                    Spent, Hung     failed
              Waited       closing
              Hung         closing       Unattended is possible in every phase, and
    waiting   Due          opening       leaves it as it is. The health stays as it is
              Waited       waiting       after events that are not listed.

The caller reports events; four follow from others. A camera that is ``Silent`` for too long is
``Lost``; an opening or closing that has ``Waited`` for too long is ``Hung``; a wait that is over is
``Due``; a ``Lost`` or ``Refused`` without a try left is ``Spent``.

Rule 1: it reads no clock and starts no thread: time arrives inside the event.
Rule 2: an event that is not possible in a phase is the caller's fault: it raises Impossible, and
        nothing changes.
Rule 3: a value that lives as long as a phase or a health is a field of it, and ends with it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from edge.camera import policy as policies
from edge.camera import states as on
from edge.camera.policy import RECORDED, STEADY_S, STUCK_S, Change, Policy, State, given_up
from edge.camera.states import Closing, Event, Online, Open, Opening, Outage, Phase, Waiting
from edge.errors import CameraError
from edge.frames import CameraMode, Seconds


class Impossible(RuntimeError):
    """An event that cannot happen in this phase."""


PHASES: Final[dict[type[Phase], dict[type[Event], type[Phase]]]] = {
    Opening: {
        on.Opened: Open,
        on.Stale: Closing,
        on.Refused: Waiting,
        **dict.fromkeys((on.Waited, on.Hung, on.Unattended), Opening),
    },
    Open: {
        on.Lost: Closing,
        on.Reopen: Closing,
        **dict.fromkeys((on.Received, on.Silent, on.Unattended), Open),
    },
    Closing: {
        on.Closed: Waiting,
        **dict.fromkeys((on.Waited, on.Hung, on.Unattended), Closing),
    },
    Waiting: {
        on.Due: Opening,
        **dict.fromkeys((on.Waited, on.Unattended), Waiting),
    },
}
_LOSS: Final[dict[type[Event], State]] = {on.Lost: "recovering", on.Refused: "recovering"}
_END: Final[dict[type[Event], State]] = {on.Spent: "failed", on.Hung: "failed"}
HEALTH: Final[dict[State, dict[type[Event], State]]] = {
    "online": {on.Received: "online", **_LOSS, on.Unattended: "recovering", **_END},
    "recovering": {on.Received: "online", **_LOSS, **_END},
    "failed": {on.Received: "online", on.Lost: "failed", on.Refused: "failed", **_END},
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What follows from an event: changes to report, and what to raise after that."""

    changes: tuple[Change, ...] = ()
    fatal: Exception | None = None


NOTHING: Final = Outcome()
FRESH: Final = Open()


class Machine:
    """The state of one camera. It begins with an opening at ``now_s``.

    chance  0 to 1, for each wait
    """

    def __init__(self, policy: Policy, now_s: Seconds, chance: Callable[[], float]) -> None:
        self._policy, self._chance = policy, chance
        self.phase: Phase = Opening(now_s)
        self.health: Online | Outage = Online(now_s)
        self.mode: CameraMode | None = None
        """What was negotiated last."""
        self.begun = False
        """A camera has been open."""
        self.reopens_total = 0
        self._last_frame_s = now_s
        self._tries: deque[Seconds] = deque(maxlen=policy.max_reopens)
        """Those that count, within the window; the newest, as many as make the camera fail."""

    def handle(self, event: Event) -> Outcome:
        """Go on to what follows ``event``. Raises Impossible."""
        event = self._meaning(event)
        target = PHASES[type(self.phase)].get(type(event))
        if target is None:
            raise Impossible(f"{event} while {self.phase}")
        after = self._after(event, target)
        fatal = self._fatal(event)
        outcome = self._judge(event) if fatal is None else Outcome(fatal=fatal)
        self.phase = after
        return outcome

    def _meaning(self, event: Event) -> Event:
        """Return the event that follows from this one, else this one."""
        match self.phase, event:
            case Open(silent_s), on.Silent(now_s, waited_s) if (mode := self.mode) is not None:
                silent_s += waited_s
                if silent_s > self._policy.silence_s(mode.fps) and mode.driver not in RECORDED:
                    what, hint = f"no frame for {silent_s:.0f} s", "check the camera"
                    error = CameraError(what, reason="stalled", where=mode.source, hint=hint)
                    return on.Lost(now_s, error)
            case Opening(since_s), on.Waited(now_s):
                if now_s - since_s > STUCK_S + self._policy.stall_timeout_s:
                    return on.Hung(now_s, policies.stuck(now_s - since_s))
            case Closing(since_s), on.Waited(now_s) if now_s - since_s > STUCK_S:
                return on.Hung(now_s, policies.stuck(now_s - since_s))
            case Waiting(retry_s), on.Waited(now_s) if now_s >= retry_s:
                return on.Due(now_s)
        return event

    def _after(self, event: Event, target: type[Phase]) -> Phase:
        """Return the phase after ``event``, of type ``target``."""
        phase, now_s = self.phase, event.now_s
        match event:
            case on.Opened() | on.Received():
                return FRESH
            case on.Silent() if isinstance(phase, Open):
                return Open(phase.silent_s + event.waited_s)
            case on.Due():
                return Opening(now_s)
            case on.Closed() if isinstance(phase, Closing):
                return phase.then
            case on.Lost() | on.Refused():
                wait_s = policies.wait_s(self.health.losses, self._chance())
                then = Waiting(now_s + wait_s, counts=True)
                return then if target is Waiting else Closing(now_s, then)
            case on.Stale() | on.Reopen():
                return Closing(now_s, Waiting(now_s, counts=False))
        return phase

    def _fatal(self, event: Event) -> Exception | None:
        """Return what ends the daemon at once."""
        required = self._policy.required
        match event:
            case on.Lost(_, error) if required and self.mode and self.mode.driver in RECORDED:
                return error
            case on.Refused(_, refusal) if not self.begun:
                return refusal if required or not isinstance(refusal, CameraError) else None
            case on.Hung(_, error) if required or isinstance(self.phase, Closing):
                return error
        return None

    def _judge(self, event: Event) -> Outcome:
        """Change the health, and count."""
        match event:
            case on.Opened(_, mode):
                self.mode, self.begun = mode, True
            case on.Due(now_s):
                self._count(now_s)
            case on.Received():
                return self._received(event)
            case on.Lost() | on.Refused():
                return self._lost(event)
            case on.Hung(_, error):
                return self._out(event, error)
            case on.Unattended() if isinstance(self.health, Online):
                return self._out(event, CameraError("is still being opened", reason="absent"))
        return NOTHING

    def _count(self, now_s: Seconds) -> None:
        """Count a try, if it counts."""
        if isinstance(self.phase, Waiting) and self.phase.counts:
            self._tries.append(now_s)
            self.reopens_total += 1
            if isinstance(self.health, Outage):
                self.health = replace(self.health, reopens=self.health.reopens + 1)

    def _received(self, event: on.Received) -> Outcome:
        now_s, health, mode = event.now_s, self.health, event.mode
        changes: tuple[Change, ...] = ()
        if isinstance(health, Outage):
            changes = (Change("online", None, self._outage_s(now_s), health.reopens),)
            self.health = Online(now_s, health.losses)
        elif health.losses and now_s - health.since_s > STEADY_S:
            self.health = Online(health.since_s)
        self._last_frame_s = now_s
        if mode is not self.mode:  # it goes on, with pictures of another size or format
            self.mode = mode
            what = f"the picture is {mode.width}x{mode.height} now"
            error = CameraError(what, reason="changed", where=mode.source)
            changes += (Change("online", error, 0.0, 0),)
        return Outcome(changes) if changes else NOTHING

    def _lost(self, event: on.Lost | on.Refused) -> Outcome:
        now_s, error = event.now_s, event.error
        if not isinstance(error, CameraError):
            error = CameraError(f"cannot be opened: {error}")
        if isinstance(event, on.Lost):
            window_s = self._policy.reopen_window_s
            while self._tries and now_s - self._tries[0] > window_s:
                self._tries.popleft()
        tries = len(self._tries)
        if tries < self._policy.max_reopens:
            return self._out(event, error, losses=1)
        changes = self._out(on.Spent(now_s), error, losses=1).changes
        return Outcome(changes, given_up(error, tries) if self._policy.required else None)

    def _out(self, event: Event, error: CameraError, losses: int = 0) -> Outcome:
        """Begin an outage or go on with one: the table says which state it is in."""
        health, now_s = self.health, event.now_s
        state = HEALTH[health.state][type(event)]
        same = isinstance(health, Outage) and health.error.reason == error.reason
        reopens = health.reopens if isinstance(health, Outage) else 0
        self.health = Outage(state, error, health.losses + losses, reopens)
        news = state != health.state
        if news or (isinstance(event, on.Lost | on.Refused) and not same):
            return Outcome((Change(state, error, self._outage_s(now_s), reopens, news),))
        return NOTHING

    def _outage_s(self, now_s: Seconds) -> Seconds:
        return round(now_s - self._last_frame_s, 1)
