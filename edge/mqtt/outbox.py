"""The messages to send over one connection, and those not yet acknowledged.

Of each retained topic the newest message is kept. Events stay in their queue until the broker has
acknowledged them. All others are sent now or never. A message that this broker cannot take is set
aside by name; the rest goes on. Runs on the daemon's thread.
"""

from __future__ import annotations

import time
from typing import Final

from edge.messages import EventQueue, Message, Seconds
from edge.mqtt.connection import Link, SetAsideError
from edge.mqtt.outage import Seldom

IN_FLIGHT: Final = 20
"""Events sent and not yet acknowledged."""
UNWRITTEN: Final = 100
"""Other messages handed to paho and not yet written; more are dropped."""
UNWRITTEN_BYTES: Final = 4_194_304
"""The same in bytes; a longer message goes alone."""
A_POLL: Final = 50
"""Events examined per poll, those set aside included."""
LATER_S: Final = 60.0
"""What was set aside is tried again after so long."""
REPEAT_S: Final = 60.0
"""How often retained messages are sent to a broker that retains none."""


class Outbox:
    """Sends over ``link``; ``seldom`` logs what is set aside."""

    def __init__(self, link: Link, events: EventQueue, seldom: Seldom) -> None:
        self._link, self._events, self._seldom = link, events, seldom
        self._retained: dict[str, Message] = {}  # topic -> newest
        self._due: dict[str, None] = {}  # retained topics to send, in order
        self._handed = 0  # number of the last event sent over this connection
        self._more = False  # events wait that have not been sent
        self._aside: dict[str, None] = {}  # retained topics
        self._later_at_s = self._repeat_at_s = float("inf")
        self.flying: dict[int, str | int] = {}
        """Packet id -> topic or event number, of messages awaiting acknowledgement."""
        self.loose: dict[int, int] = {}
        """Packet id -> bytes, of messages sent now or never and not yet written."""
        self.unsent_total = 0
        """Messages dropped undelivered."""

    @property
    def busy(self) -> bool:
        """Whether a message is yet to be sent or acknowledged."""
        return bool(self._due or self.flying or self._more)

    def keep(self, message: Message) -> None:
        """Replace the message of a retained topic."""
        self._retained[message.topic] = message
        self._due[message.topic] = None

    def add(self, event: Message) -> None:
        """Queue an event."""
        self._events.add(event)
        self._more = True

    def begin(self, birth: Message, now_s: Seconds) -> None:
        """Send everything over a new connection, ``birth`` after the other retained messages."""
        self._retained.pop(birth.topic, None)
        self._retained[birth.topic] = birth
        self._due = dict.fromkeys(self._retained)
        self._handed, self._more = 0, bool(self._events)
        self._aside.clear()
        keeps = self._link.limits.retain
        self._repeat_at_s = float("inf") if keeps else now_s + REPEAT_S

    def end(self) -> None:
        """Forget what the lost connection held; events and retained messages are sent again."""
        self.unsent_total += len(self.loose)
        self.loose.clear()
        self.flying.clear()

    def send_due(self, now_s: Seconds) -> None:
        """Send the newest message of each retained topic, one at a time, and the next events."""
        if now_s >= self._repeat_at_s:
            self._repeat_at_s = now_s + REPEAT_S
            self._due = dict.fromkeys(self._retained)
        if now_s >= self._later_at_s:
            self._later_at_s = float("inf")
            self._due |= self._aside
            self._aside.clear()
            self._handed = 0
        careful = self._link.careful
        if self._due:
            flying = set(self.flying.values())
            for topic in [topic for topic in self._due if topic not in flying]:
                if careful and (self.flying or self.loose):
                    return
                del self._due[topic]
                self._hand(self._retained[topic], topic)
        room = 1 if careful else IN_FLIGHT
        for _ in range(A_POLL):
            if len(self.flying) >= room or (careful and self.loose):
                return
            waiting = self._events.after(self._handed)
            self._more = waiting is not None
            if waiting is None:
                return
            self._handed, event = waiting
            if self._handed not in self.flying.values():
                self._hand(event, self._handed)

    def let_go(self, message: Message) -> None:
        """Send a message now or never."""
        waiting, size = sum(self.loose.values()), len(message.payload)
        full = len(self.loose) >= UNWRITTEN or (waiting and waiting + size > UNWRITTEN_BYTES)
        if full or (self._link.careful and self.flying):
            self.unsent_total += 1
            return
        try:
            self.loose[self._link.send(message)] = size
        except SetAsideError as exc:
            self.unsent_total += 1
            self._set_aside(message, exc)

    def taken(self, number: int, denied: bool) -> str:
        """Handle an acknowledgement; return the name of what the broker denies, else "".

        It would deny that again: an event is set aside, where a person can read it.
        """
        self.loose.pop(number, None)
        done = self.flying.pop(number, None)
        if isinstance(done, int):
            if denied:
                self._events.set_aside(done)
                return "events"
            self._events.done(done)
        if not denied:
            return ""
        self.unsent_total += 1
        return str(done or "an answer")

    def _hand(self, message: Message, name: str | int) -> None:
        """Send a message that will be acknowledged. An event set aside here stays in its queue."""
        try:
            self.flying[self._link.send(message)] = name
        except SetAsideError as exc:
            if isinstance(name, str):
                self.unsent_total += 1
                self._aside[name] = None
            if self._later_at_s == float("inf"):
                self._later_at_s = time.monotonic() + LATER_S
            self._set_aside(message, exc)

    def _set_aside(self, message: Message, why: SetAsideError) -> None:
        self._seldom.warn(f"aside {message.topic}", f"cannot take {why}")
