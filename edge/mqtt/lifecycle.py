"""The states of the link to a broker, and the event that leads from one to the next. Pure.

            Opened      Connected  Refused  Unreachable  Lost     Closed
IDLE        CONNECTING  -          -        -            -        IDLE
CONNECTING  -           UP         WAITING  WAITING      WAITING  IDLE
UP          -           -          -        WAITING      WAITING  IDLE
WAITING     CONNECTING  -          -        -            -        IDLE

Acknowledged, Subscribed and Flooded change no state and count in UP alone.

Rule 1: where the table has a dash, the event is late and changes nothing.
Rule 2: only this file decides when to reconnect. It reads no clock; time is a parameter.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import Enum
from typing import Final, TypeAlias

from edge.messages import Message, Seconds
from edge.mqtt.limits import Limits, modest
from edge.mqtt.suspects import Suspects

ANSWER_S: Final = 60.0
"""Longest wait for CONNACK; paho gives up sooner, unless it hangs in the connect itself."""
SHORT_S: Final = 30.0
"""A connection that ends sooner counts as another failure to connect."""
DELAY_S: Final = 1.0
"""First wait before reconnecting; it doubles with each failure."""


class State(Enum):
    """A state of the link."""

    IDLE = "idle"
    CONNECTING = "connecting"
    UP = "up"
    WAITING = "waiting"


@dataclass(frozen=True, slots=True)
class Opened:
    """The daemon begins to connect."""


@dataclass(frozen=True, slots=True)
class Connected:
    """The broker accepts the connection, within its limits."""

    limits: Limits


@dataclass(frozen=True, slots=True)
class Refused:
    """The broker refuses the connection. code: of its CONNACK."""

    reason: str
    code: int


@dataclass(frozen=True, slots=True)
class Unreachable:
    """No connection was made, or no CONNACK came."""

    reason: str


@dataclass(frozen=True, slots=True)
class Lost:
    """The connection has ended. innocent: no message of ours can be the cause."""

    reason: str
    innocent: bool


@dataclass(frozen=True, slots=True)
class Closed:
    """The daemon has disconnected for good."""


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """The broker has the message (QoS 1), or it is written (QoS 0). denied: it refuses it."""

    number: int
    denied: bool = False


@dataclass(frozen=True, slots=True)
class Subscribed:
    """The broker has answered a SUBSCRIBE. refusal: its reason, empty if it accepts."""

    number: int
    refusal: str = ""


@dataclass(frozen=True, slots=True)
class Flooded:
    """A subscription brings more than can be read."""

    topic: str


@dataclass(frozen=True, slots=True)
class SetAside:
    """A topic or subscription is set aside for a while: the broker closes the connection on it."""

    name: str
    size_bytes: int


Event: TypeAlias = (
    Opened | Connected | Refused | Unreachable | Lost | Closed | Acknowledged | Subscribed | Flooded
)
NEXT: Final[dict[State, dict[type[Event], State]]] = {
    State.IDLE: {Opened: State.CONNECTING, Closed: State.IDLE},
    State.CONNECTING: {
        Connected: State.UP,
        Refused: State.WAITING,
        Unreachable: State.WAITING,
        Lost: State.WAITING,
        Closed: State.IDLE,
    },
    State.UP: {
        Unreachable: State.WAITING,
        Lost: State.WAITING,
        Closed: State.IDLE,
        Acknowledged: State.UP,
        Subscribed: State.UP,
        Flooded: State.UP,
    },
    State.WAITING: {Opened: State.CONNECTING, Closed: State.IDLE},
}


class Lifecycle:
    """The state of one link, its last will, and when it reconnects.

    will         reduced if the broker refuses it
    reconnect_s  longest wait before reconnecting
    """

    def __init__(self, will: Message, reconnect_s: Seconds, suspects: Suspects) -> None:
        self.state = State.IDLE
        self.will = will
        self._reconnect_s, self._suspects = reconnect_s, suspects
        self._delay_s = DELAY_S
        self._since_s = self._again_at_s = 0.0

    def overdue(self, now_s: Seconds) -> Unreachable | None:
        """Return the event of a CONNACK that is overdue, None if it is not."""
        if self.state is State.CONNECTING and now_s - self._since_s > ANSWER_S:
            return Unreachable(f"no answer in {ANSWER_S:.0f} s")
        return None

    def due(self, now_s: Seconds) -> bool:
        """Return whether it is time to reconnect."""
        return self.state is State.WAITING and now_s >= self._again_at_s

    def see(self, event: Event, now_s: Seconds) -> tuple[Event | SetAside, ...]:
        """Change the state; return the reports for the publisher, none for a late event."""
        state, before = NEXT[self.state].get(type(event)), self.state
        if state is None:
            return ()
        lasted = before is State.UP and now_s - self._since_s >= SHORT_S
        if state is not before:
            self.state, self._since_s = state, now_s
        match event:
            case Connected():
                self._suspects.up(now_s)
            case Refused(code=code):
                self._suspects.calm()
                if (less := modest(self.will, code)) is not None:
                    self.will = less
                    self._wait(now_s, 0.0)
                    return ()
                self._wait(now_s, self._reconnect_s)
            case Unreachable():
                self._suspects.calm()
                self._wait(now_s, self._delay_s)
            case Lost(innocent=innocent):
                culprit = None
                if innocent or before is not State.UP:
                    self._suspects.calm()
                else:
                    culprit = self._suspects.down(now_s)
                self._wait(now_s, DELAY_S if lasted or culprit else self._delay_s)
                return (event, SetAside(*culprit)) if culprit else (event,)
            case Acknowledged(number=number) | Subscribed(number=number, refusal=""):
                self._suspects.taken(number)
            case Subscribed():
                pass  # still suspected: RabbitMQ refuses a subscription, then ends the connection
        return (event,)

    def _wait(self, now_s: Seconds, delay_s: Seconds) -> None:
        """Reconnect later, at random, so that a fleet does not return at once.

        A third of 500 devices, after a node of three: over 1 s, and each failure doubles that.
        """
        self._again_at_s = now_s + delay_s * random.uniform(0.5, 1.5)
        self._delay_s = min(max(DELAY_S, 2 * delay_s), self._reconnect_s)
